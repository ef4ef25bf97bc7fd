"""KML: gx:Track where the clip has a clock, else LineString. Besides GeoJSON the one place with lon before lat.

KML has no time without a date, so seconds of a clip without a clock, like frame numbers and confidences, are kept in
ExtendedData as lists of numbers.
"""

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

import numpy as np

from vgeo.errors import FormatError
from vgeo.formats.fixes import Fixes, frame_number, name_tracks, number, parse_time, refuse_twins, rounded_deg
from vgeo.formats.safe_xml import escaped, local_name, parse_xml
from vgeo.records import Localization, Track, format_utc

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:gx="http://www.google.com/kml/ext/2.2">
<Document>
"""
_TAIL = "</Document>\n</kml>\n"


def read_kml(text: str, where: str) -> list[Track]:
    """Read gx:Track, gx:MultiTrack and LineString placemarks, else all Point placemarks as one track.

    Namespaces do not matter. Raises FormatError.
    """
    root = parse_xml(text, where, "kml")
    lines: list[tuple[str | None, str | None, Fixes]] = []
    points = Fixes()
    for placemark in _all(root, "Placemark"):
        values = ((data.get("name"), _first(data, "value")) for data in _all(placemark, "Data"))
        said = {name: value.text or None for name, value in values if value is not None}  # spaces are part of a name
        fixes = _line(placemark, where)
        if len(fixes):
            _add_lists(fixes, said, where)
            lines.append((said.get("video_id"), _text(_first(placemark, "name")), fixes))
        elif (spot := _first(placemark, "Point")) is not None:
            when = parse_time(_text(_first(placemark, "when")), where)
            for lat, lon in _coordinates(spot, where):
                points.add(lat, lon, when)
    if not lines and len(points):
        lines.append((None, None, points))
    if not lines:
        raise FormatError(f"{where}: holds no tracks, lines or points")
    spare = iter(name_tracks([name for video_id, name, _ in lines if video_id is None], where))
    named = [(video_id if video_id is not None else next(spare), fixes) for video_id, _, fixes in lines]
    return refuse_twins((fixes.track(video_id, where) for video_id, fixes in named), where)


def _line(placemark: Element, where: str) -> Fixes:
    """Positions and times of all gx:Tracks and LineStrings in a placemark, joined; a Point only with a video_id."""
    fixes = Fixes()
    for element in placemark.iter():
        kind = local_name(element)
        if kind == "Track":
            whens = [parse_time(child.text, where) for child in element if local_name(child) == "when"]
            spots = [(child.text or "").split() for child in element if local_name(child) == "coord"]
            if whens and len(whens) != len(spots):
                raise FormatError(f"{where}: a track of {len(spots)} positions and {len(whens)} times")
            for i, spot in enumerate(spots):
                fixes.add(*_latlon(spot, where), whens[i] if whens else None)
        elif kind == "LineString" or (kind == "Point" and _is_own(placemark)):
            for lat, lon in _coordinates(element, where):
                fixes.add(lat, lon)
    return fixes


def _is_own(placemark: Element) -> bool:
    return any(data.get("name") == "video_id" for data in _all(placemark, "Data"))


def _add_lists(fixes: Fixes, said: dict[str | None, str | None], where: str) -> None:
    """Take seconds and frame numbers from ExtendedData, where there is one for each position."""
    seconds = [number(word, where) for word in (said.get("time_s") or "").split()]
    frames = [frame_number(word, where) for word in (said.get("frame") or "").split()]
    if len(seconds) == len(fixes):
        fixes.time_s = list(seconds)
    if len(frames) == len(fixes):
        fixes.frame_index = list(frames)


def _coordinates(element: Element, where: str) -> Iterator[tuple[float, float]]:
    for word in (_text(_first(element, "coordinates")) or "").split():
        yield _latlon(word.split(","), where)


def _latlon(words: list[str], where: str) -> tuple[float, float]:
    if len(words) not in (2, 3):
        raise FormatError(f"{where}: {' '.join(words)[:40]!r} is not lon, lat and at most an altitude")
    return number(words[1], where), number(words[0], where)


def _all(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element.iter() if local_name(child) == name)


def _first(element: Element, name: str) -> Element | None:
    return next(_all(element, name), None)


def _text(element: Element | None) -> str | None:
    return None if element is None or not element.text else element.text.strip()


def write_kml(localizations: Iterable[Localization]) -> Iterator[str]:
    """Yield a KML document piece by piece, one Placemark a clip."""
    yield _HEAD
    for said in localizations:
        name = f"<name>{escaped(said.track.video_id)}</name>"
        yield f"<Placemark>\n{name}\n{_data(said)}{_geometry(said.track)}</Placemark>\n"
    yield _TAIL


def _geometry(track: Track) -> str:
    spots = [(f"{lon:.7f}", f"{lat:.7f}") for lat, lon in rounded_deg(track.latlon_deg)]
    stamps = track.timestamps_utc()
    if stamps is not None:
        whens = "".join(f"<when>{format_utc(when)}</when>\n" for when in stamps)
        coords = "".join(f"<gx:coord>{lon} {lat} 0</gx:coord>\n" for lon, lat in spots)
        return f"<gx:Track>\n{whens}{coords}</gx:Track>\n"
    kind = "Point" if len(spots) == 1 else "LineString"
    return f"<{kind}><coordinates>{' '.join(','.join(spot) for spot in spots)}</coordinates></{kind}>\n"


def _data(said: Localization) -> str:
    columns = {
        "time_s": said.track.time_s,
        "frame": said.track.frame_index,
        "confidence": said.confidence,
        "radius_km": said.radius_km,
    }
    items = [("video_id", escaped(said.track.video_id)), ("method", escaped(said.method))]
    for name, values in columns.items():
        if values is not None and np.isfinite(values).all():
            items.append((name, " ".join(f"{value:.10g}" for value in values)))
    body = "".join(f'<Data name="{name}"><value>{value}</value></Data>\n' for name, value in items)
    return f"<ExtendedData>\n{body}</ExtendedData>\n"
