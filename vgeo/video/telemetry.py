"""GPS fixes inside GoPro recordings: the GPMF data stream, one payload about every second.

A payload is nested key-length-values (github.com/gopro/gpmf-parser). Read here: GPS5 (HERO5 to HERO11), GPS9 (HERO11
and later), and the Karma drone's GLPI (position) beside GPRI (its GPS receiver). A payload gives one time for all its
samples; they are spread evenly over its duration.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vgeo.records import Floats
from vgeo.video.container import open_container, read_packets

_NUMBERS = {"b": "b", "B": "B", "s": "h", "S": "H", "l": "i", "L": "I", "f": "f", "d": "d", "j": "q", "J": "Q"}
# GPSF: 0 no lock, 2 two-dimensional, 3 three-dimensional. GPSP is no guide: 9999 comes with good fixes as well.
_MIN_FIX = 2
_MAX_DEPTH = 8
_MAX_PAYLOAD_BYTES = 2**24
_EPOCH_GPS9 = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixes:
    """Positions in time order, times from the clip's first frame."""

    time_s: Floats  # [T]
    latlon_deg: Floats  # [T, 2]
    start_utc: datetime | None = None  # absolute time of the clip's start
    max_gap_s: float = math.inf  # nothing is said of times further than this from a fix


@dataclass(frozen=True, slots=True)
class _Block:
    """Samples [n, 2] of one payload and the absolute time of the first."""

    latlon_deg: Floats
    utc: datetime | None


def read_telemetry(path: Path, first_frame_s: float = 0.0) -> tuple[Fixes | None, str]:
    """Fixes of a recording (None when it carries none) and a remark, "" when there is nothing to say.

    first_frame_s: the container's time of the first frame shown. Samples without a fix are dropped.
    """
    times: list[Floats] = []
    places: list[Floats] = []
    starts: list[datetime] = []
    dropped = 0
    for begin_s, duration_s, payload in _payloads(path):
        block, without_fix = _read_payload(payload)
        dropped += without_fix
        if block is None:
            continue
        n = len(block.latlon_deg)
        known = np.isfinite(block.latlon_deg).all(axis=1)
        sample_s = begin_s - first_frame_s + np.arange(n, dtype=np.float64) * (duration_s / n)
        times.append(sample_s[known])
        places.append(block.latlon_deg[known])
        if block.utc is not None:
            starts.append(block.utc - timedelta(seconds=begin_s - first_frame_s))
    remark = f"{dropped} telemetry samples without a GPS fix dropped" if dropped else ""
    if not times:
        return None, remark
    time_s, latlon_deg = np.concatenate(times), np.concatenate(places)
    order = np.argsort(time_s, kind="stable")
    start = sorted(starts)[len(starts) // 2] if starts else None  # the median: first payloads' clocks are late
    return Fixes(time_s=time_s[order], latlon_deg=latlon_deg[order], start_utc=start), remark


def _payloads(path: Path) -> Iterator[tuple[float, float, bytes]]:
    """Yield (begin_s, duration_s, bytes) of the packets of the first stream that holds GPMF."""
    with open_container(path) as container:
        streams = [stream for stream in container.streams if stream.type == "data"]
        number = next((s.index for s in streams if "MET" in s.metadata.get("handler_name", "")), None)
        if number is None:
            return
        stream: Any = container.streams[number]
        unit: Fraction = stream.time_base or Fraction(1, 1000)
        for packet in read_packets(container, stream):
            data = bytes(packet) if packet.size <= _MAX_PAYLOAD_BYTES else b""
            if data[:4] == b"DEVC" and packet.pts is not None:
                yield float(packet.pts * unit), float((packet.duration or 0) * unit) or 1.0, data


def _read_payload(payload: bytes) -> tuple[_Block | None, int]:
    """The positions of a payload, from the best of its streams, and how many samples had no fix."""
    streams = [dict(items) for items in _streams(payload)]
    for key, read in (("GPS9", _read_gps9), ("GPS5", _read_gps5), ("GLPI", _read_karma), ("GPRI", _read_karma)):
        for stream in streams:
            if key in stream:
                block = read(key, stream, streams)
                lost = 0 if block is None else int((~np.isfinite(block.latlon_deg)).any(axis=1).sum())
                if block is not None and lost < len(block.latlon_deg):
                    return block, lost
                return None, lost
    return None, 0


Values = tuple[str, int, bytes]  # type letter, bytes of one item, all the items


def _items(data: bytes) -> Iterator[tuple[str, Values]]:
    at = 0
    while at + 8 <= len(data):
        key, kind, size, repeat = struct.unpack_from(">4scBH", data, at)
        length = size * repeat
        if at + 8 + length > len(data):
            return
        yield key.decode("latin-1"), (kind.decode("latin-1"), size, data[at + 8 : at + 8 + length])
        at += 8 + (length + 3) // 4 * 4


def _streams(data: bytes, depth: int = 0) -> Iterator[list[tuple[str, Values]]]:
    """Yield the items of every STRM, wherever it is nested."""
    for key, (kind, _, content) in _items(data):
        if kind == "\0" and depth < _MAX_DEPTH:
            if key == "STRM":
                yield list(_items(content))
            yield from _streams(content, depth + 1)


def _rows(key: str, stream: dict[str, Values]) -> Floats:
    """Samples [n, columns] of a block, scaled. Empty when it is malformed."""
    letters = stream.get("TYPE", ("", 0, b""))[2]
    values = _numbers(stream[key], letters.decode("latin-1").rstrip("\0"))
    scale = _numbers(stream["SCAL"]).ravel() if "SCAL" in stream else np.ones(1)
    if scale.size not in (1, values.shape[1]) or not (scale != 0).all():
        return np.zeros((0, 0))
    return values / scale


def _numbers(item: Values, structure: str = "") -> Floats:
    """Items [n, columns] as they stand; `structure` gives the letters of items of mixed type. Empty when malformed."""
    kind, size, data = item
    letters = kind * (size // struct.calcsize(_NUMBERS[kind])) if kind in _NUMBERS else structure
    if not letters or any(letter not in _NUMBERS for letter in letters):
        return np.zeros((0, 0))
    row = struct.Struct(">" + "".join(_NUMBERS[letter] for letter in letters))
    if row.size != size:
        return np.zeros((0, 0))
    return np.array(list(row.iter_unpack(data)), np.float64).reshape(-1, len(letters))


def _number(key: str, stream: dict[str, Values], default: float) -> float:
    values = _numbers(stream[key]) if key in stream else np.zeros((0, 0))
    return float(values.ravel()[0]) if values.size else default


def _block(rows: Floats, column: int, fixed: Any, utc: datetime | None) -> _Block | None:
    """Positions at `column` and the next of the rows; NaN where there is no fix or no place on the Earth."""
    if rows.shape[0] == 0 or rows.shape[1] < column + 2:
        return None
    places = rows[:, column : column + 2].copy()
    somewhere = (np.abs(places[:, 0]) <= 90) & (np.abs(places[:, 1]) <= 180) & (places != 0).any(axis=1)
    places[~(somewhere & fixed)] = np.nan
    return _Block(places, utc)


def _read_gps5(key: str, stream: dict[str, Values], _streams: list[dict[str, Values]]) -> _Block | None:
    """GPS5: lat, lon, altitude, 2D speed, 3D speed; GPSF and GPSU hold for the whole payload."""
    fixed = _number("GPSF", stream, 3) >= _MIN_FIX
    utc = None
    if fixed and "GPSU" in stream:
        try:
            text = stream["GPSU"][2].decode("latin-1").rstrip("\0 ")
            utc = datetime.strptime(text, "%y%m%d%H%M%S.%f").replace(tzinfo=UTC)
        except ValueError:
            utc = None
    return _block(_rows(key, stream), 0, fixed, utc)


def _read_gps9(key: str, stream: dict[str, Values], _streams: list[dict[str, Values]]) -> _Block | None:
    """GPS9: as GPS5, then days since 2000, seconds of the day, dilution of precision, fix, for each sample."""
    rows = _rows(key, stream)
    if rows.shape[0] == 0 or rows.shape[1] < 9:
        return None
    fixed = rows[:, 8] >= _MIN_FIX
    utc = _EPOCH_GPS9 + timedelta(days=float(rows[0, 5]), seconds=float(rows[0, 6])) if fixed[0] else None
    return _block(rows, 0, fixed, utc)


def _read_karma(key: str, stream: dict[str, Values], streams: list[dict[str, Values]]) -> _Block | None:
    """GLPI and GPRI: seconds since boot, lat, lon, ...; GPRI's ninth column is the fix; SYST ties boot to UTC."""
    rows = _rows(key, stream)
    receiver = next((_rows("GPRI", s) for s in streams if "GPRI" in s), np.zeros((0, 0)))
    fixed = not (receiver.shape[0] and receiver.shape[1] >= 9 and receiver[:, 8].max() < _MIN_FIX)
    clock = next((_rows("SYST", s) for s in streams if "SYST" in s), np.zeros((0, 0)))
    utc = None
    if fixed and rows.shape[0] and clock.shape[0] and clock.shape[1] == 2:
        try:
            utc = datetime.fromtimestamp(clock[0, 1] + rows[0, 0] - clock[0, 0], UTC)
        except (ValueError, OverflowError, OSError):
            utc = None
    return _block(rows, 1, fixed, utc)
