"""What RFC 7946 asks of a GeoJSON text, checked from the RFC and nothing of vgeo's. Numbers are its sections."""

import json
import math
from itertools import pairwise
from typing import Any

GEOMETRIES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")


def problems(text: str) -> list[str]:
    """All that is wrong with a text of one GeoJSON object; [] for a valid one."""
    try:
        text.encode()
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, UnicodeEncodeError) as error:
        return [f"not JSON: {error}"]  # RFC 8259: UTF-8, no NaN; I-JSON: no member twice
    return list(_of_object(value, "root"))


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member twice")
    return found


def _of_object(value: Any, at: str):  # type: ignore[no-untyped-def]
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        yield f"{at}: no object with a type (3)"
        return
    if "crs" in value:
        yield f"{at}: a crs, which was removed (4)"
    yield from _of_bbox(value, at)
    kind = value["type"]
    foreign = {  # 7.1: members that define one kind of object are not in another
        "FeatureCollection": ("coordinates", "geometries", "geometry", "properties"),
        "Feature": ("coordinates", "geometries", "features"),
    }.get(kind, ("geometry", "properties", "features"))
    yield from (f"{at}: a {kind} with {name} (7.1)" for name in foreign if name in value)
    if kind == "FeatureCollection":
        members = value.get("features")
        if not isinstance(members, list):
            yield f"{at}: no list of features (3.3)"
            return
        for i, member in enumerate(members):
            if not isinstance(member, dict) or member.get("type") != "Feature":
                yield f"{at}.features[{i}]: no Feature (3.3)"
            else:
                yield from _of_object(member, f"{at}.features[{i}]")
    elif kind == "Feature":
        yield from _of_feature(value, at)
    elif kind in GEOMETRIES:
        yield from _of_geometry(value, at)
    else:
        yield f"{at}: no type {kind!r} (1.4)"


def _of_feature(value: dict[str, Any], at: str):  # type: ignore[no-untyped-def]
    if "geometry" not in value or "properties" not in value:
        yield f"{at}: no geometry or no properties (3.2)"
        return
    if not isinstance(value["properties"], dict | None):
        yield f"{at}: properties are no object (3.2)"
    if not isinstance(value.get("id", 0), str | int | float) or isinstance(value.get("id"), bool):
        yield f"{at}: an id that is neither text nor number (3.2)"
    if value["geometry"] is not None:
        yield from _of_geometry(value["geometry"], f"{at}.geometry")


def _of_geometry(value: Any, at: str):  # type: ignore[no-untyped-def]
    if not isinstance(value, dict) or value.get("type") not in GEOMETRIES:
        yield f"{at}: no geometry (3.1)"
        return
    kind, coordinates = value["type"], value.get("coordinates")
    if kind == "Point":
        yield from _of_position(coordinates, at)
    elif kind == "LineString":
        yield from _of_line(coordinates, at)
    elif kind == "MultiLineString":
        if not isinstance(coordinates, list) or not coordinates:
            yield f"{at}: no list of lines (3.1.5)"
            return
        for i, line in enumerate(coordinates):
            yield from _of_line(line, f"{at}[{i}]")
    else:
        yield f"{at}: a {kind}, which tracks have no use for"


def _of_line(coordinates: Any, at: str):  # type: ignore[no-untyped-def]
    if not isinstance(coordinates, list) or len(coordinates) < 2:
        yield f"{at}: a line of less than two positions (3.1.4)"
        return
    wrong = [what for i, position in enumerate(coordinates) for what in _of_position(position, f"{at}[{i}]")]
    yield from wrong
    if not wrong:
        leaps = [i for i, (a, b) in enumerate(pairwise(coordinates)) if abs(a[0] - b[0]) > 180]
        yield from (f"{at}[{i}]: crosses ±180 and is not cut (3.1.9)" for i in leaps)


def _of_position(value: Any, at: str):  # type: ignore[no-untyped-def]
    """3.1.1: two or three numbers, easting first; WGS 84 (4); at most ±180 and ±90."""
    if not isinstance(value, list) or len(value) not in (2, 3):
        yield f"{at}: a position is two or three numbers (3.1.1)"
    elif not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in value):
        yield f"{at}: a position of what are no numbers (3.1.1)"
    elif abs(value[0]) > 180 or abs(value[1]) > 90:
        yield f"{at}: {value} is not on the Earth (4)"
    elif len(repr(value[0]).partition(".")[2]) > 7 and "e" not in repr(value[0]):
        yield f"{at}: {value[0]!r} has more than seven decimals (11.2)"


def _of_bbox(value: dict[str, Any], at: str):  # type: ignore[no-untyped-def]
    box = value.get("bbox")
    if box is None:
        return
    if not isinstance(box, list) or len(box) not in (4, 6) or not all(isinstance(x, int | float) for x in box):
        yield f"{at}: a bbox is four or six numbers (5)"
    elif box[1] > box[len(box) // 2 + 1]:
        yield f"{at}: its southern side is north of the northern (5)"


def line_times(feature: dict[str, Any]) -> list[str]:
    """What is wrong with a track's times: as many as positions, nested like them, never backwards."""
    properties, geometry = feature["properties"], feature["geometry"]
    times = properties.get("coordTimes", properties.get("relativeTimes"))
    if times is None:
        return []
    if properties.get("coordinateProperties", {}).get("times") != times:
        return ["coordinateProperties.times differ"]
    positions = geometry["coordinates"]
    nested = {"Point": [[positions]], "LineString": [positions]}.get(geometry["type"], positions)
    parts = times if geometry["type"] == "MultiLineString" else [times]
    if [len(part) for part in parts] != [len(part) for part in nested]:
        return [f"{sum(map(len, parts))} times for {sum(map(len, nested))} positions, or nested otherwise"]
    flat = [time for part in parts for time in part]
    return [] if all(a <= b for a, b in pairwise(flat)) else ["times run backwards"]
