"""Weights of ImageNet and Kinetics-400 that training of GAMa's convolutional encoders starts from."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from vgeo.encoders._hub import WITHOUT_WEIGHTS
from vgeo.encoders._state_file import read_state
from vgeo.encoders.torchvision import download
from vgeo.errors import FormatError, InputError, MissingModelError, SettingError, UsageError
from vgeo.methods._resnets import RELEASED_WIDTH, R3d18, ResNet18
from vgeo.methods.base import Method
from vgeo.stages.backbones import FROM_SCRATCH

log = logging.getLogger(__name__)

CLASSIFIER = "fc."
SHORTCUT = ".downsample."
COUNTER = "num_batches_tracked"  # which older files of torchvision lack


def load_released_resnets(model: Method, name: str, weights: str | None = None, *, offline: bool = False) -> list[str]:
    """Load torchvision's released weights into all ResNets of a method; return the tensors that stay as drawn.

    Those are the shortcuts of encoders with the published stem: the published code names them otherwise than
    torchvision does, and loads without looking. weights: a folder with torchvision's files, resnet18*.pth and
    r3d_18*.pth (.safetensors, too), or the file itself where only one is needed; None: torch's cache, or a download.
    Raises SettingError for another width than theirs, UsageError, InputError, FormatError, MissingModelError.
    """
    encoders = {part: child for part, child in model.named_children() if isinstance(child, ResNet18 | R3d18)}
    needed = {_family(encoder) for encoder in encoders.values()}
    if any(encoder.width != RELEASED_WIDTH for encoder in encoders.values()):
        raise SettingError(
            f"width: the released weights are {RELEASED_WIDTH} wide; leave it out, or train with {FROM_SCRATCH}"
        )
    found = {family: _read(name, family, weights, needed, offline) for family in sorted(needed)}
    left = []
    for part, encoder in encoders.items():
        state, source = found[_family(encoder)]
        drawn = _load(encoder, state, source)
        left += [f"{part}.{tensor}" for tensor in drawn]
        accident = "; its shortcuts stay random, as published" if drawn else ""
        log.info("%s of %s%s", part, source, accident)
    return left


def _family(encoder: ResNet18 | R3d18) -> str:
    return "resnet18" if isinstance(encoder, ResNet18) else "r3d_18"


def _load(encoder: ResNet18 | R3d18, state: dict[str, Tensor], source: str) -> list[str]:
    """Load all but the classifier; return what stays as drawn."""
    own = encoder.state_dict()
    accident = isinstance(encoder, ResNet18) and encoder.stem == "published"
    drawn = [tensor for tensor in own if accident and SHORTCUT in tensor]
    given = {tensor: value for tensor, value in state.items() if not tensor.startswith(CLASSIFIER)}
    wanted = {tensor: value.shape for tensor, value in own.items() if not tensor.endswith(COUNTER)}
    if wanted != {tensor: value.shape for tensor, value in given.items() if not tensor.endswith(COUNTER)}:
        raise FormatError(f"{source}: its tensors are not those of torchvision's {_family(encoder)}")
    encoder.load_state_dict(own | given | {tensor: own[tensor] for tensor in drawn})
    return drawn


def _read(
    name: str, family: str, weights: str | None, needed: set[str], offline: bool
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a network and where they came from."""
    if weights is not None:
        path = _find(Path(weights), family, needed)
        return read_state(path), str(path)
    url = _url(family)
    try:
        return download(f"{name}'s {family}", url, offline), Path(url).name
    except MissingModelError as error:  # with the advice that fits training
        said = str(error).replace(WITHOUT_WEIGHTS, f"\n  or without a download: {FROM_SCRATCH}")
        advice = "--weights FOLDER" + (f" with all of {', '.join(sorted(needed))}" if len(needed) > 1 else "")
        raise MissingModelError(said.replace(f"--weights {name}'s {family}=PATH", advice)) from error


def _find(path: Path, family: str, needed: set[str]) -> Path:
    """The file of a network, in a folder or given itself. Raises InputError, UsageError."""
    if path.is_dir():
        files = sorted(_files(path, family))
        if not files:
            raise InputError(f"--weights {path}: has no {family}*.pth or .safetensors, of torchvision ({_url(family)})")
        if len(files) > 1:
            raise UsageError(f"--weights {path}: has {files[0].name} and {files[1].name}; leave one of them")
        return files[0]
    if len(needed) > 1:
        raise UsageError(f"--weights {path}: name a folder with torchvision's files of {' and '.join(sorted(needed))}")
    return path  # whether there is such a file, its reader says


def _files(folder: Path, family: str) -> Iterator[Path]:
    for suffix in (".pth", ".pt", ".safetensors"):
        yield from folder.glob(f"{family}*{suffix}")


def _url(family: str) -> str:
    from torchvision import models

    kinds: dict[str, Any] = {
        "resnet18": models.ResNet18_Weights.IMAGENET1K_V1,
        "r3d_18": models.video.R3D_18_Weights.KINETICS400_V1,
    }
    url: str = kinds[family].url
    return url
