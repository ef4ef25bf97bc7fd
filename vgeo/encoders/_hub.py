"""Weights from the Hugging Face hub or a local folder, without pickle, without chatter, without long waits."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vgeo.errors import FormatError, InputError, MissingModelError, first_line
from vgeo.logs import wants_bar

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
_MOST_CONFIG_BYTES = 2**20
_SMALL = 2**24  # numbers that a model may have whatever its weights
FILES = ["config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]
OLD_FILES = ["config.json", "pytorch_model.bin"]
WITHOUT_WEIGHTS = "\n  or without a download: --encoder gist, which needs no weights"


def missing_model(encoder: str, repository: str, reason: str, bring: str = "") -> MissingModelError:
    """The error of weights that are not here: what to download, how to bring it, what works without."""
    bring = bring or f"hf download {repository} config.json model.safetensors --local-dir FOLDER"
    return MissingModelError(
        f"{encoder}: its weights {repository} are not on this machine, and {reason}\n"
        f"  download: run the command again with a network; they are kept in a cache\n"
        f"  or bring them: on another machine '{bring}', copy, then --weights {encoder}=PATH"
        f"{WITHOUT_WEIGHTS}"
    )


def find_folder(
    encoder: str,
    repository: str,
    weights: str | None,
    offline: bool,
    *,
    old: bool = False,
    more: Sequence[str] = (),
) -> Path:
    """Return the folder with config.json and model.safetensors: the user's own, the cached one or a fresh download.

    A cached folder is used without asking the hub. old: where there is no model.safetensors, pytorch_model.bin will do,
    which `load_transformers` reads as tensors alone. more: files that a download brings along, where there are any.
    Raises InputError, FormatError or MissingModelError.
    """
    if weights is not None:
        folder = Path(weights)
        if not folder.is_dir():
            raise InputError(f"--weights {weights}: no such folder; {encoder} needs one with config.json")
        if not _is_complete(folder, old):
            raise FormatError(f"--weights {weights}: has no config.json and model.safetensors; see save_pretrained")
        return folder
    from huggingface_hub import snapshot_download

    bring = f"hf download {repository} --local-dir FOLDER" if old else ""
    with quiet():
        try:
            cached = Path(snapshot_download(repository, allow_patterns=FILES, local_files_only=True))
        except (OSError, ValueError) as error:  # the latter for a name that is none
            log.debug("%s is not cached: %s", repository, error)
        else:
            if _is_complete(cached, old):
                return cached
        require_network(encoder, repository, offline, bring)
        log.info("downloading %s from the hub (once)", repository)
        try:
            folder = Path(snapshot_download(repository, allow_patterns=[*FILES, *more], etag_timeout=TIMEOUT_S))
            if old and not _is_complete(folder):
                folder = Path(snapshot_download(repository, allow_patterns=OLD_FILES, etag_timeout=TIMEOUT_S))
        except _network_errors() as error:
            reason = f"the hub does not give them ({first_line(error)})"
            raise missing_model(encoder, repository, reason, bring) from error
    if not _is_complete(folder, old):
        reason = "the hub has no config.json and model.safetensors under that name"
        raise missing_model(encoder, repository, reason, bring)
    return folder


def find_file(encoder: str, repository: str, names: Iterable[str], offline: bool) -> Path:
    """Return the first of `names` that a repository of the hub has, cached or downloaded. Raises MissingModelError."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    names = list(names)
    with quiet():
        for name in names:
            try:
                return Path(hf_hub_download(repository, name, local_files_only=True))
            except (OSError, ValueError) as error:
                log.debug("%s/%s is not cached: %s", repository, name, error)
        require_network(encoder, repository, offline, bring=f"hf download {repository} {names[0]}")
        for name in names:
            try:
                return Path(hf_hub_download(repository, name, etag_timeout=TIMEOUT_S))
            except LocalEntryNotFoundError as error:
                raise missing_model(encoder, repository, "the hub cannot be reached") from error
            except EntryNotFoundError:
                continue
            except _network_errors() as error:
                raise missing_model(encoder, repository, f"the hub refuses ({first_line(error)})") from error
    raise missing_model(encoder, repository, f"the hub has none of {', '.join(names)}")


def require_network(encoder: str, repository: str, offline: bool, bring: str = "") -> None:
    """Ask the hub once, briefly: its library tries six times, which takes 23 s where there is no network."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if offline or constants.HF_HUB_OFFLINE:
        raise missing_model(encoder, repository, "--offline forbids to download them", bring)
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT_S)
    except _network_errors() as error:
        reason = f"{constants.ENDPOINT} cannot be reached ({first_line(error)})"
        raise missing_model(encoder, repository, reason, bring) from error


def _network_errors() -> tuple[type[Exception], ...]:
    """What the hub's library lets through, its own errors among them: OSError and ValueError are their bases."""
    import httpx

    return OSError, ValueError, RuntimeError, httpx.HTTPError, httpx.InvalidURL


def load_transformers(
    model_class: Any,
    folder: Path,
    read_config: Callable[[Path], Any] | None = None,
    *,
    renamed: Mapping[str, str] | None = None,
    zeros: str | None = None,
) -> nn.Module:
    """Load a transformers model in float32, strictly: a tensor that the folder lacks is an error, not a random one.

    read_config: gives the configuration where it is not simply the folder's. renamed: names in the folder, as regular
    expressions, and the model's. zeros: how the names of tensors end that are zero where the folder lacks them.
    Raises FormatError.
    """
    if (folder / "config.json").is_file():
        _check_config(folder)
    with quiet():
        try:
            model, report = model_class.from_pretrained(
                folder,
                config=read_config(folder) if read_config else None,
                dtype=torch.float32,
                use_safetensors=_is_complete(folder),
                weights_only=True,
                local_files_only=True,
                output_loading_info=True,
                **({"key_mapping": dict(renamed)} if renamed else {}),
            )
        except Exception as error:  # transformers raises whatever the damage leads to
            raise FormatError(f"{folder}: not loadable as {model_class.__name__} ({first_line(error)})") from error
    absent = sorted(report["missing_keys"])
    lacking = [name for name in absent if not (zeros and name.endswith(zeros))]
    lacking += sorted(map(str, report.get("mismatched_keys", ())))
    if lacking:
        raise FormatError(
            f"{folder}: lacks {len(lacking)} tensors of {model_class.__name__} such as {lacking[0]}; "
            f"are these weights of another family?"
        )
    model.requires_grad_(False).eval()
    for name in absent:
        model.get_parameter(name).zero_()
    loaded: nn.Module = model
    return loaded


def _check_config(folder: Path) -> None:
    """Raise FormatError for the config.json of a model far larger than its weights, built before they are read."""
    weights = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))
    try:
        if (folder / "config.json").stat().st_size > _MOST_CONFIG_BYTES:
            raise FormatError(f"{folder}: its config.json is too large to be one")
        waiting = [json.loads((folder / "config.json").read_bytes())]
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{folder}: its config.json is not JSON ({first_line(error)})") from error
    while waiting:
        said = waiting.pop()
        if not isinstance(said, dict):
            continue
        waiting += said.values()  # a model of two halves says both
        sizes = [said.get(name) or 1 for name in ("num_hidden_layers", "hidden_size", "intermediate_size")]
        if not all(isinstance(size, int) and size > 0 for size in sizes) or math.prod(sizes) > weights + _SMALL:
            layers, width, inner = (str(size)[:20] for size in sizes)
            raise FormatError(
                f"{folder}: config.json describes {layers} layers of {width} x {inner}, which its weights do not hold"
            )


def weights_hash(model: nn.Module, without: str | None = None) -> str:
    """Digest of all tensors: 16 hex digits.

    Independent of names, order and file format, so that a copy on disk, a hub download and the two layouts of
    checkpoints (whole CLIP or its vision half alone) agree. About a second for ViT-L.
    without: how the names of tensors end that do not count.
    """
    tensors = [value for name, value in model.state_dict().items() if not (without and name.endswith(without))]
    with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter's lock
        digests = pool.map(_tensor_digest, tensors)
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' own messages off the screen, except with -v; a download shows its bar on a terminal."""
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as chatter

    names = ("huggingface_hub", "httpx", "open_clip", "root")
    levels = {name: logging.getLogger(name).level for name in names}
    before = chatter.get_verbosity()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    if not wants_bar():
        disable_progress_bars()
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        chatter.set_verbosity(before)
        chatter.enable_progress_bar()
        enable_progress_bars()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _tensor_digest(tensor: Tensor) -> bytes:
    array = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{array.dtype} {tuple(array.shape)}".encode())
    digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def _is_complete(folder: Path, old: bool = False) -> bool:
    weights = ["model.safetensors", "model.safetensors.index.json", *(["pytorch_model.bin"] if old else [])]
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in weights)
