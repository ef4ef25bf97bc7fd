"""Which city, state, country and continent clips are in, from what says so: tables, feature files, frames.jsonl.

In a table, columns are found by name, in any case and order; each row is a clip (or just a city). Where a file says
nothing of a level, it is "".
"""

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vgeo.errors import FormatError, InputError
from vgeo.formats.fixes import number
from vgeo.formats.streams import is_stdio, read_text
from vgeo.formats.tables import LAT, LON, VIDEO, pick, plain_name, unguarded
from vgeo.records import PlaceLabels, check_latlon

PATH = ("path", "file", "file_name", "filename", "image", "source")
_COLUMNS = {
    "city": ("city", "city_name"),
    "state": ("state", "state_province", "province", "admin_name", "admin1"),
    "country": ("country", "country_name"),
    "continent": ("continent", "continent_name"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledClip:
    """What one row, or one clip of a feature file, says."""

    video_id: str  # the path where the row names no id; "" where neither
    labels: PlaceLabels
    split: str = ""  # train, val or what a data set calls it
    latlon_deg: tuple[float, float] | None = None  # of the city, where a table gives it


def read_place_labels(path: str | os.PathLike[str]) -> list[LabelledClip]:
    """Read the labels of every clip that has a city; `-` is a table on stdin.

    Raises InputError where there is no such file or no clip with a city, FormatError.
    """
    rows = _read(path)
    found = [row for row in rows if row.labels.city]
    if not found:
        raise InputError(f"{path}: none of its {len(rows)} clips says in which city it is (label or column 'city')")
    return found


def labels_by_clip(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Labels that are not empty, by clip, as feature files name them: the four levels, and split.

    Raises InputError, and FormatError for rows that name no clip or say different things of one.
    """
    clips: dict[str, dict[str, str]] = {}
    for row in _read(path):
        if not row.video_id:
            raise FormatError(f"{path}: a row of {row.labels.city or 'no city'} names no clip in video_id or path")
        names = {**dict(zip(_COLUMNS, row.labels.from_level(0), strict=True)), "split": row.split}
        said = {name: text for name, text in names.items() if text}
        if clips.setdefault(row.video_id, said) != said:
            raise FormatError(f"{path}: says different things of clip {row.video_id}; name each clip once")
    if not clips:
        raise InputError(f"{path}: names no clips, only a header")
    return clips


def _read(path: str | os.PathLike[str]) -> list[LabelledClip]:
    suffix = "" if is_stdio(path) else Path(path).suffix.lower()
    if suffix in (".h5", ".hdf5"):
        return _of_features(path)
    if not is_stdio(path) and (Path(path).is_dir() or suffix in (".jsonl", ".ndjson")):
        return _of_frames(path)
    return _of_table(read_text(path), str(path))


def _of_features(path: str | os.PathLike[str]) -> list[LabelledClip]:
    from vgeo.formats.features import FeatureFile

    file = FeatureFile.open(path)
    columns = {name: file.labels[name] for name in _COLUMNS if name in file.labels}
    return [
        LabelledClip(video_id=video, labels=PlaceLabels(**{name: values[v] for name, values in columns.items()}))
        for v, video in enumerate(file.video_ids)
    ]


def _of_frames(path: str | os.PathLike[str]) -> list[LabelledClip]:
    """One for each clip: its first frame speaks for all."""
    from vgeo.formats.frames import read_frames

    if Path(path).is_dir() and not (Path(path) / "frames.jsonl").is_file():
        raise InputError(f"{path}: a folder without frames.jsonl; make it with 'vgeo extract-frames'")
    clips: dict[str, Mapping[str, str]] = {}
    for frame in read_frames(path):
        clips.setdefault(frame.video_id, frame.labels)
    return [
        LabelledClip(video_id=video, labels=PlaceLabels(**{name: said.get(name, "") for name in _COLUMNS}))
        for video, said in clips.items()
    ]


def _of_table(text: str, where: str) -> list[LabelledClip]:
    delimiter = max(",;\t|", key=text.split("\n", 1)[0].count)
    try:
        lines = csv.reader(io.StringIO(text), delimiter=delimiter)
        header = [plain_name(name) for name in next(lines, [])]
        if not set(_COLUMNS["city"]) & set(header):
            raise FormatError(f"{where}: the first line names no column city, but {', '.join(header[:8]) or '-'}")
        return [
            _row(dict(zip(header, cells, strict=False)), f"{where}:{lines.line_num}", delimiter != ",")
            for cells in lines
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise FormatError(f"{where}: not a table ({error})") from error


def _row(cells: Mapping[str, str], here: str, decimal_comma: bool) -> LabelledClip:
    lat, lon = (_degrees(pick(cells, columns), here, decimal_comma) for columns in (LAT, LON))
    if (lat is None) != (lon is None):
        raise FormatError(f"{here}: only one of lat and lon is given")
    at = None if lat is None or lon is None else (lat, lon)
    if at is not None:
        check_latlon(np.array(at, np.float64), here)
    split = unguarded(str(pick(cells, ("split",)) or "")).strip()
    return LabelledClip(video_id=video_of(cells), labels=labels_of(cells), split=split, latlon_deg=at)


def labels_of(cells: Mapping[str, str]) -> PlaceLabels:
    """The names in a table's row, by plain column names."""
    names = {level: unguarded(str(pick(cells, columns) or "")).strip() for level, columns in _COLUMNS.items()}
    return PlaceLabels(**names)


def video_of(cells: Mapping[str, str]) -> str:
    """The id, else the path, that a table's row is about; "" where it names none."""
    return unguarded(str(pick(cells, (*VIDEO, *PATH)) or ""))


def _degrees(cell: str | None, here: str, decimal_comma: bool) -> float | None:
    if cell is None or not cell.strip():
        return None
    return number(cell.replace(",", ".") if decimal_comma else cell, here)
