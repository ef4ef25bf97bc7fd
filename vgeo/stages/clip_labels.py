"""Which row of a table speaks of which clip, and clips with the labels that a table gives them."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from vgeo.errors import InputError
from vgeo.formats.place_labels import labels_by_clip

if TYPE_CHECKING:
    from vgeo.video.clips import Clip

log = logging.getLogger(__name__)


def label_clips(clips: Sequence["Clip"], table: str | os.PathLike[str]) -> list["Clip"]:
    """The clips with city, state, country, continent and split as a table names them, over what they carry themselves.

    Clips that the table does not name stay as they are, and are counted. Raises InputError where it names none,
    FormatError.
    """
    rows = labels_by_clip(table)
    row_of = dict(join_ids([clip.video_id for clip in clips], list(rows)))
    missing = [clip.video_id for clip in clips if clip.video_id not in row_of]
    if clips and not row_of:
        raise InputError(f"{table}: names none of the clips ({missing[0]} first), but {next(iter(rows))} first")
    if missing:
        log.warning("%s: does not name %d of %d clips, %s first", table, len(missing), len(clips), missing[0])
    return [replace(clip, labels=rows[row_of[clip.video_id]]) if clip.video_id in row_of else clip for clip in clips]


def join_ids(said: Sequence[str], true: Sequence[str]) -> list[tuple[str, str]]:
    """Pair ids of clips: equal ones, else those that alone share a file name, with as many folders as both have.

    a/b/c.mp4 is b/c, and c, and a_b_c, which is what clips of equal file names are called.
    """
    exact = set(said) & set(true)
    pairs = {name: name for name in said if name in exact}
    rest = {
        "said": [name for name in said if name not in exact],
        "true": [name for name in true if name not in exact],
    }
    by_tail = {side: _by_tail(names) for side, names in rest.items()}
    for name in rest["said"]:
        for tail in _tails(name):
            other = by_tail["true"].get(tail)
            if other is not None and by_tail["said"].get(tail) == name and other not in pairs.values():
                pairs[name] = other
                break
    return [(name, pairs[name]) for name in said if name in pairs]


def _tails(name: str) -> list[str]:
    """The ends of a path without its suffix, folders joined by underscores, longest first."""
    path = PurePath(name)
    parts = [part for part in (*path.parts[:-1], path.stem) if part not in ("/", "..")]
    return ["_".join(parts[start:]) for start in range(len(parts))]


def _by_tail(names: Sequence[str]) -> dict[str, str | None]:
    """Names by their ends; None where several end alike."""
    found: dict[str, str | None] = {}
    for name in names:
        for tail in _tails(name):
            found[tail] = None if tail in found else name
    return found
