"""What is true of clips or videos that tiles or regions were ranked for: tables, and GAMa's list of clips.

A table names its columns: clip (or video), tile (or region; may be missing where positions are what counts), lat, lon
(may be missing where ids are). GAMa's list has lines `video second tile`.

Shapes: Q clips or videos.
"""

import csv
import io
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vgeo.errors import FormatError, InputError
from vgeo.formats.fixes import number
from vgeo.formats.gama_lists import clip_id, read_clips
from vgeo.formats.streams import is_stdio, read_text
from vgeo.formats.tables import LAT, LON, VIDEO, pick, plain_name, unguarded
from vgeo.records import Floats, check_latlon

log = logging.getLogger(__name__)

_CLIP = ("clip", "clip_id", "query", *VIDEO)  # a table of clips may name their videos as well
_TRUE = ("tile", "tile_id", "region", "region_id")


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownQueries:
    """Clips or videos, each once, with the id that is right and where they were filmed."""

    names: list[str]  # [Q]
    true: list[str]  # [Q] ids of tiles or regions; "" where the file says none
    latlon_deg: Floats  # [Q, 2]; NaN where the file says none
    lines: int  # of the file, of which several may be of one clip
    grid: bool = False  # ids are of tiles as they are cut from the map, whatever tiles were ranked


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a list of GAMa, or a table with a column tile or region: else it is one of tracks."""
    if is_stdio(path) or Path(path).is_dir():
        return False
    if Path(path).suffix.lower() == ".list":
        return True
    if Path(path).suffix.lower() not in (".csv", ".tsv", ".txt"):
        return False
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return bool(set(_TRUE) & set(_header(file.readline(2**16))[1]))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_known(path: str | os.PathLike[str]) -> KnownQueries:
    """Read a table or GAMa's list of clips. Raises InputError, and FormatError naming the line.

    GAMa's list has 162 clips twice: the last line counts, as in the published evaluation's dictionaries (code).
    """
    if Path(path).suffix.lower() == ".list":
        listed = read_clips(Path(path))
        nowhere = (np.nan, np.nan)
        clips = zip(listed.video, listed.second.tolist(), listed.tile, strict=True)
        rows = ((clip_id(video, second), tile, nowhere) for video, second, tile in clips)
        return replace(_joined(rows, str(path)), grid=True)
    return _joined(_rows(read_text(path), str(path)), str(path))


_Row = tuple[str, str, tuple[float, float]]


def _joined(rows: Iterable[_Row], where: str) -> KnownQueries:
    found: dict[str, _Row] = {}
    lines = differing = 0
    for row in rows:
        lines += 1
        before = found.get(row[0])
        differing += before is not None and before[1] != row[1]
        found[row[0]] = row
    if not found:
        raise InputError(f"{where}: names no clips")
    if differing:
        log.warning("%s: %d lines are of a clip that an earlier one has with another id; the last counts",
                    where, differing)  # fmt: skip
    return KnownQueries(
        names=list(found),
        true=[true for _, true, _ in found.values()],
        latlon_deg=np.array([at for _, _, at in found.values()], np.float64),
        lines=lines,
    )


def _header(line: str) -> tuple[str, list[str]]:
    delimiter = max(",;\t|", key=line.count)
    return delimiter, [plain_name(name) for name in next(csv.reader([line], delimiter=delimiter), [])]


def _rows(text: str, where: str) -> Iterable[_Row]:
    delimiter, header = _header(text.split("\n", 1)[0])
    if not set(_CLIP) & set(header):
        raise FormatError(f"{where}: the first line names no column clip or video, but {', '.join(header[:8]) or '-'}")
    try:
        lines = csv.reader(io.StringIO(text), delimiter=delimiter)
        next(lines, None)
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield _row(dict(zip(header, cells, strict=False)), f"{where}:{lines.line_num}", delimiter != ",")
    except csv.Error as error:
        raise FormatError(f"{where}: not a table ({error})") from error


def _row(cells: Mapping[str, str], here: str, decimal_comma: bool) -> _Row:
    name = unguarded(str(pick(cells, _CLIP) or "")).strip()
    if not name:
        raise FormatError(f"{here}: names no clip")
    lat, lon = (pick(cells, columns) for columns in (LAT, LON))
    if (lat is None) != (lon is None):
        raise FormatError(f"{here}: only one of lat and lon is given")
    at = (np.nan, np.nan)
    if lat is not None and lon is not None:
        lat, lon = (str(cell).replace(",", ".") if decimal_comma else cell for cell in (lat, lon))
        at = number(lat, here), number(lon, here)
        check_latlon(np.array(at, np.float64), here)
    return name, unguarded(str(pick(cells, _TRUE) or "")).strip(), at
