"""Tensors of a local .safetensors or .pth file, by name, without pickle's powers."""

import pickle
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from vgeo.errors import FormatError, InputError, first_line

_DAMAGE = (
    *(SafetensorError, RuntimeError, OSError, ValueError, EOFError, KeyError, IndexError),
    *(TypeError, AssertionError, struct.error),  # met by changing bytes of files at random
)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, alone or as `state_dict` of a training script's checkpoint. Raises InputError, FormatError."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{path}: no such file; it is to hold the weights, as .safetensors or .pth")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except _DAMAGE as error:
        raise FormatError(f"{path}: not a .safetensors or .pth state dict ({first_line(error)})") from error
    except pickle.UnpicklingError as error:
        if "global" not in str(error).lower():  # such as a web page that was saved under the name
            raise FormatError(f"{path}: not a .safetensors or .pth state dict (nothing that PyTorch saved)") from error
        raise FormatError(f"{path}: holds more than tensors, which vgeo does not load; convert it first") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise FormatError(f"{path}: not a plain state dict of tensors")
    consume_prefix_in_state_dict_if_present(state, "module.")  # what DataParallel puts before every name
    return state
