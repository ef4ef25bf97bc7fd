"""Model folders: `model.safetensors`, `config.json`, `README.md`, and beside them what belongs to the model.

A folder under its final name is complete: it is written beside and renamed, or exchanged with the old one in one step.
Nothing is ever unpickled: tensors are safetensors, and `.pth` files of others go through `load_pth` once.
"""

import hashlib
import io
import json
import os
import pickle
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vgeo import __version__
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, OutputError, first_line, writing_failed
from vgeo.formats.streams import dump_json, make_folder, parse_json, read_text
from vgeo.formats.unfinished import SUFFIX, exchange, sync_folder, sync_folders

FORMAT = "vgeo-model"
VERSION = 1
WEIGHTS, CONFIG, CARD, GALLERY = "model.safetensors", "config.json", "README.md", "gallery.h5"
_MAX_CONFIG_BYTES = 2**22
_DAMAGE = (  # what reading a .pth raises, the second line met by changing bytes of files at random
    *(zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError),
    *(IndexError, TypeError, AssertionError, struct.error),
)
_MAX_INFLATION = 1.1  # torch stores tensors uncompressed; a .pth whose members claim much more than its size is a trap


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model folder's content, checked."""

    folder: Path
    method: str
    config: dict[str, Any]  # the method's settings
    encoders: dict[str, EncoderSpec]  # whose features it was trained on
    state: dict[str, Tensor]
    hash: str  # 16 hex digits over method, settings and tensors
    gallery: Path | None  # its own candidates, where it has any
    extra: dict[str, Any]  # how it was trained


def model_hash(method: str, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return sha256 (16 hex digits) over method, settings and tensors: what a model's keys depend on."""
    digest = hashlib.sha256(json.dumps([method, config], sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def save_model(
    folder: str | os.PathLike[str],
    *,
    method: str,
    config: Mapping[str, Any],
    encoders: Mapping[str, EncoderSpec],
    state: Mapping[str, Tensor],
    extra: Mapping[str, Any] | None = None,
    write_more: Callable[[Path], None] | None = None,
) -> str:
    """Write a model folder, replacing an older one in one step; return the model's hash.

    config: settings as JSON types. extra: how it was trained (JSON types).
    write_more: called with the unfinished folder, to put further files (a gallery, a state) into it.
    Raises OutputError, DiskError.
    """
    digest = model_hash(method, config, state)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "method": method,
        "hash": digest,
        "settings": dict(config),
        "encoders": {name: asdict(spec) for name, spec in encoders.items()},
        "made_by": {"vgeo": __version__, "torch": torch.__version__},
        "extra": dict(extra or {}),
    }
    files = {
        WEIGHTS: _to_safetensors(state),
        CONFIG: dump_json(head, indent=2).encode(),
        CARD: _card(head).encode(),
    }
    with atomic_folder(folder, sum(map(len, files.values()))) as unfinished:
        for name, data in files.items():
            _write(unfinished / name, data)
        if write_more is not None:
            write_more(unfinished)
    return digest


def read_model(folder: str | os.PathLike[str]) -> ModelFiles:
    """Read and check a model folder. Raises InputError when it is none, FormatError when it is damaged."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: no model folder (it has no {CONFIG}); make one with 'vgeo train'")
    where = folder / CONFIG
    head = parse_json(read_text(where, _MAX_CONFIG_BYTES), where)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise FormatError(f"{where}: does not describe a vgeo model")
    if head.get("version") != VERSION:
        raise FormatError(f"{where}: model version {head.get('version')}, this vgeo reads {VERSION}")
    for key, kind in (("method", str), ("hash", str), ("settings", dict), ("encoders", dict), ("extra", dict)):
        if not isinstance(head.get(key), kind):
            raise FormatError(f"{where}: {key!r} is missing or of a wrong type; train or copy the model again")
    try:
        encoders = {name: EncoderSpec(**fields) for name, fields in head["encoders"].items()}
    except TypeError as error:
        raise FormatError(f"{where}: what it says of its encoders cannot be read") from error
    state = load_safetensors(folder / WEIGHTS)
    if model_hash(head["method"], head["settings"], state) != head["hash"]:
        raise FormatError(f"{folder}: {WEIGHTS} and {CONFIG} do not belong together or are damaged; copy both again")
    gallery = folder / GALLERY
    return ModelFiles(
        folder=folder,
        method=head["method"],
        config=head["settings"],
        encoders=encoders,
        state=state,
        hash=head["hash"],
        gallery=gallery if gallery.is_file() else None,
        extra=head["extra"],
    )


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises InputError; FormatError for damage, NaN or infinity."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (SafetensorError, ValueError, KeyError, OverflowError, MemoryError, RuntimeError) as error:
        raise FormatError(f"{path}: not a sound safetensors file ({first_line(error)})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from error
    return _checked(tensors, path)


def load_pth(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch file, unpickling nothing but tensors; a lone tensor is named "".

    Raises InputError, FormatError.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_INFLATION * len(data):
                raise FormatError(f"{path}: claims to hold much more than its size; not a file of PyTorch's")
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from error
    except _DAMAGE as error:
        raise FormatError(f"{path}: not a PyTorch file of tensors alone ({first_line(error)})") from error
    named = {"": loaded} if isinstance(loaded, Tensor) else loaded
    if not isinstance(named, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in named.items()):
        raise FormatError(f"{path}: holds something else than named tensors")
    return _checked(named, path)


def _checked(tensors: dict[str, Tensor], path: str | os.PathLike[str]) -> dict[str, Tensor]:
    for name, tensor in tensors.items():
        # Positions that a queue has not filled yet are NaN on purpose; weights never are.
        if tensor.dtype in (torch.float32, torch.float16, torch.bfloat16) and not torch.isfinite(tensor).all():
            raise FormatError(f"{path}: {name or 'the tensor'} holds NaN or infinity")
    return tensors


@contextmanager
def atomic_folder(folder: str | os.PathLike[str], size: int | None = None) -> Iterator[Path]:
    """Yield a folder that takes the name `folder` when the block ends without an error, and vanishes otherwise.

    An existing folder is exchanged with the new one in one step where the system can, and removed afterwards.
    size: bytes of its files, for the message on a full disk.
    """
    target = Path(folder)
    make_folder(target.parent)
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=_prefix(target.name), suffix=SUFFIX, dir=target.parent))
        unfinished.chmod(0o755)
    except OSError as error:
        raise OutputError(f"{target}: cannot be created ({error.strerror})") from error
    try:
        yield unfinished
        sync_folders(unfinished)
        if target.exists():
            exchange(unfinished, target)
        else:
            unfinished.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise writing_failed(target, error, "nothing under that name changed", size) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def is_unfinished(name: str, folder: str) -> bool:
    """Whether a folder of this name is what a killed `atomic_folder` left of `folder`; not so of `folder.v2`."""
    return re.fullmatch(re.escape(_prefix(folder)) + r"[a-z0-9_]{8}" + re.escape(SUFFIX), name) is not None


def _prefix(folder: str) -> str:
    return f".{folder[:80]}."


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _to_safetensors(state: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def _card(head: Mapping[str, Any]) -> str:
    """A short model card; `vgeo train` adds nothing that is not in config.json."""
    encoders = [
        f"- {name}: {spec['dim']} wide, weights {spec['weights']} ({spec['weights_hash']}), {spec['preprocessing']}"
        for name, spec in head["encoders"].items()
    ]
    extra = [f"- {key}: {json.dumps(value)}" for key, value in head["extra"].items()]
    settings = [f"- {key}: {json.dumps(value)}" for key, value in head["settings"].items()]
    return "\n".join(
        [
            f"# vgeo model: {head['method']}",
            "",
            f"Hash {head['hash']}, made by vgeo {head['made_by']['vgeo']} (torch {head['made_by']['torch']}).",
            "It says where frames of video were filmed; it errs, and its confidence is no proof of a place.",
            "",
            "Use: `vgeo localize clip.mp4 --model THIS_FOLDER`",
            "",
            "## Features",
            "",
            *(encoders or ["- whatever the gallery holds"]),
            "",
            "## Settings",
            "",
            *settings,
            *(["", "## Training", "", *extra] if extra else []),
            "",
        ]
    )
