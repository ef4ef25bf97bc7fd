"""Several processes that torchrun started: how they meet, add up their gradients, and end together.

Each takes its part of every step's items and computes the part of the loss that falls to them; a method's loss sees to
it that the parts sum to the loss of the joined batch (layers/ranks.py). So the gradients are summed, not averaged. Only
the first process measures, writes and tells; its name in torch is rank 0.
"""

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vgeo.device import Compute
from vgeo.errors import INTERRUPTED, SettingError, VgeoError, first_line
from vgeo.layers.ranks import gather_rows, world_size

_TIMEOUT = timedelta(hours=1)  # of one wait: the others wait while the first one measures on a large gallery
_SAY_S = 10.0


@contextmanager
def joined(compute: Compute) -> Iterator[Compute]:
    """Meet the other processes for as long as the block lasts, and yield this one's device; alone, do nothing.

    What fails in one process mostly fails in all. The first one on each machine says so at once, and torchrun ends the
    others before they say it too; but what only they know of they do say.
    Raises SettingError when there is no device for each, VgeoError when another process has gone.
    """
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys() or os.environ["WORLD_SIZE"] == "1" or dist.is_initialized():
        yield compute
        return
    others = int(os.environ.get("LOCAL_RANK", "0")) > 0
    try:
        yield _meet(compute)
        dist.destroy_process_group()
    except VgeoError:
        if others:
            time.sleep(_SAY_S)
        raise
    except KeyboardInterrupt as error:
        if others:
            raise SystemExit(INTERRUPTED) from error
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        if others:
            time.sleep(_SAY_S)
        raise VgeoError(
            f"another process of this run has ended: what it said is the reason ({first_line(error)})"
        ) from error


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a write end before a polite kill is obeyed: torchrun sends one as soon as another process has gone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if caught:
            signal.raise_signal(signal.SIGTERM)


def _meet(compute: Compute) -> Compute:
    """Join the others; return this process's device."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if compute.device.type == "cuda":
        if compute.device.index is not None:
            raise SettingError(f"--device {compute.device}: torchrun gives each process its own; use --device cuda")
        if local >= torch.cuda.device_count():
            raise SettingError(
                f"{torch.cuda.device_count()} CUDA devices here, and torchrun started more processes: "
                f"use --nproc-per-node {torch.cuda.device_count()}, or --device cpu"
            )
        compute = replace(compute, device=torch.device("cuda", local))
        torch.cuda.set_device(compute.device)
    on_cuda = compute.device.type == "cuda"
    try:
        dist.init_process_group(
            "nccl" if on_cuda else "gloo", timeout=_TIMEOUT, device_id=compute.device if on_cuda else None
        )
    except (dist.DistError, ValueError, RuntimeError) as error:
        raise SettingError(
            f"the processes that torchrun started do not meet ({first_line(error)}); start them with "
            "'torchrun --nproc-per-node N -m vgeo train ...'"
        ) from error
    return compute


def check_same(what: dict[str, Any], device: torch.device) -> None:
    """Raise SettingError when the processes were given different settings or data."""
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).digest()
    seen = gather_rows(torch.tensor([int.from_bytes(digest[:7])], device=device))
    if (seen != seen[0]).any():
        raise SettingError("the processes read different settings or data; start all with the same command and files")


def agreed(values: Sequence[float], device: torch.device) -> list[float]:
    """The first process's values, on all of them; it is waited for. Alone, the values themselves."""
    if world_size() == 1:
        return list(values)
    sent = torch.tensor(values, dtype=torch.float64, device=device)
    dist.broadcast(sent, 0)
    return [float(value) for value in sent]


def sum_gradients(parameters: Sequence[nn.Parameter], losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace every gradient by its sum over the processes, and return the losses' sums, in one exchange."""
    if world_size() == 1:
        return losses
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in gradients), torch.stack(list(losses.values())).to(gradients[0].dtype)])
    dist.all_reduce(flat)
    sums = flat.split([*(g.numel() for g in gradients), len(losses)])
    for gradient, total in zip(gradients, sums[:-1], strict=True):
        gradient.copy_(total.view_as(gradient))
    return dict(zip(losses, sums[-1].unbind(), strict=True))
