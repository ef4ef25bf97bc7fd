"""Keys at several levels: what they are, how they are trained, and that nothing changes without them."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.errors import SettingError
from vgeo.geo.sphere import EARTH_RADIUS_KM
from vgeo.layers.location_encoder import LocationEncoder
from vgeo.methods.base import Clips, Places
from vgeo.methods.settings import resolve
from vgeo.methods.vidtag import VidTag, VidTagConfig

SIGMAS, RADII = (256.0, 4096.0, 32768.0), (1.0, 0.1, 0.01)


def made(**settings: object) -> VidTag:
    torch.manual_seed(0)
    return VidTag(dataclasses.replace(VidTag.debug_config(), sigmas=SIGMAS, **settings))


def clips(seed: int = 0) -> Clips:
    """Five clips of four frames some metres to kilometres apart, one of them with padding, two frames at one place."""
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(5, 4, dim, generator=generator) for name, dim in (("clip", 24), ("dinov2", 32))}
    steps = (
        torch.randn(5, 4, 2, generator=generator, dtype=torch.float64) * 10 ** torch.arange(-4.0, 1.0)[:, None, None]
    )
    latlon = torch.tensor([52.2, 0.12], dtype=torch.float64) + steps
    latlon[2, 1] = latlon[2, 0]
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[3, 2:] = False
    return Clips(features=features, mask_BT=mask, latlon_deg=latlon)


def literal_loss(method: VidTag, batch: Clips, radii: tuple[float, ...], log_scales: list[float]) -> float:
    """Mean over levels and frames of the cross-entropy with targets by true distance, one pair at a time."""
    assert batch.latlon_deg is not None
    with torch.no_grad():
        queries = method.queries(batch)[batch.mask_BT].double()
        places = batch.latlon_deg[batch.mask_BT]
        capsules = [capsule(places).double() for capsule in method.location.capsules]
    total = 0.0
    for level, radius in enumerate(radii):
        keys = F.normalize(torch.stack(capsules[: level + 1]).sum(0), dim=1)
        for n in range(len(queries)):
            logits = [math.exp(log_scales[level]) * float(queries[n] @ key) for key in keys]
            log_sum = math.log(sum(math.exp(logit) for logit in logits))
            wanted = []
            for place in places:
                lat, lon = (np.radians(np.array([places[n, i], place[i]])) for i in (0, 1))
                points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
                km = EARTH_RADIUS_KM * np.linalg.norm(points[0] - points[1])
                wanted.append(math.exp(-0.5 * (km / radius) ** 2))
            total -= sum(w / sum(wanted) * (logit - log_sum) for w, logit in zip(wanted, logits, strict=True))
    return total / len(radii) / len(queries)


def test_the_loss_of_all_levels() -> None:
    method, batch = made(level_radii_km=RADII), clips()
    with torch.no_grad():
        method.level_log_scales.copy_(torch.tensor([1.0, 2.0]))
        method.logit_scale.fill_(3.0)
    loss = method.loss(batch, "align", torch.Generator())["total"]
    assert loss.item() == pytest.approx(literal_loss(method, batch, RADII, [1.0, 2.0, 3.0]), rel=1e-5)
    assert [method.level_scale(level) for level in range(3)] == pytest.approx([math.e, math.e**2, math.e**3])
    assert method.scale == method.level_scale(2)


def test_one_level_has_the_literal_loss_too() -> None:
    method, batch = made(target_radius_km=0.1), clips()
    start = method.config.init_log_scale
    loss = method.loss(batch, "align", torch.Generator())["total"].item()
    with torch.no_grad():
        assert batch.latlon_deg is not None
        places = batch.latlon_deg[batch.mask_BT]
        whole: Tensor = method.location(places)
    method.location.capsules = torch.nn.ModuleList([_Fixed(places, whole)])
    assert loss == pytest.approx(literal_loss(method, batch, (0.1,), [start]), rel=1e-5)


class _Fixed(torch.nn.Module):
    """A capsule that has been asked before."""

    def __init__(self, places: Tensor, embedded: Tensor) -> None:
        super().__init__()
        self.places, self.embedded = places, embedded

    def forward(self, places: Tensor) -> Tensor:
        assert torch.equal(places, self.places)
        return self.embedded


def test_each_capsule_runs_once_and_gets_a_gradient_from_its_own_levels() -> None:
    method, batch = made(level_radii_km=RADII), clips()
    calls: list[int] = []
    for number, capsule in enumerate(method.location.capsules):
        capsule.register_forward_hook(lambda *_, number=number: calls.append(number))
    method.loss(batch, "align", torch.Generator())["total"].backward()
    assert calls == [0, 1, 2]
    assert set(method.trainable("align")) >= {method.level_log_scales, method.logit_scale}
    assert method.level_log_scales.grad is not None
    assert method.level_log_scales.grad.abs().min() > 0
    assert method.level_log_scales not in set(method.trainable("refine"))


def test_keys_of_a_level_are_of_the_first_capsules() -> None:
    method = made(level_radii_km=RADII).eval()
    places = Places(latlon_deg=torch.tensor([[52.2, 0.1], [-17.0, 179.9]], dtype=torch.float64))
    capsules = [capsule(places.latlon_deg) for capsule in method.location.capsules]
    for level in range(3):
        expected = F.normalize(torch.stack(capsules[: level + 1]).sum(0), dim=1)
        assert torch.allclose(method.level_keys(places, level), expected, atol=1e-6)
    assert torch.equal(method.level_keys(places, 2), method.keys(places))
    sums = method.location.partial_sums(places.latlon_deg)
    assert all(torch.allclose(F.normalize(s, dim=1), method.level_keys(places, i)) for i, s in enumerate(sums))


def test_without_levels_nothing_changes() -> None:
    """The published loss, written as it is without levels, bit for bit; and no parameter more."""
    method, batch = made(), clips()
    assert method.level_radii_km == ()
    assert "level_log_scales" not in method.state_dict()
    assert batch.latlon_deg is not None
    loss = method.loss(batch, "align", torch.Generator())["total"]
    latlon, real = batch.latlon_deg.flatten(0, 1), batch.mask_BT.flatten()
    queries = method.queries(batch).flatten(0, 1)
    keys = F.normalize(method.location(latlon), dim=-1)
    equal = (latlon[:, None] == latlon[None]).all(-1).float()
    target = equal / equal.sum(1, keepdim=True) * real[None]
    target = target / target.sum(1, keepdim=True).clamp(min=1e-12)
    logits = (method.logit_scale.exp() * (queries @ keys.T)).masked_fill(~real[None], -torch.inf)
    share = torch.log_softmax(logits, 1).masked_fill(~real[None], 0.0)
    assert torch.equal(loss, -((target * share).sum(1) * real).sum() / real.sum())
    with pytest.raises(IndexError):
        made().level_scale(5)


def test_levels_leave_what_is_drawn_alone() -> None:
    """So that a model with levels starts where one without does."""
    with_levels, without = made(level_radii_km=RADII).state_dict(), made().state_dict()
    assert set(with_levels) - set(without) == {"level_log_scales"}
    assert all(torch.equal(with_levels[name], tensor) for name, tensor in without.items())


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["sigmas=16,256", "level_radii_km=1"], "as many as sigmas: 2, not 1"),
        (["sigmas=256,16", "level_radii_km=1,0.1"], "sigmas must rise"),
        (["sigmas=16,256", "level_radii_km=0.1,1"], "must fall"),
        (["sigmas=16,256", "level_radii_km=1,0"], "must fall, and be positive"),
        (["sigmas=16,256", "level_radii_km=1,0.1", "target_radius_km=0.1"], "leave target_radius_km out"),
        (["sigmas=16", "level_radii_km=1"], "needs two sigmas"),
    ],
)
def test_settings_that_do_not_fit(settings: list[str], problem: str) -> None:
    with pytest.raises(SettingError, match=problem):
        resolve(VidTagConfig, None, settings)


def test_the_first_capsules_alone() -> None:
    encoder = LocationEncoder(SIGMAS, fourier=8, width=8, depth=1, dim=8)
    places = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]], dtype=torch.float64)
    assert torch.equal(encoder(places, 1), encoder.capsules[0](places.reshape(-1, 2)).reshape(2, 1, 8))
    assert torch.equal(encoder(places, 3), encoder(places))


def test_released_weights_start_every_level() -> None:
    """The factor on cosines is the release's at all levels, and a finer capsule than the release has stays drawn."""
    config = dataclasses.replace(
        VidTagConfig(geo_refiner=False, temp_geo=False), sigmas=(16.0, 256.0, 4096.0), level_radii_km=(9.0, 1.0, 0.1)
    )
    torch.manual_seed(0)
    method = VidTag(config)
    tensors = {f"LocEnc{i}.capsule.0.b": torch.full((256, 2), float(i)) for i in range(3)}
    for i in range(3):
        for name, shape in (("capsule.1", (1024, 512)), ("capsule.3", (1024, 1024)), ("capsule.5", (1024, 1024))):
            tensors |= {f"LocEnc{i}.{name}.weight": torch.zeros(shape), f"LocEnc{i}.{name}.bias": torch.zeros(1024)}
        tensors |= {f"LocEnc{i}.head.0.weight": torch.zeros(512, 1024), f"LocEnc{i}.head.0.bias": torch.zeros(512)}
    drawn = method.load_released({**tensors, "logit_scale": torch.tensor(3.5)})
    assert drawn == ["the location encoder's capsule of sigma 4096"]
    assert [method.level_scale(level) for level in range(3)] == pytest.approx([math.exp(3.5)] * 3)
    assert [float(c.frequencies[0, 0]) for c in method.location.capsules[:2]] == [1.0, 2.0]
