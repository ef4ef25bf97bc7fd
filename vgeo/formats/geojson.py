"""GeoJSON (RFC 7946), whole or as a sequence: the one place besides KML where positions are lon, lat.

A clip is a LineString with times, a Point a frame, or both, as vgeo writes it; of both, the Points are read, for they
carry the frame numbers. A line is cut at the antimeridian when written and put together again when read. Inside
`properties`, candidates name their members `lat_deg` and `lon_deg`, so that no order has to be known.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from vgeo.errors import FormatError
from vgeo.formats import votes
from vgeo.formats.antimeridian import cut, seams
from vgeo.formats.fixes import Fixes, name_tracks, number, parse_time, refuse_twins, rounded_deg, short
from vgeo.formats.streams import dump_json, parse_json
from vgeo.formats.tables import CLOCK, FRAME, SECONDS, VIDEO, moments, pick
from vgeo.records import Floats, Localization, Track, format_utc

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
    for count, (geometry, properties) in enumerate(features(text, where), start=1):
        here = f"{where}: feature {count}"
        kind = geometry.get("type")
        said = {name.lower(): value for name, value in properties.items()}
        is_own = said.get("kind") == "track"  # of a clip of one frame, which is a Point
        is_line = kind in ("LineString", "MultiLineString") or (
            kind == "Point" and (is_own or _has_line_times(properties))
        )
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
    doubled = seams(positions)
    for i, part in enumerate(positions):
        for j, (lat, lon) in enumerate(part):
            if (i, j) not in doubled:
                fixes.add(lat, lon, times[at])
            at += 1


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


def features(text: str, where: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
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
            yield parse_json(record, where)


def _is_sequence(text: str) -> bool:
    """True when the first line is a whole JSON text and others follow."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        parse_json(first, "")
    except FormatError:
        return False
    return True


def write_geojson(localizations: Iterable[Localization]) -> Iterator[str]:
    """Yield one FeatureCollection, a piece for each clip."""
    yield '{"type": "FeatureCollection", "features": ['
    separator = "\n"
    for said in localizations:
        yield separator + ",\n".join(dump_json(feature).rstrip() for feature in _features_of(said))
        separator = ",\n"
    yield "\n]}\n"


def write_geojsonl(localizations: Iterable[Localization]) -> Iterator[str]:
    """Yield one feature a line, a piece for each clip."""
    for said in localizations:
        yield "".join(dump_json(feature) for feature in _features_of(said))


def _features_of(said: Localization) -> Iterator[dict[str, Any]]:
    """The clip's line (a Point where it is one frame), then one Point a frame."""
    track = said.track
    spots = rounded_deg(track.latlon_deg)
    properties: dict[str, Any] = {
        "kind": "track",
        "video_id": track.video_id,
        "method": said.method,
        "source": said.source,
    }
    geometry, times = _line_geometry(track, spots)
    if said.votes is not None:
        properties[votes.COLUMN] = votes.to_json(said.votes)
    if times is not None:
        name = "relativeTimes" if track.start_utc is None else "coordTimes"
        properties |= {name: times, "coordinateProperties": {"times": times}}
    yield {"type": "Feature", "geometry": geometry, "properties": {k: v for k, v in properties.items() if v != ""}}
    stamps = track.timestamps_utc()
    for t, (lat, lon) in enumerate(spots.tolist()):
        found = {
            "kind": "frame",
            "video_id": track.video_id,
            "frame": None if track.frame_index is None else int(track.frame_index[t]),
            "time_s": None if track.time_s is None else round(float(track.time_s[t]), 6),
            "timestamp_utc": None if stamps is None else format_utc(stamps[t]),
            "confidence": short(said.confidence[t]),
            "radius_km": short(said.radius_km[t]),
            "place": said.places[t] if said.places else None,
            "candidates": _candidates(said, t),
        }
        geometry = {"type": "Point", "coordinates": [lon, lat]}
        known = {name: value for name, value in found.items() if value is not None}
        yield {"type": "Feature", "geometry": geometry, "properties": known}


def _candidates(said: Localization, t: int) -> list[dict[str, float | None]]:
    spots = rounded_deg(said.candidates_deg[t]).tolist()
    return [
        {"lat_deg": lat, "lon_deg": lon, "probability": short(score)}
        for (lat, lon), score in zip(spots, said.candidate_scores[t], strict=True)
    ]


def _line_geometry(track: Track, spots: Floats) -> tuple[dict[str, Any], list[Any] | None]:
    """Geometry of a whole clip, and its times in the same nesting."""
    seconds = np.zeros(len(spots)) if track.time_s is None else track.time_s
    if len(spots) == 1:
        (lat, lon) = spots[0].tolist()
        geometry: dict[str, Any] = {"type": "Point", "coordinates": [lon, lat]}
        times: list[Any] = _time_texts(track, seconds)
    else:
        parts = cut(spots, seconds)
        lines = [[[lon, lat] for lat, lon in np.round(positions, 7).tolist()] for positions, _ in parts]
        nested = [_time_texts(track, part_seconds) for _, part_seconds in parts]
        whole = len(parts) == 1
        geometry = {"type": "LineString" if whole else "MultiLineString", "coordinates": lines[0] if whole else lines}
        times = nested[0] if whole else nested
    return geometry, None if track.time_s is None else times


def _time_texts(track: Track, seconds: Floats) -> list[Any]:
    if track.start_utc is None:
        return [round(float(t), 6) for t in seconds]
    return [format_utc(track.start_utc + timedelta(seconds=float(t))) for t in seconds]
