"""What BDD100K says of a video besides its pictures: a JSON file with its start and places about once a second.

    {"startTime": ms, "locations": [{"timestamp": ms, "latitude": deg, "longitude": deg, ...}, ...], ...}

Locations may be out of order, before the start, without a number or NaN: they keep their places in the list, since
GAMa (ECCV 2022) names its aerial pictures by them, and are not used. Shapes: L locations, K seconds.
"""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError
from vgeo.formats.fixes import Fixes, stem_of
from vgeo.formats.streams import read_text
from vgeo.records import Floats, Track

_LOCATIONS, _START = re.compile(r'"locations"\s*:\s*\['), re.compile(r'"startTime"\s*:\s*["\d]')
_LARGEST_BYTES = 2**26  # a true file has some 200 kB: it holds the phone's accelerometer, too
_LATEST_MS = 4e12  # the year 2096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RideInfo:
    """When a video begins and where it was. Times count from its start."""

    start_ms: float  # since 1970
    time_s: Floats  # [L] of all locations, in the order of the file; NaN where it is not used
    latlon_deg: Floats  # [L, 2], NaN where it is not used
    left_out: Counter[str] = field(default_factory=Counter)  # "before the start" -> number

    @property
    def used(self) -> NDArray[np.bool_]:
        """[L] whether a location is one of this video, of a known time and place."""
        return np.isfinite(self.time_s)

    def seconds(self) -> NDArray[np.int64]:
        """The second that each location is of: [L], -1 for one that is not used.

        The nearest; halves go to the even one, as in Python's `round` (code).
        """
        return np.where(self.used, np.rint(np.where(self.used, self.time_s, -1)), -1).astype(np.int64)

    def at(self, time_s: NDArray[Any]) -> tuple[NDArray[np.int64], Floats]:
        """The location [K] nearest in time, by its place in the list (the later of equals), and how far off it is [K].

        Raises FormatError when there is none.
        """
        rows = np.flatnonzero(self.used)
        if not len(rows):
            raise FormatError(f"no location to be used: {self.unusable()}")
        rows = rows[np.argsort(self.time_s[rows], kind="stable")]
        known, wanted = self.time_s[rows], np.asarray(time_s, np.float64)
        right = np.clip(np.searchsorted(known, wanted, side="left"), 0, len(rows) - 1)
        left = np.clip(right - 1, 0, None)
        nearest = np.where(np.abs(known[right] - wanted) <= np.abs(known[left] - wanted), known[right], known[left])
        last = np.searchsorted(known, nearest, side="right") - 1
        return rows[last], np.abs(nearest - wanted)

    def range_deg(self) -> float:
        """GAMa's mu (section 3): the larger of the ranges of latitude and longitude; NaN where nothing is known."""
        places = self.latlon_deg[self.used].copy()
        if not len(places):
            return math.nan
        if np.ptp(places[:, 1]) > 180:  # over the antimeridian
            places[:, 1] %= 360
        return float(np.ptp(places, axis=0).max())

    def unusable(self) -> str:
        """Why locations are not used, in words."""
        said = ", ".join(f"{number} {reason}" for reason, number in self.left_out.items())
        return f"{len(self.time_s)} in the file" + (f", {said}" if said else "")


def is_ride_info(text: str) -> bool:
    """Whether a text that is not GeoJSON looks like such a file. Its lists may be long: all of it is looked at."""
    return text.lstrip().startswith("{") and bool(_LOCATIONS.search(text))


def read_ride_info(path: Path) -> RideInfo:
    """Read a file. Raises InputError, FormatError."""
    return parse_ride_info(read_text(path, _LARGEST_BYTES), str(path))


def parse_ride_info(text: str, where: str) -> RideInfo:
    """Read a text. Raises FormatError that names `where`."""
    ride = _parse(text, where)
    if not isinstance(ride, dict) or not isinstance(ride.get("locations"), list):
        raise FormatError(f"{where}: holds no list of locations; is it an info file of BDD100K?")
    start_ms = _number(ride.get("startTime"))
    if not 0 <= start_ms < _LATEST_MS:
        raise FormatError(f"{where}: its startTime is {ride.get('startTime')!r:.40}, not milliseconds since 1970")
    found, left_out = np.full((len(ride["locations"]), 3), np.nan), Counter[str]()
    for row, location in enumerate(ride["locations"]):
        values = _location(location)
        trouble = _trouble(*values, start_ms)
        if trouble:
            left_out[trouble] += 1
        else:
            found[row] = values
    return RideInfo(
        start_ms=start_ms, time_s=(found[:, 0] - start_ms) / 1000, latlon_deg=found[:, 1:].copy(), left_out=left_out
    )


def read_ride_track(text: str, where: str) -> list[Track]:
    """Read the track of one video, called like the file. Raises FormatError where there is no place to be used.

    Its times count from the start of the video. That start is not handed on as a clock: a recording's own is often
    local time or that of its conversion, and the two would be laid against each other.
    """
    info, fixes = parse_ride_info(text, where), Fixes()
    for row in np.flatnonzero(info.used):
        fixes.add(float(info.latlon_deg[row, 0]), float(info.latlon_deg[row, 1]), float(info.time_s[row]))
    if not len(fixes):
        raise FormatError(f"{where}: none of its locations can be used ({info.unusable()})")
    return [fixes.track(stem_of(where), where, ordered=False)]


def _parse(text: str, where: str) -> Any:
    """JSON as Python writes it, with NaN."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from error
    except (RecursionError, ValueError) as error:
        raise FormatError(f"{where}: not JSON that can be read") from error


def _location(said: Any) -> tuple[float, float, float]:
    """Time and position, NaN where there is none."""
    if not isinstance(said, dict):
        return math.nan, math.nan, math.nan
    return _number(said.get("timestamp")), _number(said.get("latitude")), _number(said.get("longitude"))


def _trouble(time_ms: float, lat: float, lon: float, start_ms: float) -> str:
    """Why a location is not used, "" where it is."""
    if not math.isfinite(time_ms) or not 0 <= time_ms < _LATEST_MS:
        return "without a time"
    if not (abs(lat) <= 90 and abs(lon) <= 180) or (lat, lon) == (0.0, 0.0):  # NaN is not; 0,0 is no fix
        return "without a place"
    return "before the start" if time_ms < start_ms else ""


def _number(value: Any) -> float:
    """A number, NaN for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
