"""What all readers of tracks share: a list of GPS fixes that becomes one checked Track, and the reading of times.

A file may say of a fix when it was taken (seconds from the clip's start, an absolute time, or both) and which frame of
the clip it belongs to. What is said of only some of the fixes cannot be used: fixes without a time are left out of a
track that has times. Times that run backwards (recorders do that when they lose the sky) are sorted, and said so.
"""

import logging
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from vgeo.errors import FormatError
from vgeo.geo.sphere import DECIMALS, wrap_lon
from vgeo.records import Floats, Track, check_latlon, parse_utc

log = logging.getLogger(__name__)

# 1 and 100,000 times what separates seconds from milliseconds from microseconds since 1970, for any year 1973-5138.
_EPOCH_S, _EPOCH_MS, _EPOCH_US = 1e8, 1e11, 1e14
_DATE = re.compile(r"^(\d{4})[-:/.](\d{1,2})[-:/.](\d{1,2})")


@dataclass(slots=True)
class Fixes:
    """Fixes of one clip, in the order of the file."""

    latlon_deg: "array[float]" = field(default_factory=lambda: array("d"))  # lat, lon, lat, lon, ...
    time_s: list[float | None] = field(default_factory=list)
    utc: list[datetime | None] = field(default_factory=list)
    frame_index: list[int | None] = field(default_factory=list)

    def add(self, lat: float, lon: float, time: "datetime | float | None" = None, frame: int | None = None) -> None:
        """Append a fix; `time` is absolute or in seconds from the clip's start."""
        absolute = isinstance(time, datetime)
        self.add_both(lat, lon, None if absolute else time, time if absolute else None, frame)  # type: ignore[arg-type]

    def add_both(self, lat: float, lon: float, time_s: float | None, utc: datetime | None, frame: int | None) -> None:
        """Append a fix that may say both times."""
        self.latlon_deg.extend((lat, lon))
        self.time_s.append(time_s)
        self.utc.append(utc)
        self.frame_index.append(frame)

    def __len__(self) -> int:
        return len(self.time_s)

    def track(self, video_id: str, where: str, ordered: bool = True) -> Track:
        """Check the fixes and make the track; `ordered` files are expected to run forwards in time.

        Raises FormatError that names `where`.
        """
        video_id = video_id.encode(errors="replace").decode()  # JSON can hold halves of letters, and files cannot
        what = f"{where}: track {video_id}"
        if not self.latlon_deg:
            raise FormatError(f"{what}: holds no positions")
        positions = np.array(self.latlon_deg, np.float64).reshape(-1, 2)
        check_latlon(positions, what)
        outside = (positions[:, 1] < -180) | (positions[:, 1] >= 180)
        positions[outside, 1] = wrap_lon(positions[outside, 1])
        try:
            times, start, kept = self._times(what)
        except OverflowError as error:
            raise FormatError(f"{what}: its times lie outside the years 1 to 9999") from error
        positions = positions[kept]
        frames = [self.frame_index[i] for i in kept]
        numbers = None if None in frames else np.array(frames, np.int64)
        if times is not None and (np.diff(times) < 0).any():
            level = logging.WARNING if ordered else logging.DEBUG
            log.log(level, "%s: times run backwards in %d places; sorted", what, int((np.diff(times) < 0).sum()))
            order = np.argsort(times, kind="stable")
            times, positions = times[order], positions[order]
            numbers = None if numbers is None else numbers[order]
        return Track(video_id=video_id, latlon_deg=positions, time_s=times, start_utc=start, frame_index=numbers)

    def _times(self, what: str) -> tuple[Floats | None, datetime | None, list[int]]:
        """Seconds of the fixes to keep, absolute time of second 0, and the fixes to keep."""
        relative = [i for i, t in enumerate(self.time_s) if t is not None]
        absolute = [i for i, t in enumerate(self.utc) if t is not None]
        kept = relative if len(relative) >= len(absolute) else absolute
        if not kept:
            return None, None, list(range(len(self)))
        if len(kept) < len(self):
            log.warning("%s: %d of %d positions have no time and are left out", what, len(self) - len(kept), len(self))
        if kept is relative:
            seconds = np.array([self.time_s[i] for i in kept], np.float64)
            clock = next((i for i in absolute if self.time_s[i] is not None), None)
            if clock is None:
                return seconds, None, kept
            return seconds, self._instant(clock) - timedelta(seconds=float(self.time_s[clock] or 0)), kept
        start = min(self._instant(i) for i in kept)
        return np.array([(self._instant(i) - start).total_seconds() for i in kept], np.float64), start, kept

    def _instant(self, i: int) -> datetime:
        when = self.utc[i]
        assert when is not None
        return when if when.tzinfo else when.replace(tzinfo=UTC)


def parse_time(value: Any, where: str) -> "datetime | float | None":
    """Read a time as files write it: RFC 3339 or EXIF text, seconds of a clip, or seconds to microseconds since 1970.

    Empty text and None give None. Numbers below 10^8 are seconds of the clip. Raises FormatError.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = number(value, where)
    except FormatError:
        if not isinstance(value, str):
            raise
        return _parse_date(value, where)
    if abs(seconds) < _EPOCH_S:
        return seconds
    scale = 1.0 if seconds < _EPOCH_MS else 1e3 if seconds < _EPOCH_US else 1e6
    try:
        return datetime.fromtimestamp(seconds / scale, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise FormatError(f"{where}: {value!r} is no time since 1970") from error


def _parse_date(text: str, where: str) -> datetime:
    plain = _DATE.sub(lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3]):02}", text.strip())
    try:
        return parse_utc(plain)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error


def number(value: Any, where: str) -> float:
    """A finite float from a JSON number or a text. Raises FormatError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{where}: {str(value)[:40]!r} is not a number") from error
    if not math.isfinite(found):
        raise FormatError(f"{where}: a number is {found}, not finite")
    return found


def frame_number(value: Any, where: str) -> int:
    """A frame number. Raises FormatError."""
    found = int(number(value, where))
    if not 0 <= found < 2**53:
        raise FormatError(f"{where}: frame number {found:.6g} is out of range")
    return found


def stem_of(where: str) -> str:
    """The name of a track that has none of its own: that of its file."""
    return "track" if where == "-" else Path(where).stem


def name_tracks(names: Sequence[str | None], where: str) -> list[str]:
    """Unique ids of a file's nameless tracks: a lone one is called like the file, several by their own names."""
    stem = stem_of(where)
    if len(names) == 1:
        return [stem]
    wanted = [name or stem for name in names]
    seen: Counter[str] = Counter()
    unique = []
    for name in wanted:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return unique


def refuse_twins(tracks: Iterable[Track], where: str) -> list[Track]:
    """Return the tracks. Raises FormatError if two carry the same id."""
    found = list(tracks)
    for video_id, times in Counter(track.video_id for track in found).items():
        if times > 1:
            raise FormatError(f"{where}: holds {times} tracks of {video_id!r}; give each clip once")
    return found


def rounded_deg(latlon_deg: Floats) -> Floats:
    """Positions [..., 2] as they are written: 7 decimals, longitude in [-180, 180), no negative zero."""
    found: Floats = np.round(np.asarray(latlon_deg, np.float64), DECIMALS) + np.float64(0)
    found[..., 1] = np.where(found[..., 1] >= 180, found[..., 1] - 360, found[..., 1])
    return found


def short(value: float) -> float | None:
    """A number with six significant digits for people and JSON; None for what is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
