"""How much memory there is to keep things in, and the way from it to the device."""

import os
from pathlib import Path

import torch
from torch import Tensor

from vgeo.layers.ranks import world_size


def free_bytes(device: torch.device) -> int:
    """Free memory of a device; of the host's, where it is one, this process's share among those that train together."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _host_bytes() // world_size()


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, which is not waited for: copies to CUDA start from pinned memory.

    PyTorch's host allocator reuses pinned memory only after its copy has ended.
    """
    if tensor.device.type == device.type:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _host_bytes() -> int:
    """What the host can give without swapping: what is free or merely keeps files; no more than a container may use."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # not Linux
        found = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return found
