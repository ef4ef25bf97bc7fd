"""The learning rate by hand, and Adam against its formula."""

import math

import pytest
import torch

from vgeo.methods.base import Recipe
from vgeo.training.optim import adam, learning_rate, set_rate


def recipe(**changes: float) -> Recipe:
    values = {
        "epochs": 5, "batch_clips": 2, "clip_frames": None, "learning_rate": 0.1, "decay_per_epoch": 0.5,
        "warmup_steps": 4,
    }  # fmt: skip
    return Recipe(**(values | changes))  # type: ignore[arg-type]


def test_warm_up_by_step_and_decay_by_epoch_by_hand() -> None:
    # Three steps an epoch: the warm-up ends within the second epoch.
    rates = [learning_rate(recipe(), step // 3, step) for step in range(9)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025], rel=1e-12)


def test_without_warm_up_the_first_step_is_full() -> None:
    assert learning_rate(recipe(warmup_steps=0), 0, 0) == 0.1
    assert learning_rate(recipe(warmup_steps=1), 0, 0) == 0.1


def test_the_published_schedule_ends_at_a_quarter_percent() -> None:
    # VidTAG appendix A: 600 epochs of decay 0.99, 1000 steps of warm-up, 71 steps an epoch.
    published = recipe(learning_rate=5e-5, decay_per_epoch=0.99, warmup_steps=1000)
    assert learning_rate(published, 600, 600 * 71) / 5e-5 == pytest.approx(0.0024, abs=5e-5)
    assert learning_rate(published, 0, 499) == pytest.approx(2.5e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_takes_the_steps_of_the_formula(decay: float) -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = adam([weight], recipe(weight_decay=decay))
    expected, mean, square = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step, rate in enumerate((0.1, 0.05, 0.025), start=1):
        set_rate(optimizer, rate)
        weight.grad = 2 * weight.detach()
        optimizer.step()
        for i in range(2):
            gradient = 2 * expected[i] + decay * expected[i]
            mean[i] = 0.9 * mean[i] + 0.1 * gradient
            square[i] = 0.999 * square[i] + 0.001 * gradient**2
            corrected = math.sqrt(square[i] / (1 - 0.999**step)) + 1e-8
            expected[i] -= rate * mean[i] / (1 - 0.9**step) / corrected
    assert weight.tolist() == pytest.approx(expected, rel=1e-12)


def test_each_parameter_goes_at_its_own_part_of_the_rate() -> None:
    """Adam's first step is the rate, whatever the gradient."""
    slow, fast, still = (torch.nn.Parameter(torch.zeros(3)) for _ in range(3))
    optimizer = adam([slow, fast, still], recipe(), [0.1, 1.0, 0.0])
    set_rate(optimizer, 0.05)
    for parameter in (slow, fast, still):
        parameter.grad = torch.full((3,), 7.0)
    optimizer.step()
    assert slow.tolist() == pytest.approx([-0.005] * 3, rel=1e-4)
    assert fast.tolist() == pytest.approx([-0.05] * 3, rel=1e-4)
    assert still.tolist() == [0.0] * 3
