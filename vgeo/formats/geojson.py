"""GeoJSON (RFC 7946), whole or as a sequence: the one place besides KML where positions are lon, lat.

A clip is a LineString with times, a Point a frame, or both, as vgeo writes it; of both, the Points are read, for they
carry the frame numbers. A line that was cut at the antimeridian is put together again.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vgeo.errors import FormatError
from vgeo.formats.fixes import Fixes, name_tracks, number, parse_time, refuse_twins
from vgeo.formats.streams import parse_json
from vgeo.formats.tables import CLOCK, FRAME, SECONDS, VIDEO, moments, pick
from vgeo.records import Track

log = logging.getLogger(__name__)

RECORD_SEPARATOR = "\x1e"  # RFC 8142
_LINE_TIMES = ("coordTimes", "relativeTimes", "times")


@dataclass(slots=True)
class _Clip:
    """What a file says of one clip: the line's fixes, the frames' fixes, and its name."""

    video_id: str | None
    name: str | None
    line: Fixes
    frames: Fixes


def read_geojson(text: str, where: str) -> list[Track]:
    """Read FeatureCollections, Features or bare geometries, one or a sequence of them. Raises FormatError."""
    clips: dict[str | int, _Clip] = {}
    loose: list[tuple[Any, dict[str, Any], str]] = []  # Points that say neither clip, time nor frame
    ignored = 0
    for count, (geometry, properties) in enumerate(_features(text, where), start=1):
        here = f"{where}: feature {count}"
        kind = geometry.get("type")
        said = {name.lower(): value for name, value in properties.items()}
        is_line = kind in ("LineString", "MultiLineString") or (kind == "Point" and _has_line_times(properties))
        if is_line:
            clip = _clip_of(clips, said, key=count)
            if len(clip.line):
                raise FormatError(f"{here}: a second line of {clip.video_id!r}; give each clip once")
            _add_line(clip.line, geometry, properties, here)
        elif kind in ("Point", "MultiPoint"):
            if any(pick(said, names) is not None for names in (VIDEO, SECONDS, CLOCK, FRAME)):
                clip = _clip_of(clips, said, key=0)
                lat, lon = _position(geometry.get("coordinates"), here)
                clip.frames.add_both(lat, lon, *moments(said, here))
            else:
                loose.append((geometry, said, here))
        else:
            ignored += 1
    if ignored:
        log.warning("%s: %d features that are neither lines nor points are left out", where, ignored)
    if not clips and loose:
        _add_loose(clips, loose)
    return refuse_twins(_tracks(list(clips.values()), where), where)


def _tracks(clips: list[_Clip], where: str) -> Iterator[Track]:
    if not clips:
        raise FormatError(f"{where}: holds no lines or points")
    nameless = [clip for clip in clips if clip.video_id is None]
    for clip, name in zip(nameless, name_tracks([clip.name for clip in nameless], where), strict=True):
        clip.video_id = name
    for clip in clips:
        yield (clip.frames if len(clip.frames) else clip.line).track(str(clip.video_id), where)


def _clip_of(clips: dict[str | int, _Clip], said: dict[str, Any], key: int) -> _Clip:
    """The clip that a feature belongs to: by its id, else all nameless Points together and each nameless line alone."""
    video_id = pick(said, VIDEO)
    name = pick(said, ("name", "title"))
    made = _Clip(None if video_id is None else str(video_id), None if name is None else str(name), Fixes(), Fixes())
    return clips.setdefault(key if video_id is None else str(video_id), made)


def _add_loose(clips: dict[str | int, _Clip], loose: list[tuple[Any, dict[str, Any], str]]) -> None:
    clip = clips.setdefault(0, _Clip(None, None, Fixes(), Fixes()))
    for geometry, _, here in loose:
        positions = geometry.get("coordinates")
        for position in positions if geometry["type"] == "MultiPoint" and isinstance(positions, list) else [positions]:
            clip.frames.add(*_position(position, here))


def _add_line(fixes: Fixes, geometry: dict[str, Any], properties: dict[str, Any], here: str) -> None:
    """Append a line's positions and times; the doubled points where it was cut at ±180° are taken out."""
    coordinates = geometry.get("coordinates")
    parts = coordinates if geometry["type"] == "MultiLineString" else [coordinates]
    if geometry["type"] == "Point":
        parts = [[coordinates]]
    if not isinstance(parts, list) or not all(isinstance(part, list) for part in parts):
        raise FormatError(f"{here}: coordinates are not a list of positions")
    positions = [[_position(position, here) for position in part] for part in parts]
    times = _line_times(properties, sum(len(part) for part in positions), here)
    at = 0
    seams = _seams(positions)
    for i, part in enumerate(positions):
        for j, (lat, lon) in enumerate(part):
            if (i, j) not in seams:
                fixes.add(lat, lon, times[at])
            at += 1


def _seams(parts: list[list[tuple[float, float]]]) -> set[tuple[int, int]]:
    """Indices (part, position) of the two ends that meet at the antimeridian, for each cut."""
    found = set()
    for i in range(len(parts) - 1):
        if len(parts[i]) < 2 or len(parts[i + 1]) < 2:
            continue
        (lat_a, lon_a), (lat_b, lon_b) = parts[i][-1], parts[i + 1][0]
        if abs(lon_a) == 180 and lon_b == -lon_a and abs(lat_a - lat_b) < 1e-6:
            found |= {(i, len(parts[i]) - 1), (i + 1, 0)}
    return found


def _has_line_times(properties: dict[str, Any]) -> bool:
    return any(name in properties for name in (*_LINE_TIMES, "coordinateProperties"))


def _line_times(properties: dict[str, Any], count: int, here: str) -> list[Any]:
    """One time (or None) for each position, from wherever writers put them."""
    more = properties.get("coordinateProperties")
    places = [properties, more] if isinstance(more, dict) else [properties]
    for place in places:
        for name in _LINE_TIMES:
            values = place.get(name)
            if isinstance(values, list):
                flat = [t for v in values for t in (v if isinstance(v, list) else [v])]
                if len(flat) != count:
                    raise FormatError(f"{here}: {len(flat)} of {name} for {count} positions")
                return [parse_time(value, here) for value in flat]
    return [None] * count


def _position(value: Any, here: str) -> tuple[float, float]:
    """(lat, lon) of a GeoJSON position, which is lon, lat and perhaps an altitude."""
    if not isinstance(value, list) or len(value) not in (2, 3):
        size = f"{len(value)} numbers" if isinstance(value, list) else type(value).__name__
        raise FormatError(f"{here}: a position is lon, lat and at most an altitude, not {size}")
    return number(value[1], here), number(value[0], here)


def _features(text: str, where: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Geometry and properties of every feature; features without a geometry are passed over."""
    for document in _documents(text, where):
        if not isinstance(document, dict) or not isinstance(document.get("type"), str):
            raise FormatError(f"{where}: not GeoJSON: no object with a type")
        members = document.get("features") if document["type"] == "FeatureCollection" else [document]
        if not isinstance(members, list):
            raise FormatError(f"{where}: a FeatureCollection without a list of features")
        for member in members:
            if not isinstance(member, dict):
                raise FormatError(f"{where}: a feature is not an object")
            is_feature = member.get("type") == "Feature"
            geometry = member.get("geometry") if is_feature else member
            properties = member.get("properties") if is_feature else {}
            if isinstance(geometry, dict):
                yield geometry, properties if isinstance(properties, dict) else {}


def _documents(text: str, where: str) -> Iterator[Any]:
    """The JSON texts of a file: one, one a line, or one after each record separator."""
    if RECORD_SEPARATOR in text[:16]:
        records = text.split(RECORD_SEPARATOR)
    elif _is_sequence(text):
        records = text.split("\n")
    else:
        records = [text]
    for record in records:
        if record.strip():
            try:
                yield parse_json(record, where)
            except ValueError as error:  # an integer of thousands of digits
                raise FormatError(f"{where}: not JSON ({error})") from error


def _is_sequence(text: str) -> bool:
    """True when the first line is a whole JSON text and others follow."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        parse_json(first, "")
    except (FormatError, ValueError):
        return False
    return True
