"""GeoCLIP against its published answers, and its training targets against sums written out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812

from vgeo.formats.gallery import read_gallery
from vgeo.formats.geoclip_release import GeoClipRelease, read_geoclip_release
from vgeo.geo.sphere import distance_km
from vgeo.methods.base import Clips, Places
from vgeo.methods.geoclip import GeoClip, GeoClipConfig
from vgeo.search.exact import top_k


@pytest.fixture(scope="module")
def release() -> GeoClipRelease:
    pytest.importorskip("importlib.util").find_spec("geoclip") or pytest.skip("the package geoclip is not installed")
    return read_geoclip_release()


@pytest.fixture(scope="module")
def published(release: GeoClipRelease) -> GeoClip:
    method = GeoClip(GeoClipConfig())
    assert method.load_released(release.tensors) == []
    return method.eval()


def batch(frames: int, seed: int = 0, dim: int = 32) -> Clips:
    generator = torch.Generator().manual_seed(seed)
    latlon = torch.rand(frames, 1, 2, generator=generator, dtype=torch.float64) * 1e-3 + 50
    features = torch.randn(frames, 1, dim, generator=generator)
    return Clips(features={"clip": features}, mask_BT=torch.ones(frames, 1, dtype=torch.bool), latlon_deg=latlon)


def debug(**changes: object) -> GeoClip:
    import dataclasses

    torch.manual_seed(0)
    return GeoClip(dataclasses.replace(GeoClip.debug_config(), **changes))


@torch.no_grad()
def test_published_queries(published: GeoClip, shared_dir: Path) -> None:
    golden = load_file(shared_dir / "golden" / "geoclip.safetensors")
    assert published.scale == pytest.approx(golden["logit_scale"].exp().item(), rel=1e-6)
    keys = published.keys(Places(latlon_deg=golden["coordinates"].double()))
    assert torch.allclose(keys, F.normalize(golden["location_embedding"]), atol=1e-4)


@torch.no_grad()
@pytest.mark.slow  # embeds the gallery of 100,000 points: 10 s on two cores
def test_published_top_five(published: GeoClip, release: GeoClipRelease, shared_dir: Path) -> None:
    golden = load_file(shared_dir / "golden" / "geoclip.safetensors")
    assert release.gallery is not None
    latlon = read_gallery(release.gallery).latlon_deg
    keys = torch.cat([published.keys(Places(latlon_deg=torch.from_numpy(part))) for part in np.array_split(latlon, 25)])
    features = {"clip": golden["clip_image_embedding"][None]}
    queries = published.queries(Clips(features=features, mask_BT=torch.ones(1, 16, dtype=torch.bool)))[0]
    found = top_k(queries, keys, 5, scale=published.scale)
    assert found.log_total_N is not None
    probability = torch.exp(published.scale * found.scores_NK.double() - found.log_total_N[:, None])
    assert (probability - golden["top5_probability"]).abs().max() < 1e-5
    index, expected = found.index_NK.numpy(), golden["top5_index"].numpy()
    # Rows of the gallery that repeat a point tie exactly: any of them is the published answer.
    same = (index == expected) | (latlon[index] == latlon[expected]).all(-1)
    assert same.all()
    assert (index == expected).mean() > 0.98
    assert np.allclose(latlon[index], golden["top5_coordinates"].numpy(), atol=1e-5)


def test_released_parts_that_fit_are_taken(release: GeoClipRelease, published: GeoClip) -> None:
    fine = GeoClip(GeoClipConfig(encoder="gist", feature_dim=100, sigmas=(1.0, 8.0, 256.0, 4096.0)))
    drawn = fine.load_released(release.tensors)
    assert len(drawn) == 3
    assert "8" in drawn[0] and "4096" in drawn[1] and "gist" in drawn[2]
    for own, released in ((0, 0), (2, 2)):
        a, b = fine.location.capsules[own].state_dict(), published.location.capsules[released].state_dict()
        assert all(torch.equal(a[name], b[name]) for name in b)
    with pytest.raises(ValueError, match="settings ask for"):
        GeoClip(GeoClipConfig(location_width=64)).load_released(release.tensors)


def test_the_loss_is_cross_entropy_with_the_diagonal() -> None:
    method, clips = debug(), batch(20)
    assert clips.latlon_deg is not None
    logits = method.scale * method.queries(clips)[:, 0] @ method.keys(Places(latlon_deg=clips.latlon_deg[:, 0])).T
    expected = F.cross_entropy(logits, torch.arange(20))
    assert method.loss(clips, "contrastive", torch.Generator())["total"].item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    both = (expected + F.cross_entropy(logits.T, torch.arange(20))) / 2
    found = debug(symmetric=True).loss(clips, "contrastive", torch.Generator())["total"]
    assert found.item() == pytest.approx(both.item(), rel=1e-5)


def test_soft_targets_follow_the_distance() -> None:
    method, clips = debug(target_radius_km=0.015), batch(30)
    assert clips.latlon_deg is not None
    latlon = clips.latlon_deg[:, 0]
    metres = 1000 * distance_km(latlon.numpy()[:, None], latlon.numpy()[None])
    wanted = np.exp(-0.5 * (metres / 15) ** 2)
    wanted = torch.from_numpy(wanted / wanted.sum(1, keepdims=True)).float()
    logits = method.scale * method.queries(clips)[:, 0] @ method.keys(Places(latlon_deg=latlon)).T
    found = method.loss(clips, "contrastive", torch.Generator())["total"]
    assert found.item() == pytest.approx(F.cross_entropy(logits, wanted).item(), rel=1e-4)


def test_equal_coordinates_share_the_target() -> None:
    method, clips = debug(positives="equal"), batch(3)
    assert clips.latlon_deg is not None
    clips.latlon_deg[2] = clips.latlon_deg[0]
    wanted = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    logits = method.scale * method.queries(clips)[:, 0] @ method.keys(Places(latlon_deg=clips.latlon_deg[:, 0])).T
    found = method.loss(clips, "contrastive", torch.Generator())["total"]
    assert found.item() == pytest.approx(F.cross_entropy(logits, wanted).item(), rel=1e-5)


def test_the_queue_starts_empty_wraps_and_serves_after_the_step() -> None:
    method = debug(queue=5)
    first, second = batch(4, seed=1), batch(4, seed=2)
    assert first.latlon_deg is not None and second.latlon_deg is not None
    without = debug().loss(first, "contrastive", torch.Generator())["total"]
    assert torch.equal(method.loss(first, "contrastive", torch.Generator())["total"], without)
    assert torch.equal(method._queued(), first.latlon_deg[:, 0])
    with_queue = method.loss(second, "contrastive", torch.Generator())["total"]
    assert with_queue > debug().loss(second, "contrastive", torch.Generator())["total"]
    expected = torch.cat([second.latlon_deg[1:, 0], first.latlon_deg[3:, 0], second.latlon_deg[:1, 0]])
    assert torch.equal(method._queued(), expected)
    method.eval()
    method.loss(first, "contrastive", torch.Generator())
    assert torch.equal(method._queued(), expected)


def test_a_queue_smaller_than_the_batch_keeps_the_newest() -> None:
    method, clips = debug(queue=3), batch(5)
    assert clips.latlon_deg is not None
    method.loss(clips, "contrastive", torch.Generator())
    assert torch.equal(method._queued(), clips.latlon_deg[2:, 0])


def test_noise_moves_positions_and_no_target() -> None:
    method, clips = debug(gps_noise_m=40.0, target_radius_km=0.015), batch(20)
    assert clips.latlon_deg is not None
    latlon = clips.latlon_deg[:, 0]
    noisy = method._noised(latlon, 40.0, torch.Generator().manual_seed(3))
    km = distance_km(latlon.numpy()[:, None], latlon.numpy()[None])
    wanted = torch.softmax(torch.from_numpy(-0.5 * (km / 0.015) ** 2), 1).float()
    logits = method.scale * method.queries(clips)[:, 0] @ method.keys(Places(latlon_deg=noisy)).T
    found = method.loss(clips, "contrastive", torch.Generator().manual_seed(3))["total"]
    assert found.item() == pytest.approx(F.cross_entropy(logits, wanted).item(), rel=1e-4)
    assert found.item() != debug(target_radius_km=0.015).loss(clips, "contrastive", torch.Generator())["total"].item()


def test_noise_is_in_metres_everywhere() -> None:
    places = torch.tensor([[60.0, 179.9999]], dtype=torch.float64).repeat(4000, 1)
    for sigma in (150, 1000):
        noisy = debug()._noised(places, sigma, torch.Generator().manual_seed(0))
        metres = 1000 * distance_km(places.numpy(), noisy.numpy())
        assert np.sqrt((metres**2).mean() / 2) == pytest.approx(sigma, rel=0.05)
        assert noisy[:, 1].min() < -179.9  # across the antimeridian
        assert ((noisy[:, 1] >= -180) & (noisy[:, 1] < 180)).all()


def test_padding_does_not_count() -> None:
    method, clips = debug(), batch(10)
    padded = Clips(
        features={"clip": torch.cat([clips.features["clip"], torch.full((10, 1, 32), 7.0)], 1)},
        mask_BT=torch.tensor([[True, False]]).repeat(10, 1),
        latlon_deg=torch.cat([clips.latlon_deg, torch.zeros(10, 1, 2, dtype=torch.float64)], 1),
    )
    generator = torch.Generator()
    a, b = (method.loss(c, "contrastive", generator)["total"].item() for c in (clips, padded))
    assert a == pytest.approx(b, rel=1e-6)


def test_vidtags_recipe_by_default() -> None:
    recipe = GeoClip(GeoClip.debug_config()).recipe("contrastive")
    assert recipe.clip_frames is None
    defaults = GeoClipConfig()
    assert (defaults.learning_rate, defaults.decay_per_epoch, defaults.warmup_steps) == (5e-5, 0.99, 1000)
    assert (defaults.epochs, defaults.batch_frames, defaults.queue) == (600, 2048, 0)
    assert (defaults.weight_decay, defaults.gps_noise_m, defaults.target_radius_km) == (0, 0, 0)
    assert (defaults.init, defaults.positives, defaults.symmetric) == ("released", "identity", False)


def test_what_is_set_reaches_the_recipe() -> None:
    settings = {"epochs": 7, "learning_rate": 0.5, "decay_per_epoch": 0.25, "warmup_steps": 9, "weight_decay": 0.125}
    recipe = debug(**settings, batch_frames=33).recipe("contrastive")
    assert {name: getattr(recipe, name) for name in settings} == settings
    assert recipe.batch_clips == 33


def test_the_architecture_by_default_is_the_released_one(release: GeoClipRelease) -> None:
    method = GeoClip(GeoClipConfig())
    assert method.scale == pytest.approx(1 / 0.07)
    scales = [capsule.frequencies.std().item() for capsule in method.location.capsules]
    published = [release.tensors[f"LocEnc{i}.capsule.0.b"].std().item() for i in range(3)]
    assert scales == pytest.approx(published, rel=0.15)
    assert sum(p.numel() for p in method.parameters()) + 3 * 256 * 2 == sum(t.numel() for t in release.tensors.values())


@pytest.mark.parametrize(
    "changes", [{"sigmas": ()}, {"sigmas": (0.0,)}, {"feature_dim": 0}, {"queue": -1}, {"decay_per_epoch": 1.5}]
)
def test_nonsense_settings_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError):
        GeoClipConfig(**changes)
