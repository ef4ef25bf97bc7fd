"""Encoders on a CPU: gradients under bfloat16 must be those of float32, nearly, and thin ones must not crash."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from vgeo.methods._resnets import R3d18


def gradient(model: R3d18, pixels: Tensor, weights: Tensor, mixed: bool) -> Tensor:
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        (model(pixels).float() * weights).sum().backward()
    found = model.layer3[0].conv2[0].weight.grad  # of a map of 2 frames
    assert found is not None
    return found.clone()


def test_gradients_of_clips_do_not_depend_on_what_was_in_memory() -> None:
    """PyTorch's own, in bfloat16 on a CPU, are 0.99 of themselves to infinitely far off here, each time elsewhere."""
    torch.manual_seed(0)
    model = R3d18(16, 0.0)
    pixels = torch.randn(8, 8, 24, 48, 3).permute(0, 4, 1, 2, 3)
    weights = torch.randn_like(model(pixels))
    exact = gradient(model, pixels, weights, mixed=False)
    for _ in range(2):
        junk = [torch.full((7000 * (k + 1),), 1e30) for k in range(40)]
        del junk
        assert float((gradient(model, pixels, weights, mixed=True) - exact).norm() / exact.norm()) == pytest.approx(
            0, abs=0.02
        )


def test_thin_encoders_do_not_crash_on_pictures_whose_channels_come_last() -> None:
    """PyTorch's own do, with a segmentation fault; so in a process of its own."""
    code = (
        "import torch; from vgeo.methods._resnets import ResNet18; "
        "ResNet18(4)(torch.randn(8, 96, 96, 3).permute(0, 3, 1, 2)).sum().backward()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
