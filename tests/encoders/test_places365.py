"""Places365 networks from the files as their authors save them, against torchvision's own preprocessing and forward."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from scenemaker import network, picture, probabilities, save
from torchvision import models

from vgeo import device
from vgeo.encoders._places365 import load_places365
from vgeo.errors import FormatError, InputError

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("legacy", [False, True])
def test_agrees_with_torchvision(tmp_path: Path, legacy: bool) -> None:
    model = network()
    encoder = load_places365(save(model, tmp_path / "resnet18_places365.pth.tar", legacy), COMPUTE)
    assert (encoder.spec.name, encoder.spec.dim) == ("places365:resnet18", 365)
    assert "256x256" in encoder.spec.preprocessing
    for shape in ((256, 256), (180, 320), (600, 400)):
        ours, theirs = encoder(torch.from_numpy(picture(*shape))[None]), probabilities(model, picture(*shape))
        assert ours.shape == (1, 365) and ours.sum().item() == pytest.approx(1, abs=1e-5)
        tolerance = 1e-5 if shape == (256, 256) else 0.02  # Pillow's resizing differs by a grey level
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=1e-7)


def test_architecture_is_told_by_the_tensors(tmp_path: Path) -> None:
    model = network("resnet50")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    assert load_places365(tmp_path / "w.safetensors", COMPUTE).spec.name == "places365:resnet50"
    for name in ("resnet34", "resnet101", "resnet152"):
        with torch.device("meta"):
            state = models.get_model(name, num_classes=1000).state_dict()
        torch.save({k: torch.zeros(v.shape[:1]) if k == "fc.weight" else torch.zeros(1) for k, v in state.items()},
                   tmp_path / "w.pth")  # fmt: skip
        with pytest.raises(FormatError, match="a network of 1000 outputs, not the 365 of Places365"):
            load_places365(tmp_path / "w.pth", COMPUTE)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with pytest.raises(InputError, match="no such file"):
        load_places365(path, COMPUTE)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), path)
    with pytest.raises(FormatError, match="not the weights of a ResNet"):
        load_places365(path, COMPUTE)
    state = network().state_dict()
    torch.save({**state, "layer1.0.conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(FormatError, match="does not fit resnet18") as caught:
        load_places365(path, COMPUTE)
    assert "\n" not in str(caught.value)
    torch.save({k: v for k, v in state.items() if k != "bn1.running_var"}, path)
    with pytest.raises(FormatError, match="does not fit resnet18"):
        load_places365(path, COMPUTE)
    whole = save(network(), tmp_path / "whole.pth.tar").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"not a \.safetensors or \.pth"):
        load_places365(path, COMPUTE)


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    """`whole_resnet18_places365.pth.tar` is a pickled module, which could run anything."""
    torch.save(network(), tmp_path / "whole.pth.tar")
    with pytest.raises(FormatError, match="holds more than tensors"):
        load_places365(tmp_path / "whole.pth.tar", COMPUTE)
    (tmp_path / "evil.pth.tar").write_bytes(pickle.dumps({"state_dict": Path}, protocol=2))
    with pytest.raises(FormatError):
        load_places365(tmp_path / "evil.pth.tar", COMPUTE)
    torch.save({"state_dict": {1: torch.zeros(1)}}, tmp_path / "numbers.pth.tar")
    with pytest.raises(FormatError, match="not a plain state dict"):
        load_places365(tmp_path / "numbers.pth.tar", COMPUTE)
