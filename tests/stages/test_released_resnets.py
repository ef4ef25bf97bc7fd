"""Weights that GAMa's encoders start from: torchvision's networks with random numbers, saved as released."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vgeo.device import Compute
from vgeo.errors import FormatError, InputError, MissingModelError, SettingError, UsageError
from vgeo.methods.base import Method, Retriever
from vgeo.methods.gama import Gama, GamaConfig
from vgeo.methods.screening import Screening, ScreeningConfig
from vgeo.stages.released_resnets import load_released_resnets
from vgeo.stages.train_aerial import aerial_model, load_weights
from vgeo.stages.train_prepare import Request
from vgeo.training.loop import Options

SHORTCUTS = {f"layer{n}.0.downsample" for n in (2, 3, 4)}


def torchvision_state(name: str) -> dict[str, Tensor]:
    """A state dict with other numbers in every tensor, those of norms too."""
    from torchvision import models

    builder: Callable[[], torch.nn.Module] = models.resnet18 if name == "resnet18" else models.video.r3d_18
    generator = torch.Generator().manual_seed(1)
    return {
        key: value if key.endswith("num_batches_tracked") else torch.rand(value.shape, generator=generator)
        for key, value in builder().state_dict().items()
    }


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released")
    torch.save(torchvision_state("resnet18"), folder / "resnet18-f37072fd.pth")
    # As PyTorch saved them of old: without counters.
    old = {k: v for k, v in torchvision_state("r3d_18").items() if not k.endswith("num_batches_tracked")}
    save_file(old, folder / "r3d_18-b3b3357e.safetensors")
    return folder


def changed(method: Method, run: Callable[[], object]) -> set[str]:
    """Names of the tensors that differ after `run`."""
    before = {name: value.clone() for name, value in method.state_dict().items()}
    run()
    return {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}


def of_encoders(method: Method, *parts: str) -> set[str]:
    return {
        name
        for name in method.state_dict()
        if name.partition(".")[0] in parts and not name.endswith("num_batches_tracked")
    }


def test_the_published_stem_leaves_exactly_its_shortcuts_random(released: Path) -> None:
    method = Gama(GamaConfig())
    left: list[str] = []
    loaded = changed(method, lambda: left.extend(load_released_resnets(method, "gama", str(released))))
    assert {name.removeprefix("aerial.").rpartition(".")[0].rpartition(".")[0] for name in left} == SHORTCUTS
    assert len(left) == 3 * 6, "a convolution and the five tensors of its norm, three times"
    assert loaded == of_encoders(method, "ground", "aerial") - set(left)
    state, image = method.state_dict(), torchvision_state("resnet18")
    assert torch.equal(state["aerial.conv1.weight"], image["conv1.weight"])
    assert torch.equal(state["aerial.layer4.1.bn2.running_var"], image["layer4.1.bn2.running_var"])
    video = torchvision_state("r3d_18")
    for name in ("stem.0.weight", "stem.1.bias", "layer2.0.downsample.1.running_mean", "layer3.1.conv2.0.weight"):
        assert torch.equal(state[f"ground.{name}"], video[name])


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        (lambda: Gama(GamaConfig(aerial_stem="torchvision")), ("ground", "aerial")),
        (lambda: Gama(GamaConfig(aerial_stem="torchvision", ground="image")), ("ground", "aerial")),
        (lambda: Screening(ScreeningConfig(aerial_stem="torchvision")), ("small", "region")),
        (lambda: Screening(ScreeningConfig(aerial_stem="torchvision", small="3d")), ("small", "region")),
    ],
)
def test_the_repaired_stem_takes_all(released: Path, method: Callable[[], Method], parts: tuple[str, ...]) -> None:
    made = method()
    left: list[str] = []
    loaded = changed(made, lambda: left.extend(load_released_resnets(made, "any", str(released))))
    assert loaded == of_encoders(made, *parts) and left == []


def test_what_is_loaded_gives_what_torchvision_gives(released: Path) -> None:
    """The repaired encoders are torchvision's networks: their maps, averaged, are what its classifiers read."""
    from torchvision import models

    method = Gama(GamaConfig(aerial_stem="torchvision")).eval()
    load_released_resnets(method, "gama", str(released))
    for ours, theirs, name, shape in (
        (method.aerial, models.resnet18(), "resnet18", (2, 3, 64, 64)),
        (method.ground, models.video.r3d_18(), "r3d_18", (2, 3, 8, 32, 64)),
    ):
        theirs.load_state_dict(torchvision_state(name))
        theirs.fc = torch.nn.Identity()
        pixels = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(ours(pixels).flatten(2).mean(-1), theirs.eval()(pixels), rtol=1e-4, atol=0)


def test_one_file_where_one_is_needed(released: Path) -> None:
    file = str(next(released.glob("resnet18*")))
    screening = Screening(ScreeningConfig())
    left = load_released_resnets(screening, "screening", file)
    assert {name.partition(".")[0] for name in left} == {"small", "region"}
    with pytest.raises(UsageError, match="name a folder with torchvision's files of r3d_18 and resnet18"):
        load_released_resnets(Gama(GamaConfig()), "gama", file)


def test_the_cache_of_torch_is_used(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    method = Screening(ScreeningConfig())
    with pytest.raises(MissingModelError) as caught:
        load_released_resnets(method, "screening", offline=True)
    lines = str(caught.value).splitlines()
    assert "resnet18-f37072fd.pth are not on this machine, and --offline forbids to download them" in lines[0]
    assert lines[2].endswith("then --weights FOLDER")
    assert lines[3] == "  or without a download: --set init=scratch"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").symlink_to(released / "resnet18-f37072fd.pth")
    load_released_resnets(method, "screening", offline=True)
    assert torch.equal(method.region.conv1.weight, torchvision_state("resnet18")["conv1.weight"])


def test_weights_that_do_not_fit_are_one_line(released: Path, tmp_path: Path) -> None:
    method = Gama(GamaConfig())
    cases: list[tuple[type[Exception], str, Method, Path]] = [
        (SettingError, "are 64 wide; leave it out", Gama(replace(Gama.debug_config(), init="released")), released),
        (InputError, r"has no r3d_18\*\.pth", method, tmp_path),
        (InputError, "no such file", Screening(ScreeningConfig()), tmp_path / "none.pth"),
        (FormatError, "not those of torchvision's resnet18", Screening(ScreeningConfig()), next(released.glob("r3d*"))),
    ]  # fmt: skip
    for kind, message, made, path in cases:
        with pytest.raises(kind, match=message) as caught:
            load_released_resnets(made, "gama", str(path))
        assert "\n" not in str(caught.value)
    for name in ("resnet18-1.pth", "resnet18-2.pth"):
        torch.save({}, tmp_path / name)
    with pytest.raises(UsageError, match=r"has resnet18-1\.pth and resnet18-2\.pth"):
        load_released_resnets(Screening(ScreeningConfig()), "screening", str(tmp_path))


def request(**changes: object) -> Request:
    asked: dict[str, object] = {
        "name": "screening", "cls": Screening, "inputs": (), "changed": {}, "options": Options(),
        "compute": Compute(torch.device("cpu"), torch.float32), "folder": Path("models/screening"), "offline": True,
    }  # fmt: skip
    return Request(**{**asked, **changes})  # type: ignore[arg-type]


def started(asked: Request) -> Retriever:
    """The model as training begins with it."""
    model = aerial_model(asked)
    load_weights(model, asked)
    return model


def test_training_starts_from_them(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = {"screening": str(released)}
    model = started(request(weights=weights))
    assert torch.equal(model.state_dict()["small.conv1.weight"], torchvision_state("resnet18")["conv1.weight"])
    with pytest.raises(MissingModelError, match="--offline forbids"):
        started(request())
    scratch = started(request(changed={"init": "scratch", "width": 4}))
    assert scratch.state_dict()["small.conv1.weight"].shape[0] == 4
    with pytest.raises(UsageError, match="not used with --from or init=scratch"):
        started(request(changed={"init": "scratch"}, weights=weights))
