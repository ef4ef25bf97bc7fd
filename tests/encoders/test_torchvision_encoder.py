"""Pooled ImageNet classifiers: the real SqueezeNet on real streets, and refusal of what does not fit."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_gist import lund
from torch.nn import functional
from torchvision import models

from vgeo import device, encoders
from vgeo.encoders.base import Encoder
from vgeo.errors import FormatError, InputError, UsageError

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def squeezenet(shared_dir: Path) -> Encoder:
    weights = shared_dir / "data/squeezenet-imagenet/squeezenet1_0.safetensors"
    settings = {"input_style": "caffe", "size": "227"}
    return encoders.load("torchvision:squeezenet1_0", COMPUTE, weights=str(weights), settings=settings, offline=True)


def test_finds_the_city_of_every_street(squeezenet: Encoder, shared_dir: Path) -> None:
    folder = shared_dir / "data/global-streetscapes-sample"
    with open(folder / "meta/01_simplemaps.csv") as file:
        cities = {row["uuid"]: row["city"] for row in csv.DictReader(file)}
    paths = sorted((folder / "images").glob("*.jpeg"))
    images = [torch.from_numpy(np.array(Image.open(path).convert("RGB"))) for path in paths]
    features = torch.cat([squeezenet(image[None]) for image in images])
    nearest = (features @ features.T).fill_diagonal_(-1).argmax(1)
    assert sum(cities[path.stem] == cities[paths[i].stem] for path, i in zip(paths, nearest, strict=True)) == 25


def test_finds_the_next_image_of_a_real_walk(squeezenet: Encoder, shared_dir: Path) -> None:
    error_m = lund(squeezenet, shared_dir / "data/opensfm-lund-walk")
    assert np.median(error_m) == pytest.approx(6.2, abs=0.15)
    assert (error_m <= 25).mean() == pytest.approx(0.90, abs=0.035)


def test_gem_by_hand(squeezenet: Encoder, shared_dir: Path) -> None:
    """The same numbers from torchvision's model, Caffe's arithmetic and the formula."""
    from safetensors.torch import load_file

    model = models.squeezenet1_0(weights=None).eval()
    model.load_state_dict(load_file(shared_dir / "data/squeezenet-imagenet/squeezenet1_0.safetensors"))
    image = np.array(Image.open(shared_dir / "data/opensfm-lund-walk/images/01.jpg").convert("RGB").resize((227, 227)))
    bgr = torch.from_numpy(image[..., ::-1].astype(np.float32) - [104, 117, 123]).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        pooled = (model.features(bgr).clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3)
    ours = squeezenet(torch.from_numpy(image)[None])
    torch.testing.assert_close(ours, functional.normalize(pooled), rtol=1e-4, atol=1e-5)
    assert "BGR" in squeezenet.spec.preprocessing and "GeM p=3 of features" in squeezenet.spec.preprocessing


@pytest.mark.parametrize(
    ("name", "dim"), [("resnet18", 512), ("mobilenet_v3_small", 576), ("shufflenet_v2_x0_5", 1024)]
)
def test_other_architectures_from_pth(tmp_path: Path, name: str, dim: int) -> None:
    torch.save(models.get_model(name, weights=None).state_dict(), tmp_path / "w.pth")
    encoder = encoders.load(f"torchvision:{name}", COMPUTE, weights=str(tmp_path / "w.pth"), settings={"size": "96"})
    out = encoder(torch.randint(0, 256, (2, 50, 80, 3), dtype=torch.uint8))
    assert out.shape == (2, dim) and encoder.spec.dim == dim
    torch.testing.assert_close(out.norm(dim=1), torch.ones(2))


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    name = "torchvision:squeezenet1_0"
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "other.pth")
    with pytest.raises(FormatError, match="does not fit squeezenet1_0"):
        encoders.load(name, COMPUTE, weights=str(tmp_path / "other.pth"))
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"x": Path}, protocol=2))
    with pytest.raises(FormatError):
        encoders.load(name, COMPUTE, weights=str(tmp_path / "evil.pth"))
    torch.save({"x": Path("/")}, tmp_path / "object.pth")
    with pytest.raises(FormatError, match="holds more than tensors"):
        encoders.load(name, COMPUTE, weights=str(tmp_path / "object.pth"))
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(FormatError, match=r"not a \.safetensors"):
        encoders.load(name, COMPUTE, weights=str(tmp_path / "cut.safetensors"))
    with pytest.raises(InputError):
        encoders.load(name, COMPUTE, weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("torchvision:squeezenet9", {}, "no such classifier"),
        ("torchvision", {}, "no such classifier"),
        ("torchvision:resnet18", {"p": "0"}, "not a number from 1"),
        ("torchvision:resnet18", {"input_style": "tiff"}, "not one of imagenet, caffe"),
        ("torchvision:resnet18", {"colour": "1"}, "no setting 'colour'; it has size=224"),
        ("torchvision:resnet18", {"size": "16"}, "no last convolutional map at 16 px"),
    ],
)
def test_wrong_names_and_settings(tmp_path: Path, name: str, settings: dict[str, str], message: str) -> None:
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=message):
        encoders.load(name, COMPUTE, weights=str(tmp_path / "w.pth"), settings=settings)


def test_transformers_are_refused(tmp_path: Path) -> None:
    torch.save(models.vit_b_32(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match="no last convolutional map"):
        encoders.load("torchvision:vit_b_32", COMPUTE, weights=str(tmp_path / "w.pth"))
