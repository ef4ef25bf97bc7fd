"""The weightless descriptor: deterministic, of unit length, and it finds places."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vgeo import device, encoders
from vgeo.encoders.base import Encoder
from vgeo.encoders.gist import _lab
from vgeo.errors import UsageError
from vgeo.geo.sphere import distance_km

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def gist() -> Encoder:
    return encoders.load("gist", COMPUTE)


def pictures(count: int = 5, height: int = 90, width: int = 160) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=torch.manual_seed(1))


def test_shape_length_and_blocks(gist: Encoder) -> None:
    out = gist(pictures())
    assert out.shape == (5, gist.spec.dim) and out.dtype == torch.float32
    torch.testing.assert_close(out.norm(dim=1), torch.ones(5))
    for block in out.split([192, 144, 288], dim=1):
        torch.testing.assert_close(block.norm(dim=1), torch.full((5,), 3**-0.5))


def test_a_frame_does_not_depend_on_its_batch(gist: Encoder) -> None:
    frames = pictures()
    together = gist(frames)
    alone = torch.cat([gist(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_flat_frames_are_finite(gist: Encoder) -> None:
    out = gist(torch.stack([torch.full((64, 64, 3), value, dtype=torch.uint8) for value in (0, 128, 255)]))
    assert torch.isfinite(out).all()


def test_same_in_another_process(gist: Encoder) -> None:
    code = (
        "import torch; from vgeo import device, encoders\n"
        "e = encoders.load('gist', device.Compute(torch.device('cpu'), torch.float32))\n"
        "x = torch.randint(0, 256, (2, 90, 160, 3), dtype=torch.uint8, generator=torch.manual_seed(1))\n"
        "print(e(x).double().sum().item(), e(x)[1, 100].item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    out = gist(pictures(2))
    expected = [out.double().sum().item(), out[1, 100].item()]
    np.testing.assert_allclose([float(x) for x in done.stdout.split()], expected, rtol=1e-6, atol=1e-6)


def test_colours_are_those_of_cie_lab() -> None:
    """Published coordinates of sRGB's corners under D65, in hundredths."""
    corners = {
        (1, 1, 1): (100.0, 0.0, 0.0),
        (1, 0, 0): (53.2408, 80.0925, 67.2032),
        (0, 1, 0): (87.7347, -86.1827, 83.1793),
        (0, 0, 1): (32.2970, 79.1875, -107.8602),
        (0.02, 0.02, 0.02): (1.3982, 0.0, 0.0),  # where the curve is a straight line
    }
    found = _lab(torch.tensor(list(corners), dtype=torch.float32)[:, :, None, None])[..., 0, 0]
    torch.testing.assert_close(100 * found, torch.tensor(list(corners.values())), rtol=0, atol=0.02)


def test_stored_features_stay_comparable(gist: Encoder) -> None:
    """Gist has no weights whose hash would tell of a change: its numbers are part of the file format."""
    y, x = torch.meshgrid(torch.arange(90), torch.arange(160), indexing="ij")
    frame = torch.stack([x + y, 2 * x % 256, (x * y) // 50], -1).to(torch.uint8)
    found = gist(frame[None])[0]
    torch.testing.assert_close(found[GOLDEN_AT], torch.tensor(GOLDEN), rtol=0, atol=2e-4)
    assert gist.spec.preprocessing.startswith("64x64 squash bilinear; tiny 8x8 Lab, histogram (4, 6, 6), 3x6 energies")


# Some of each block: tiny image, histogram, energies at three scales.
GOLDEN_AT = [0, 40, 100, 180, 239, 244, 250, 269, 275, 305, 340, 400, 460, 520, 580, 620]
GOLDEN = [
    -0.06481,
    -0.05135,
    -0.04398,
    -0.00282,
    0.12587,
    0.13314,
    0.12458,
    0.21329,
    0.13699,
    0.13801,
    0.01247,
    -0.01899,
    -0.00748,
    -0.0049,
    -0.02573,
    -0.00587,
]


def test_energies_tell_orientations_apart(gist: Encoder) -> None:
    """A grating answers the filter across it: vertical bars the first orientation, horizontal ones the fourth."""
    wave = (torch.sin(torch.arange(64) * 2 * torch.pi * 0.16) * 100 + 128).to(torch.uint8)
    vertical = wave[None, :, None].expand(64, 64, 3)
    energies = gist(torch.stack([vertical, vertical.transpose(0, 1)]))[:, -288:].reshape(2, 3, 6, 16).mean(-1)
    assert [int(e.flatten().argmax()) for e in energies] == [6 + 0, 6 + 3]  # second scale: 0.16 cycles a pixel


def test_variants_and_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="no variants"):
        encoders.load("gist:large", COMPUTE)
    with pytest.raises(UsageError, match="no variants"):
        encoders.load("gist", COMPUTE, settings={"size": "9"})


def lund(encoder: Encoder, folder: Path) -> np.ndarray:
    """Leave-one-out retrieval along the walk: metres between each image and the one that looks most alike."""
    with open(folder / "gps.csv") as file:
        rows = list(csv.DictReader(file))
    images = [np.array(Image.open(folder / "images" / row["image"]).convert("RGB")) for row in rows]
    features = torch.cat([encoder(torch.from_numpy(image)[None]) for image in images]).numpy()
    similarity = features @ features.T
    np.fill_diagonal(similarity, -np.inf)
    latlon_deg = np.array([[float(row["lat"]), float(row["lon"])] for row in rows])
    return 1000 * distance_km(latlon_deg, latlon_deg[similarity.argmax(1)])


def test_finds_the_next_image_of_a_real_walk(gist: Encoder, shared_dir: Path) -> None:
    error_m = lund(gist, shared_dir / "data/opensfm-lund-walk")
    assert np.median(error_m) < 9  # 7.7; images are 7 m apart, chance is about 65
    assert (error_m <= 25).mean() > 0.75
