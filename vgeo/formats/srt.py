"""DJI drone telemetry in SRT subtitles, in every dialect met so far.

A cue says where the drone is as `[latitude: 41.4] [longitude: 2.2]` (the Mavic 2 spells it `longtitude`), as
`GPS(lon,lat,altitude)`, or, on the Matrice, as `GPS(lat,lon,altitudeM)`. `N/A` and 0,0 mean no fix. Times are the cues'
own, that is seconds of the video; where cues have no arrows, the dates count from the first one. The dates are the
local time of the controller, whose zone no dialect tells, so an SRT track has no absolute time.
"""

import re
from datetime import datetime

from vgeo.errors import FormatError
from vgeo.formats.fixes import Fixes, number, stem_of
from vgeo.records import Track

_ARROW = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})\s*-+>")
_NUMBER = r"([-+]?\d+(?:\.\d+)?)"
_LAT = re.compile(rf"latitude\s*:\s*{_NUMBER}", re.IGNORECASE)
_LON = re.compile(rf"longt?itude\s*:\s*{_NUMBER}", re.IGNORECASE)
_GPS = re.compile(rf"GPS\s*\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*(?:,\s*[-+.\d]+\s*(M?)\s*)?\)")
_DATE = re.compile(r"(\d{4})[.-](\d{1,2})[.-](\d{1,2})[ T]+(\d{1,2}):(\d\d):(\d\d)(?:[,.](\d{3}))?")
_CUE = re.compile(r"\n[ \t]*\n(?=[ \t\n]*\d+[ \t]*\n)")  # a blank line, then a cue's number alone on its line


def read_srt(text: str, where: str) -> list[Track]:
    """Read one track. Raises FormatError if no cue holds a fix."""
    fixes = Fixes()
    first: datetime | None = None
    cues = _CUE.split(text.replace("\r\n", "\n"))
    for cue in cues:
        date = _date(cue)
        first = first or date
        position = _position(cue, where)
        if position is None:
            continue
        arrow = _ARROW.search(cue)
        time_s: float | None = None
        if arrow:
            hours, minutes, seconds, fraction = arrow.groups()
            time_s = int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
        elif date is not None and first is not None:
            time_s = (date - first).total_seconds()
        fixes.add(*position, time_s)
    if not len(fixes):
        raise FormatError(f"{where}: none of {len(cues)} cues holds a GPS fix")
    return [fixes.track(stem_of(where), where)]


def _position(cue: str, where: str) -> tuple[float, float] | None:
    """(lat, lon) of a cue, or None where there is no fix."""
    lat_found, lon_found = _LAT.search(cue), _LON.search(cue)
    if lat_found and lon_found:
        lat, lon = lat_found[1], lon_found[1]
    elif gps := _GPS.search(cue):
        lat, lon = (gps[1], gps[2]) if gps[3] else (gps[2], gps[1])
    else:
        return None
    position = number(lat, where), number(lon, where)
    return None if position == (0.0, 0.0) else position


def _date(cue: str) -> datetime | None:
    found = _DATE.search(cue)
    if not found:
        return None
    year, month, day, hour, minute, second, fraction = (int(part or 0) for part in found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, fraction * 1000)
    except ValueError:
        return None
