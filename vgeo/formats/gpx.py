"""GPX 1.0 and 1.1: read through gpxpy, with what it lets through checked afterwards."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from vgeo.errors import FormatError
from vgeo.formats.fixes import Fixes, name_tracks, number
from vgeo.formats.safe_xml import check_xml
from vgeo.records import Track

CREATOR = "vgeo"


def read_gpx(text: str, where: str) -> list[Track]:
    """Read tracks (segments joined), else routes, else the waypoints as one track.

    A lone track is called like the file: recorders write names such as "Morning ride". Raises FormatError.
    """
    import gpxpy
    from gpxpy.gpx import GPXException

    check_xml(text, where)  # gpxpy would expand entities
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
        None if frame is None else int(number(frame, "frame")),
    )
