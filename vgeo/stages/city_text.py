"""The text of a gallery's cities: names through an encoder of text, and what a method aligns clips with.

Shapes: G cities, N distinct names, D width of the encoder.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery
from vgeo.logs import SILENT, Progress
from vgeo.records import LEVELS

if TYPE_CHECKING:
    from vgeo.encoders._text import TextEncoder

log = logging.getLogger(__name__)

Vectors = NDArray[np.float32]
_BATCH = 1024  # names between two signs of progress


def with_text(gallery: Gallery, encoder: "TextEncoder", progress: Progress = SILENT) -> Gallery:
    """The gallery with a vector for every name of its cities, states, countries and continents, normalised.

    Each name goes through the encoder once, however many rows and levels have it. Levels that no row names are left
    out. Raises FormatError where the encoder gives numbers that are not finite.
    """
    columns = {level: gallery.labels[level] for level in LEVELS if level in gallery.labels}
    columns = {level: names for level, names in columns.items() if any(names)}
    distinct = list(dict.fromkeys(name for names in columns.values() for name in names if name))
    vectors = _unit(_encoded(distinct, encoder, progress), distinct)
    row_of = {name: row for row, name in enumerate(distinct)} | {"": len(distinct)}
    table = np.concatenate([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
    log.info("%d names of %s through %s", len(distinct), ", ".join(columns), encoder.spec.name)
    return replace(
        gallery,
        text={level: table[[row_of[name] for name in names]] for level, names in columns.items()},
        text_encoder=encoder.spec if columns else None,
    )


def text_targets(gallery: Gallery, how: Literal["city", "all"]) -> Vectors:
    """What clips of each city are aligned with, [G, D]: its name's vector, or the mean over all levels (Table 3).

    The mean is over the levels that name the city, of normalised vectors; its length says nothing, since Eq. 3 is a
    cosine. Raises InputError where the gallery has no text of its cities, FormatError where that is damaged.
    """
    if "city" not in gallery.text:
        raise InputError(
            "the gallery has no text of its cities; make it with 'vgeo build-gallery cities TABLE --text clip'"
        )
    levels = [np.asarray(gallery.text[level], np.float32) for level in LEVELS if level in gallery.text]
    lengths = np.stack([np.linalg.norm(vectors, axis=1) for vectors in levels])
    named = lengths != 0
    if not (np.abs(lengths - named) < 1e-2).all():
        raise FormatError("the gallery's text is damaged; build it again with 'vgeo build-gallery cities --text'")
    if not named[0].all():
        raise InputError(f"the gallery has no text of {int((~named[0]).sum())} of its cities; name them all")
    if how == "city":
        return levels[0]
    mean: Vectors = (np.sum(levels, axis=0) / named.sum(axis=0)[:, None]).astype(np.float32)
    return mean


def _encoded(names: Sequence[str], encoder: "TextEncoder", progress: Progress) -> Vectors:
    progress.start("text", len(names), "names")
    parts = [np.zeros((0, encoder.spec.dim), np.float32)]
    for first in range(0, len(names), _BATCH):
        parts.append(encoder(names[first : first + _BATCH]).cpu().numpy())
        progress.advance(len(parts[-1]))
    return np.concatenate(parts)


def _unit(vectors: Vectors, names: Sequence[str]) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise FormatError(f"the encoder gives no finite vector for {names[bad[0]]!r}; are its weights damaged?")
    unit: Vectors = vectors / lengths
    return unit
