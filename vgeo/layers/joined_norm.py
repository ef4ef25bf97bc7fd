"""Batch normalisation over the joined batch of several processes; alone it is PyTorch's.

PyTorch's SyncBatchNorm needs a GPU, and counts clips that only fill up a process's part of a batch.

Shapes: N rows of a process, C channels, R processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vgeo.layers.ranks import gather_rows, world_size


class JoinedNorm(_BatchNorm):
    """BatchNorm1d, 2d or 3d, by what comes in: [N, C, ...]."""

    real_N: Tensor | None = None  # bool, rows that count; None: all do. Set by `counting`

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected [N, C, ...], got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return self._joined(input.float()).to(input.dtype)

    def _joined(self, rows: Tensor) -> Tensor:
        shape = [1, -1, *[1] * (rows.ndim - 2)]
        over = [0, *range(2, rows.ndim)]
        real_N = rows.new_ones(len(rows)) if self.real_N is None else self.real_N.to(rows)
        share = real_N.view(-1, *[1] * (rows.ndim - 1))
        count = real_N.sum() * (rows[0, 0].numel())
        sums = gather_rows(torch.cat([(rows * share).sum(over), count[None]])[None]).sum(0)
        total = sums[-1].clamp(min=1)
        mean_C = sums[:-1] / total
        centred = rows - mean_C.view(shape)
        var_C = gather_rows((centred.square() * share).sum(over)[None]).sum(0) / total
        self._remember(mean_C.detach(), var_C.detach() * total / (total - 1).clamp(min=1))
        scale_C = (var_C + self.eps).rsqrt() * self.weight
        return centred * scale_C.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _remember(self, mean_C: Tensor, var_C: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(var_C, self.momentum)
        self.num_batches_tracked += 1


def join_norms(module: nn.Module) -> None:
    """Replace the batch norms inside a module that is about to be trained; names and values stay."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, JoinedNorm):
                joined = JoinedNorm(child.num_features, child.eps, child.momentum)
                joined.load_state_dict(child.state_dict())
                setattr(parent, name, joined)


@contextmanager
def counting(module: nn.Module, real_N: Tensor) -> Iterator[None]:
    """Let the norms inside a module count only these of their rows."""
    norms = [inner for inner in module.modules() if isinstance(inner, JoinedNorm)]
    for norm in norms:
        norm.real_N = real_N
    try:
        yield
    finally:
        for norm in norms:
            norm.real_N = None
