"""GPX: 1.0 and 1.1 read through gpxpy, with what it lets through checked afterwards; 1.1 written.

Written files are valid against the schema. What GPX has no element for (seconds of a clip, frame numbers, confidences)
stands in `extensions` of vgeo's own namespace.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from vgeo import __version__
from vgeo.errors import FormatError
from vgeo.formats.fixes import Fixes, frame_number, name_tracks, number, rounded_deg, short
from vgeo.formats.safe_xml import check_xml, escaped
from vgeo.records import Localization, Track, format_utc

CREATOR = "vgeo"
_HEAD = f"""<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="{CREATOR} {__version__}" xmlns="http://www.topografix.com/GPX/1/1" xmlns:vgeo="urn:vgeo:1">
"""


def read_gpx(text: str, where: str) -> list[Track]:
    """Read tracks (segments joined), else routes, else the waypoints as one track.

    A lone track is called like the file: recorders write names such as "Morning ride". Raises FormatError.
    """
    import gpxpy
    from gpxpy.gpx import GPXException

    check_xml(text, where, "gpx")  # gpxpy would expand entities
    try:
        gpx = gpxpy.parse(text)
    except (GPXException, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise FormatError(f"{where}: not GPX ({str(error).splitlines()[0] if str(error) else 'empty'})") from error
    found: list[tuple[str | None, Fixes]] = [
        (track.name, _fixes(point for segment in track.segments for point in segment.points)) for track in gpx.tracks
    ]
    found = [(name, fixes) for name, fixes in found if len(fixes)]
    if not found:
        found = [(route.name, _fixes(route.points)) for route in gpx.routes if route.points]
    if not found and gpx.waypoints:
        found = [(None, _fixes(gpx.waypoints))]
    if not found:
        raise FormatError(f"{where}: holds no track points, routes or waypoints")
    names = [name for name, _ in found]
    own = (gpx.creator or "").split(" ")[0] == CREATOR and None not in names
    ids = [str(name) for name in names] if own else name_tracks(names, where)
    return [fixes.track(video_id, where) for video_id, (_, fixes) in zip(ids, found, strict=True)]


def _fixes(points: Iterable[Any]) -> Fixes:
    fixes = Fixes()
    for point in points:
        time_s, frame = _own_words(point)
        when: datetime | None = point.time
        fixes.add_both(
            float("nan") if point.latitude is None else point.latitude,
            float("nan") if point.longitude is None else point.longitude,
            time_s,
            when,
            frame,
        )
    return fixes


def _own_words(point: Any) -> tuple[float | None, int | None]:
    """Seconds from the start and frame number, which vgeo writes as extensions."""
    said = {element.tag.rpartition("}")[2]: element.text for element in point.extensions or ()}
    time_s, frame = said.get("time_s"), said.get("frame")
    return (
        None if time_s is None else number(time_s, "time_s"),
        None if frame is None else frame_number(frame, "frame"),
    )


def write_gpx(localizations: Iterable[Localization]) -> Iterator[str]:
    """Yield a GPX 1.1 document piece by piece, one trk a clip."""
    yield _HEAD
    for said in localizations:
        name, method = escaped(said.track.video_id), escaped(said.method)
        points = "\n".join(_point(said, t, lat, lon) for t, (lat, lon) in enumerate(rounded_deg(said.track.latlon_deg)))
        yield f"<trk><name>{name}</name><src>{method}</src><trkseg>\n{points}\n</trkseg></trk>\n"
    yield "</gpx>\n"


def _point(said: Localization, t: int, lat: float, lon: float) -> str:
    track = said.track
    when = (
        None
        if track.start_utc is None or track.time_s is None
        else track.start_utc + timedelta(seconds=float(track.time_s[t]))
    )
    time = "" if when is None else f"<time>{format_utc(when)}</time>"
    place = f"<desc>{escaped(said.places[t])}</desc>" if said.places and said.places[t] else ""
    extras = {
        "time_s": None if track.time_s is None else round(float(track.time_s[t]), 6),
        "frame": None if track.frame_index is None else int(track.frame_index[t]),
        "confidence": short(said.confidence[t]),
        "radius_km": short(said.radius_km[t]),
    }
    own = "".join(f"<vgeo:{name}>{value}</vgeo:{name}>" for name, value in extras.items() if value is not None)
    return f'<trkpt lat="{lat:.7f}" lon="{lon:.7f}">{time}{place}<extensions>{own}</extensions></trkpt>'
