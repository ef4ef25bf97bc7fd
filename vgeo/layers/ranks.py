"""Rows that several processes hold together: what a loss needs to see the whole batch when each holds a part of it.

Every process holds equally many rows of the joined batch, which lie in it in the order of the ranks. A loss that sums
to that of the joined batch over the ranks, gathered with these functions, has the gradients of one process.

Shapes: N rows of a process, R processes.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together; 1 when alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def gather_rows(rows: Tensor) -> Tensor:
    """All processes' rows in the order of the ranks: [N, ...] -> [R N, ...]; the tensor itself when alone.

    The gradient of a row is the sum of what all processes' losses say of it. All must call it, with equal shapes.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


def own_rows(joined: Tensor) -> Tensor:
    """This process's rows of the joined batch: [R N, ...] -> [N, ...]."""
    each = len(joined) // world_size()
    return joined[rank() * each : (rank() + 1) * each]


class _Gather(torch.autograd.Function):
    """All-gather whose gradient comes back to the process that owns the row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        as_sent = rows.to(torch.uint8) if rows.dtype is torch.bool else rows
        pieces = [torch.empty_like(as_sent, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(pieces, as_sent.contiguous())
        return torch.cat(pieces).to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return own_rows(summed)
