"""Weights and inputs made by formula from names, as the golden tensors of GAMa were."""

import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def drawn(name: str, *shape: int) -> Tensor:
    """Standard normal numbers that a name decides on."""
    return torch.from_numpy(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32))


def published_state(names: Path) -> dict[str, Tensor]:
    """The published state dict, by the list of names and shapes."""
    state = {}
    for line in names.read_text().splitlines():
        name, _, shape = line.partition(" ")
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
            continue
        state[name] = _scaled(name, drawn(name, *map(int, re.findall(r"\d+", shape))))
    return state


def _scaled(name: str, n: Tensor) -> Tensor:
    if name.endswith("running_var"):
        return 1 + 0.1 * n.abs()
    if name.endswith("running_mean"):
        return 0.1 * n
    if n.ndim == 1:
        return 1 + 0.1 * n if name.endswith("weight") else 0.1 * n
    return n / np.sqrt(np.prod(n.shape[1:]))
