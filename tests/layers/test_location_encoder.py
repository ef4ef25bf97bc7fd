"""The location encoder against published values, and against float64 arithmetic at fine scales."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vgeo.layers.location_encoder import LocationEncoder, equal_earth, from_published


@pytest.fixture(scope="module")
def released() -> LocationEncoder:
    spec = importlib.util.find_spec("geoclip")
    if spec is None or spec.origin is None:
        pytest.skip("the package geoclip, which carries the released weights, is not installed")
    path = Path(spec.origin).parent / "model" / "weights" / "location_encoder_weights.pth"
    tensors = torch.load(path, weights_only=True)
    encoder = LocationEncoder()
    for i, capsule in enumerate(encoder.capsules):
        capsule.load_state_dict(from_published(tensors, i))
    return encoder


@torch.no_grad()
def test_published_values(released: LocationEncoder, shared_dir: Path) -> None:
    golden = load_file(shared_dir / "golden" / "geoclip.safetensors")
    plane = equal_earth(golden["coordinates"].double())
    assert torch.allclose(plane, golden["equal_earth"].double(), atol=1e-6)
    embedded = released(golden["coordinates"].double())
    assert (embedded - golden["location_embedding"]).abs().max() < 1e-5


def test_equal_earth_at_known_places() -> None:
    """Values of the projection's formula, worked out by hand."""
    plane = equal_earth(torch.tensor([[0.0, 180.0], [0.0, -90.0], [90.0, 0.0], [45.0, 90.0]], dtype=torch.float64))
    expected = torch.tensor([[1.0, 0.0], [-0.5, 0.0], [0.0, 0.4867], [0.4285, 0.3178]], dtype=torch.float64)
    assert torch.allclose(plane, expected, atol=1e-4)


def test_size_of_the_released_architecture() -> None:
    encoder = LocationEncoder()
    assert sum(p.numel() for p in encoder.parameters()) == 9_447_936
    assert encoder(torch.zeros(2, 3, 2, dtype=torch.float64)).shape == (2, 3, 512)
    scales = [capsule.frequencies.std().item() for capsule in encoder.capsules]
    assert scales == pytest.approx([1, 16, 256], rel=0.15)


@pytest.mark.parametrize("sigma", [1.0, 256.0, 2.0**12, 2.0**15])
def test_features_are_precise_at_every_scale(sigma: float) -> None:
    """Against numpy in extended precision, at places where float32 positions would be a metre off."""
    capsule = LocationEncoder([sigma], fourier=64, width=8, depth=1, dim=4).capsules[0]
    latlon = np.array([52.2, 179.1]) + np.arange(50)[:, None] * 1e-4  # steps of about 11 m
    plane = equal_earth(torch.from_numpy(latlon)).numpy().astype(np.longdouble)
    cycles = plane @ capsule.frequencies.numpy().astype(np.longdouble).T
    angle = (2 * np.pi * (cycles - np.round(cycles))).astype(np.float64)
    found = capsule.features(torch.from_numpy(latlon)).numpy()
    assert np.abs(found - np.concatenate([np.cos(angle), np.sin(angle)], 1)).max() < 2e-3


def test_frequencies_are_seeded_and_of_the_scale() -> None:
    a, b, c = (LocationEncoder([4096.0], fourier=2000, width=8, seed=s).capsules[0].frequencies for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.std().item() == pytest.approx(4096, rel=0.05)


def test_autocast_leaves_the_features_alone() -> None:
    encoder = LocationEncoder([1.0, 2.0**15], fourier=32, width=16, dim=8)
    latlon = torch.tensor([[52.2, 0.12], [52.2001, 0.12]], dtype=torch.float64)
    plain = [capsule.features(latlon) for capsule in encoder.capsules]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = [capsule.features(latlon) for capsule in encoder.capsules]
        embedded = encoder(latlon)
    assert all(torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))
    assert embedded.dtype == torch.float32
    assert torch.allclose(embedded, encoder(latlon), atol=0.02)
    assert not torch.equal(embedded, encoder(latlon))  # the MLP did run in bf16


def test_a_ten_metre_grid_is_told_apart_only_at_fine_scales() -> None:
    step = 10 / 111_195
    latlon = torch.tensor([[52.2, 0.12], [52.2 + step, 0.12]], dtype=torch.float64)

    def cosine(sigma: float) -> float:
        a, b = LocationEncoder([sigma], fourier=256, width=8).capsules[0].features(latlon)
        return float(torch.nn.functional.cosine_similarity(a, b, dim=0))

    assert cosine(256.0) > 0.99999
    # Fourier features of scale sigma have the kernel exp(-2 (pi sigma d)^2); 10 m are 5e-7 of the plane's unit or so.
    assert cosine(2.0**15) == pytest.approx(math.exp(-2 * (math.pi * 2**15 * 10 / 20_015_087 * 1.06) ** 2), abs=2e-3)
