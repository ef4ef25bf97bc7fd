"""Adam and its learning rate: linear warm-up by step, exponential decay by epoch (VidTAG, appendix A).

The paper names "StepLR", a decay and 1000 steps of warm-up. That the rate decays once an epoch (its three schedules
then end at 0.2 to 0.6 % of where they began) and that the warm-up is linear is our reading.
"""

from collections.abc import Sequence

import torch
from torch import nn

from vgeo.methods.base import Recipe


def learning_rate(recipe: Recipe, epoch: int, step: int) -> float:
    """Rate of a step; `epoch` and `step` count from 0 within the phase.

    The warm-up multiplies the decayed rate: after k of n warm-up steps it is k/n of it, and the first step is not idle.
    """
    warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    tenths = sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.learning_rate * recipe.decay_per_epoch**epoch * 0.1**tenths * warm


def adam(
    parameters: Sequence[nn.Parameter], recipe: Recipe, factors: Sequence[float] | None = None
) -> torch.optim.Adam:
    """Adam with coupled weight decay, as the papers have it; one fused kernel where the device has it (CPU, CUDA).

    factors: what the learning rate of each parameter is multiplied by; None: 1.
    """
    of_factor: dict[float, list[nn.Parameter]] = {}
    for parameter, factor in zip(parameters, factors or [1.0] * len(parameters), strict=True):
        of_factor.setdefault(factor, []).append(parameter)
    groups = [{"params": some, "factor": factor} for factor, some in of_factor.items()]
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return torch.optim.Adam(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused or None)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
