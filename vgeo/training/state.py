"""What a run needs to go on bit by bit: weights and optimiser in one safetensors file, with where it stood.

One file, so that a kill leaves either the state of one epoch or that of another. No random state is in it: every
epoch's random numbers follow from (seed, phase, epoch).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vgeo.errors import FormatError
from vgeo.formats.checkpoints import load_safetensors
from vgeo.formats.streams import write_output
from vgeo.methods.base import Method

Weights = dict[str, Tensor]

_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(frozen=True, slots=True)
class State:
    """A snapshot at the end of an epoch. It stays on the device: all are taken, few are written."""

    model: Weights
    optimizer: dict[str, Tensor]  # "<parameter number>.<exp_avg, exp_avg_sq or step>"
    facts: dict[str, Any]  # JSON: position, settings, the best validation so far


def snapshot(method: Method, optimizer: torch.optim.Adam, facts: dict[str, Any]) -> State:
    """Copy weights and optimiser."""
    moments = {
        f"{number}.{key}": _copy(value)
        for number, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
    }
    return State(copy_weights(method), moments, facts)


def copy_weights(method: Method) -> Weights:
    """Copy the weights."""
    return {name: _copy(value) for name, value in method.state_dict().items()}


def restore_optimizer(optimizer: torch.optim.Adam, state: State) -> None:
    """Put saved moments into a fresh optimiser over the same parameters."""
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in state.optimizer.items():
        number, _, key = name.partition(".")
        entries.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})


def write_state(path: Path, state: State) -> None:
    """Write atomically. Raises DiskError or OutputError."""
    tensors = {_MODEL + name: value for name, value in state.model.items()}
    tensors |= {_OPTIMIZER + name: value for name, value in state.optimizer.items()}
    on_cpu = {name: value.cpu() for name, value in tensors.items()}
    write_output(path, save(on_cpu, {"vgeo": json.dumps(state.facts, allow_nan=False)}))


def read_state(path: Path) -> State:
    """Read what `write_state` wrote. Raises InputError when there is none, FormatError when it is damaged."""
    try:
        tensors = load_safetensors(path)
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["vgeo"])
        if not all(isinstance(facts[name], dict) for name in ("settings", "position", "best")):
            raise ValueError("not what a run writes")
    except (FormatError, SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise FormatError(f"{path}: damaged, cannot resume from it; train anew with --overwrite") from error
    model, optimizer = (
        {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in (_MODEL, _OPTIMIZER)
    )
    return State(model, optimizer, facts)


def _copy(value: Tensor) -> Tensor:
    return value.detach().clone(memory_format=torch.contiguous_format)
