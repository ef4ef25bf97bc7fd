"""The counter of multiply-accumulates against formulas worked out by hand."""

import pytest
import torch
from torch import nn

from vgeo.layers.costs import macs_by_part, numbers, switches_on_cpu


def transformer_layer(frames: int, width: int, feedforward: int) -> int:
    """A layer over one clip: query, key, value and output projections, scores and their sums, two linear layers."""
    projections = 4 * frames * width * width
    attention = 2 * frames * frames * width
    return projections + attention + 2 * frames * width * feedforward


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_transformer_layer_in_evaluation_mode(device: str, grad: bool) -> None:
    """Without gradients PyTorch would run it as one fused operation that the counter does not know."""
    layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=True, norm_first=True).to(device).eval()
    layer.requires_grad_(grad)
    frames = torch.zeros(1, 10, 32, device=device)
    counted = macs_by_part(nn.ModuleDict({"layer": layer}), lambda: layer(frames))
    assert counted == {"layer": transformer_layer(10, 32, 48)}
    assert torch.backends.mha.get_fastpath_enabled()


def test_every_part_gets_its_own_and_the_rest_goes_to_none() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 7))
            self.several = nn.ModuleList([nn.Linear(7, 7), nn.Linear(7, 7)])  # is never called itself
            self.idle = nn.Linear(9, 9)
            self.pixels = nn.Conv2d(3, 8, kernel_size=2, stride=2)

        def run(self) -> None:
            x = self.first(torch.zeros(11, 3))
            for layer in self.several:
                x = layer(x)
            _ = x @ torch.zeros(7, 2)
            self.pixels(torch.zeros(1, 3, 4, 6))

    whole = Whole()
    counted = macs_by_part(whole, whole.run)
    assert counted == {
        "first": 11 * (3 * 5 + 5 * 7),
        "several": 2 * 11 * 7 * 7,
        "pixels": (2 * 3) * 8 * (3 * 2 * 2),
        "": 11 * 7 * 2,
    }
    assert counted.total() == sum(counted.values())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in whole.modules())


def test_shared_tensors_count_once() -> None:
    layer = nn.Linear(4, 4)
    assert numbers([*layer.parameters(), layer.weight]) == 4 * 4 + 4


def test_switches_get_a_value_and_nothing_else_does() -> None:
    with torch.device("meta"):
        norm = nn.BatchNorm1d(3)
    switches_on_cpu(norm)
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_mean.is_meta
