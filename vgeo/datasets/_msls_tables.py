"""The lists of one folder of MSLS (query or database): which pictures there are, in which sequence, where and when.

Shapes: N pictures.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.streams import read_text

LISTING, POSITIONS, PICTURES = "seq_info.csv", "raw.csv", "images"
_LARGEST_FRAME = 2**31  # beyond it a frame number is no number of a frame (NaN is not below it either)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Pictures that are on disk and in the lists, no panorama among them, in the order of the list."""

    rows: int  # in the list
    left_out: Counter[str]
    key: NDArray[np.object_]  # [N]
    sequence: NDArray[np.object_]  # [N] key of its sequence
    frame: NDArray[np.int64]  # [N] number in its sequence
    latlon_deg: NDArray[np.float64]  # [N, 2], NaN where unknown
    captured_ms: NDArray[np.float64]  # [N] since 1970, NaN where unknown


def read_pictures(folder: Path, placed: bool) -> Pictures:
    """Read a folder's lists and the names of its pictures; no picture is looked at one by one.

    placed: positions must be there, in raw.csv; else they are read where they are. postprocessed.csv adds nothing
    that is needed. A key that comes twice counts once. Raises InputError, FormatError.
    """
    left_out: Counter[str] = Counter()
    listed, rows = _columns(folder / LISTING, ("key", "sequence_key", "frame_number"), left_out)
    keys = listed["key"]
    at = _first_rows(keys)
    keep = np.zeros(len(keys), bool)
    keep[list(at.values())] = True
    left_out["listed twice"] += len(keys) - len(at)
    _drop(keep, ~np.isin(np.array(keys, str), _pictures_in(folder / PICTURES)), "without a picture on disk", left_out)
    frame = _numbers(listed["frame_number"])
    _drop(keep, ~(np.abs(frame) < _LARGEST_FRAME), "without a frame number", left_out)
    latlon_deg, captured_ms, panorama, known = _positions(folder / POSITIONS, keys, placed, left_out)
    _drop(keep, ~known, f"without a row in {POSITIONS}", left_out)
    _drop(keep, panorama, "panoramas", left_out)
    return Pictures(
        rows=rows,
        left_out=left_out,
        key=np.array(keys, object)[keep],
        sequence=np.array(listed["sequence_key"], object)[keep],
        frame=frame[keep].astype(np.int64),
        latlon_deg=latlon_deg[keep],
        captured_ms=captured_ms[keep],
    )


def _positions(path: Path, keys: Sequence[str], needed: bool, left_out: Counter[str]) -> tuple[NDArray[Any], ...]:
    """For each key: position, capture time, whether a panorama, and whether there is a row of it at all."""
    latlon_deg, captured_ms = np.full((len(keys), 2), np.nan), np.full(len(keys), np.nan)
    if not needed and not path.exists():
        return latlon_deg, captured_ms, np.zeros(len(keys), bool), np.ones(len(keys), bool)
    raw, _ = _columns(path, ("key", "lon", "lat", "pano"), left_out)
    at = _first_rows(raw["key"])
    row = np.array([at.get(key, -1) for key in keys], np.int64)
    known = row >= 0
    places = np.stack([_numbers(raw["lat"]), _numbers(raw["lon"])], axis=-1)
    bad = ~((np.abs(places[:, 0]) <= 90) & (np.abs(places[:, 1]) <= 180))
    places[bad] = np.nan
    latlon_deg[known] = places[row[known]]
    if "captured_at" in raw:
        captured_ms[known] = _numbers(raw["captured_at"])[row[known]]
    pano = np.array([cell.strip().lower() in ("true", "1", "1.0") for cell in raw["pano"]], bool)
    panorama = np.zeros(len(keys), bool)
    panorama[known] = pano[row[known]]
    return latlon_deg, captured_ms, panorama, known


def _columns(path: Path, wanted: Sequence[str], left_out: Counter[str]) -> tuple[dict[str, list[str]], int]:
    """The columns of a table by name, and its number of rows; rows of another length are left out."""
    rows = csv.reader(io.StringIO(read_text(path)))
    try:
        header = next(rows, [])
        missing = [name for name in wanted if name not in header]
        if missing:
            raise FormatError(f"{path}: no column {', '.join(missing)}; it has {', '.join(header[:8]) or 'none'}")
        table = [row for row in rows if row]
    except csv.Error as error:
        raise FormatError(f"{path}: not a table ({error})") from error
    whole = [row for row in table if len(row) == len(header)]
    if len(whole) < len(table):
        left_out[f"with a damaged row in {path.name}"] += len(table) - len(whole)
    columns = list(zip(*whole, strict=True)) or [()] * len(header)
    return {name: list(column) for name, column in zip(header, columns, strict=True)}, len(table)


def _first_rows(keys: Sequence[str]) -> dict[str, int]:
    """Row of each key, the first where there are two."""
    return dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))


def _numbers(cells: Sequence[str]) -> NDArray[np.float64]:
    """Cells as numbers, NaN where they are none."""
    try:
        return np.array(cells, np.float64)
    except ValueError:
        return np.array([_number(cell) for cell in cells], np.float64)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _pictures_in(folder: Path) -> NDArray[np.str_]:
    """Keys of the pictures in a folder: one listing instead of a look at each."""
    try:
        return np.array([name[:-4] for name in os.listdir(folder) if name.endswith(".jpg")], str)
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no such folder; unpack the pictures of the data set there") from error
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def _drop(keep: NDArray[np.bool_], which: NDArray[np.bool_], reason: str, left_out: Counter[str]) -> None:
    """Unmark rows that are still kept, and count them under a reason."""
    number = int((keep & which).sum())
    if number:
        left_out[reason] += number
    keep &= ~which
