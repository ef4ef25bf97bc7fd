"""scenes.csv: the scene of each clip as shares of its frames over the 16 groups of Places365, which sum to 1.

The groups are the second level of Places365's hierarchy (Zhou et al., TPAMI 2018), in its order.
"""

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.shards import COLUMN
from vgeo.formats.streams import read_text, write_output
from vgeo.formats.tables import guarded, plain_name, unguarded

FILE = "scenes.csv"  # its usual name
INDOOR = (
    "indoor_shopping_dining",
    "indoor_workplace",
    "indoor_home_hotel",
    "indoor_transport",
    "indoor_sports_leisure",
    "indoor_cultural",
)
NATURAL = ("natural_water_ice_snow", "natural_mountain_desert_sky", "natural_forest_field", "natural_man_made")
BUILT = (
    "built_transport",
    "built_cultural_historical",
    "built_sports_park",
    "built_industrial",
    "built_houses_farms",
    "built_commercial_town",
)
GROUPS: tuple[str, ...] = (*INDOOR, *NATURAL, *BUILT)
# Level 1 of the hierarchy, in its order, and the groups of each.
AREAS = {"indoor": INDOOR, "outdoor, natural": NATURAL, "outdoor, man-made": BUILT}

_SLACK = 1e-3  # of the sum, for shares that somebody rounded
_DECIMALS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScenes:
    """The scenes of one clip."""

    video_id: str
    frames: int  # that were looked at
    shares: NDArray[np.float64]  # [16], in the order of GROUPS; sum to 1


def write_scenes(
    path: str | os.PathLike[str], clips: Iterable[ClipScenes], marks: Mapping[str, str] | None = None
) -> None:
    """Write a table, to stdout for `-`. marks: of a divided run, by clip, see `shards`.

    Raises OutputError, DiskError.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("video_id", "frames", *GROUPS, *([COLUMN] if marks else [])))
    for clip in clips:
        shares = (f"{round(share, _DECIMALS):.{_DECIMALS}g}" for share in clip.shares.tolist())
        mark = [marks[clip.video_id]] if marks else []
        rows.writerow((guarded(clip.video_id), clip.frames, *shares, *mark))
    write_output(path, text.getvalue())


def read_scenes(path: str | os.PathLike[str]) -> dict[str, NDArray[np.float32]]:
    """Read the shares [16] of each clip, in the order of GROUPS; `-` is stdin. Columns may stand in any order.

    Raises InputError where there is no such file or no clip in it, FormatError naming the line.
    """
    text, where = read_text(path), str(path)
    delimiter = max(",;\t|", key=text.split("\n", 1)[0].count)
    found: dict[str, NDArray[np.float32]] = {}
    try:
        rows = csv.reader(io.StringIO(text), delimiter=delimiter)
        columns = _columns([plain_name(name) for name in next(rows, [])], where)
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            here = f"{where} line {rows.line_num}"
            if len(cells) <= max(columns):
                raise FormatError(f"{here}: has {len(cells)} cells, fewer than the first line names columns")
            video_id, *shares = (cells[column] for column in columns)
            video_id = unguarded(video_id)
            if not video_id or video_id in found:
                raise FormatError(f"{here}: names {f'clip {video_id} again' if video_id else 'no clip in video_id'}")
            found[video_id] = parse_shares([cell.replace(",", ".") for cell in shares], here)
    except csv.Error as error:
        raise FormatError(f"{where}: not a table ({error})") from error
    if not found:
        raise InputError(f"{where}: names no clips, only a header; make it with 'vgeo label-scenes'")
    return found


def _columns(header: list[str], where: str) -> list[int]:
    """Where video_id and the 16 shares stand."""
    wanted = ("video_id", *GROUPS)
    absent = [name for name in wanted if name not in header]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise FormatError(f"{where}: the first line names no column {absent[0]}{more}; see 'vgeo label-scenes'")
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise FormatError(f"{where}: the first line names column {twice[0]} twice")
    return [header.index(name) for name in wanted]


def parse_shares(cells: Sequence[str], here: str) -> NDArray[np.float32]:
    """The shares [16] in these cells, in the order of GROUPS; `here` is their line. Raises FormatError."""
    shares = np.array([_share(cell, name, here) for cell, name in zip(cells, GROUPS, strict=True)])
    total = float(shares.sum())
    if abs(total - 1) > _SLACK:
        raise FormatError(f"{here}: its shares sum to {total:.4g}, not to 1")
    return shares.astype(np.float32)


def _share(cell: str, group: str, here: str) -> float:
    try:
        share = float(cell)
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        raise FormatError(f"{here}: {group} is {cell.strip()[:20] or 'empty'}, not a number")
    if share < 0:
        raise FormatError(f"{here}: {group} is {cell.strip()[:20]}, which no share can be")
    return share
