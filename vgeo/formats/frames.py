"""frames.jsonl: one JSON line for every extracted frame, with its picture's path relative to the file."""

import os
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from vgeo.errors import FormatError
from vgeo.formats.streams import dump_json, parse_json, read_lines
from vgeo.geo.sphere import DECIMALS
from vgeo.records import FrameRecord, check_latlon, parse_utc

_MOST_S = 1e9  # of a video's time, 31 years: what is later is no time since its start
_FIELDS = tuple(field.name for field in fields(FrameRecord))


def read_frames(path: str | os.PathLike[str]) -> list[FrameRecord]:
    """Read frames.jsonl, or the frames.jsonl of a folder; `-` is stdin. Fields that vgeo does not know are ignored.

    Frames of a video share its name and labels: a data set has millions. Raises InputError, and FormatError naming the
    line.
    """
    file = Path(path) / "frames.jsonl" if Path(path).is_dir() else path
    records: list[FrameRecord] = []
    for number, line in enumerate(read_lines(file), start=1):
        if line.strip():
            record = _record(parse_json(line, f"{file} line {number}"), f"{file} line {number}")
            before = records[-1] if records else record
            if (record.video_id, record.labels) == (before.video_id, before.labels):
                record = replace(record, video_id=before.video_id, labels=before.labels)
            records.append(record)
    return records


def format_frame(record: FrameRecord) -> str:
    """One line of frames.jsonl; what is unknown is left out."""
    values = {name: value for name in _FIELDS if (value := getattr(record, name)) is not None and value != {}}
    values["time_s"] = round(record.time_s, 6)
    for name in ("lat_deg", "lon_deg"):
        if name in values:
            values[name] = round(values[name], DECIMALS)
    return dump_json(values)


def format_frames(records: Iterable[FrameRecord]) -> str:
    """Lines of frames.jsonl."""
    return "".join(format_frame(record) for record in records)


def _record(value: Any, where: str) -> FrameRecord:
    if not isinstance(value, dict):
        raise FormatError(f"{where}: not a JSON object")
    known = {name: value[name] for name in _FIELDS if name in value}
    try:
        record = FrameRecord(
            **known
            | {
                "video_id": _text(known["video_id"]),
                "frame_index": int(known["frame_index"]),
                "time_s": _seconds(known["time_s"]),
                "path": _inside(known["path"]),
                "labels": {_text(str(k)): _text(str(v)) for k, v in (known.get("labels") or {}).items()},
            }
        )
        _check(record, where)
    except KeyError as error:
        raise FormatError(f"{where}: no {error.args[0]} in it; is it a frames.jsonl?") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FormatError(f"{where}: {error}") from error
    return record


def _check(record: FrameRecord, where: str) -> None:
    if (record.lat_deg is None) != (record.lon_deg is None):
        raise ValueError("only one of lat_deg and lon_deg is given")
    if record.lat_deg is not None and record.lon_deg is not None:
        check_latlon(np.array([record.lat_deg, record.lon_deg], np.float64), where)
    if record.timestamp_utc is not None:
        parse_utc(_text(record.timestamp_utc))


def _seconds(value: Any) -> float:
    time_s = float("nan" if value is None else value)
    if not np.isfinite(time_s):
        raise ValueError("time_s is not finite")
    if abs(time_s) > _MOST_S:
        raise ValueError(f"time_s is {time_s:g}, not seconds from the start of its video; make it so")
    return time_s


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    # Halves of letters and NUL, which JSON can hold and a file, or HDF5, cannot.
    return value.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _inside(path: Any) -> str:
    """A frame lies beside its frames.jsonl or below: a file from a stranger must not name others."""
    if not isinstance(path, str) or not path:
        raise ValueError(f"path {path!r} is no name of a file")
    if os.path.isabs(path) or ".." in Path(path).parts or "\0" in path:
        raise ValueError(f"path {path!r} leaves the folder")
    return path
