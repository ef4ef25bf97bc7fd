"""Keys of a gallery: a model's embeddings of the candidate places, made once and kept.

They are looked for in the gallery itself, then in the user's cache (`$XDG_CACHE_HOME` or `~/.cache`, in `vgeo/keys`),
under the digest of the gallery and the hash of the model; else they are made, and cached where that can be written.
Those of pictures, which take long, are kept part by part while they are made: what was killed goes on from there.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.device import Compute
from vgeo.errors import FormatError, VgeoError
from vgeo.formats.gallery import Gallery
from vgeo.formats.picture_place import PICTURED
from vgeo.formats.streams import atomic_write
from vgeo.logs import SILENT, Progress
from vgeo.methods._gallery import embed_rows
from vgeo.stages.key_parts import PART_ROWS, KeyParts, cut, parts_of, rows_of
from vgeo.stages.models import Model

log = logging.getLogger(__name__)

_CHUNK = 4096
_WORTH_CACHING = 20_000  # points; fewer are embedded again in a second or two


def gallery_keys(
    model: Model, gallery: Gallery, compute: Compute, progress: Progress = SILENT, level: int | None = None
) -> Tensor:
    """Return the model's keys of a gallery's rows, [G, E] float32, in memory or mapped; normalised.

    level: of the keys, where the model has several; None: the ordinary ones. Raises FormatError when keys stored in the
    gallery cannot be this model's.
    """
    stored = gallery.keys.get(model.hash) if level is None else None
    if stored is not None:
        return _checked(_tensor(stored))
    pictures = model.method.gallery_kind in PICTURED and level is None
    if model.method.gallery_kind == "features" or (len(gallery) < _WORTH_CACHING and not pictures):
        return embed_gallery(model, gallery, compute, progress, level)
    of_level = "" if level is None else f"-level{level}"
    cached = cache_folder() / "keys" / f"{gallery.digest}-{model.hash}{of_level}.npy"
    found, parts = _read_cache(cached, len(gallery)), KeyParts(cached.with_suffix(".parts"))
    if found is not None:
        parts.remove()  # of a run that was killed when it had them all
        log.debug("keys of the gallery from %s", cached)
        return found
    log.info("embedding the gallery's %d %s, once for this model", len(gallery),
             model.method.gallery_kind if pictures else "places")  # fmt: skip
    if not pictures:
        keys = embed_gallery(model, gallery, compute, progress, level)
        _write_cache(cached, keys)
        return keys
    keys = _embed_in_parts(model, gallery, compute, progress, parts)
    _write_cache(cached, keys)
    parts.remove()
    return keys


@torch.no_grad()
def embed_gallery(
    model: Model, gallery: Gallery, compute: Compute, progress: Progress = SILENT, level: int | None = None
) -> Tensor:
    """Embed all rows of a gallery: [G, E] float32, normalised, on the CPU; `compute` says on which device."""
    progress.start("gallery", len(gallery), "places")
    model.method.to(compute.device)
    parts = []
    for keys in embed_rows(model.retriever, gallery, compute.device, _CHUNK, level):
        parts.append(keys.cpu())
        progress.advance(len(keys))
    return torch.cat(parts)


@torch.no_grad()
def _embed_in_parts(model: Model, gallery: Gallery, compute: Compute, progress: Progress, parts: KeyParts) -> Tensor:
    """Embed what is not among the parts, which are filled on the way: [G, E] float32 on the CPU."""
    progress.start("gallery", len(gallery), model.method.gallery_kind)
    model.method.to(compute.device)
    done = parts.read(len(gallery))
    missing = [number for number in range(parts_of(len(gallery))) if number not in done]
    left = [row for number in missing for row in range(number * PART_ROWS, min(len(gallery), (number + 1) * PART_ROWS))]
    if done:
        log.info("%d of the %d keys were made before; going on", len(gallery) - len(left), len(gallery))
        progress.advance(len(gallery) - len(left))

    def batches() -> Iterator[Tensor]:
        for keys in embed_rows(model.retriever, gallery, compute.device, _CHUNK, of=left):
            progress.advance(len(keys))
            yield keys.cpu()

    sizes = [rows_of(number, len(gallery)) for number in missing]
    for number, keys in zip(missing, cut(batches(), sizes), strict=True):
        done[number] = keys
        parts.write(number, keys)
    return torch.cat([done[number] for number in sorted(done)])


def cache_folder() -> Path:
    """The user's cache of vgeo."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "vgeo"


def _read_cache(path: Path, rows: int) -> Tensor | None:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return _tensor(array) if array.dtype == np.float32 and array.ndim == 2 and len(array) == rows else None


def _write_cache(path: Path, keys: Tensor) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.save(file, keys.numpy(), allow_pickle=False)
    except (OSError, VgeoError) as error:
        log.debug("keys are not cached: %s", error)


def _tensor(array: NDArray[np.float32]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the map is read-only; nobody writes keys
        return torch.from_numpy(np.asarray(array))


def _checked(keys: Tensor) -> Tensor:
    for first in range(0, len(keys), _CHUNK):
        norms = torch.linalg.vector_norm(keys[first : first + _CHUNK].float(), dim=1)
        if not bool(((norms - 1).abs() < 1e-2).all()):
            raise FormatError("the gallery's stored keys are damaged; build it again with 'vgeo build-gallery'")
    return keys
