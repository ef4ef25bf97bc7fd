"""Which row of a table speaks of which clip, and clips with the labels that a table gives them."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from vgeo.errors import InputError
from vgeo.formats.place_labels import labels_by_clip
from vgeo.records import LEVELS

if TYPE_CHECKING:
    from vgeo.video.clips import Clip

log = logging.getLogger(__name__)


def label_clips(clips: Sequence["Clip"], table: str | os.PathLike[str]) -> list["Clip"]:
    """The clips with city, state, country, continent and split as a table names them, over what they carry themselves.

    Clips that the table does not name stay as they are, and are counted. Raises InputError where it names none,
    FormatError.
    """
    said = _said([clip.video_id for clip in clips], table)
    return [clip if labels is None else replace(clip, labels=labels) for clip, labels in zip(clips, said, strict=True)]


def label_columns(
    ids: Sequence[str], labels: Mapping[str, Sequence[str]], table: str | os.PathLike[str]
) -> dict[str, list[str]]:
    """Columns of labels [V], as files of V clips have them, with what a table says of the clips over them.

    As `label_clips`; where the table names a city, no other's state, country or continent stays.
    """
    said = [{} if row is None else row for row in _said(ids, table)]
    columns = {name: list(labels.get(name, [""] * len(ids))) for name in (*labels, *(n for row in said for n in row))}
    for number, row in enumerate(said):
        empty = dict.fromkeys(columns.keys() & LEVELS, "") if "city" in row else {}
        for name, text in (empty | row).items():
            columns[name][number] = text
    return columns


def _said(ids: Sequence[str], table: str | os.PathLike[str]) -> list[dict[str, str] | None]:
    """What a table says of each clip; None where it says nothing, which is counted."""
    rows = labels_by_clip(table)
    row_of = dict(join_ids(ids, list(rows)))
    missing = [video for video in ids if video not in row_of]
    if ids and not row_of:
        raise InputError(f"{table}: names none of the clips ({missing[0]} first), but {next(iter(rows))} first")
    if missing:
        log.warning("%s: does not name %d of %d clips, %s first", table, len(missing), len(ids), missing[0])
    return [rows[row_of[video]] if video in row_of else None for video in ids]


def join_ids(said: Sequence[str], true: Sequence[str]) -> list[tuple[str, str]]:
    """Pair ids of clips: equal ones, else those that alone share a file name, with as many folders as both have.

    a/b/c.mp4 is b/c, and c, and a_b_c, which is what clips of equal file names are called.
    """
    exact = set(said) & set(true)
    pairs = {name: name for name in said if name in exact}
    taken = set(exact)
    rest = {
        "said": [name for name in said if name not in exact],
        "true": [name for name in true if name not in exact],
    }
    by_tail = {side: _by_tail(names) for side, names in rest.items()}
    for name in rest["said"]:
        for tail in _tails(name):
            other = by_tail["true"].get(tail)
            if other is not None and by_tail["said"].get(tail) == name and other not in taken:
                pairs[name] = other
                taken.add(other)
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
