"""Which tiles cover what the user names: tracks, folders of frames, feature files, polygons, a box."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from vgeo.errors import InputError, UsageError, VgeoError
from vgeo.formats.areas import read_areas
from vgeo.formats.streams import is_stdio, read_text
from vgeo.geo import tile_cover
from vgeo.geo.mercator import latitudes
from vgeo.geo.tiles import MAX_LAT_DEG, check_zoom
from vgeo.stages.gallery_inputs import read_places

log = logging.getLogger(__name__)

Ints = NDArray[np.int64]
Source = str | os.PathLike[str]
Box = tuple[float, float, float, float]  # west, south, east, north, degrees

_HAIR = 1e-6  # of a tile: squares that only touch do not count


def covering(
    areas: Sequence[Source], zoom: int, *, bbox: Box | None = None, across: int = 1, margin_m: float = 0.0
) -> Ints:
    """The tiles x, y [T, 2] that squares around the areas' positions need, each once.

    areas: whatever holds positions (see `read_places`), or GeoJSON polygons. bbox: west, south, east, north, over the
    antimeridian where west is greater. across: side in tiles of the squares that are cut around each
    position; 1 is a crop of a tile's size, 0 only the tiles that hold the positions. margin_m: added to each side.
    Raises UsageError for too many tiles, InputError where there is nothing to cover, FormatError.
    """
    check_zoom(zoom)
    if not 0 <= across <= 99:
        raise UsageError(f"--across {across}: must be from 0 to 99")
    if not 0 <= margin_m < 1e6:
        raise UsageError(f"--margin-m {margin_m:g}: must be from 0 to a million")
    if not areas and bbox is None:
        raise UsageError("fetch around what? name tracks, folders of frames or polygons, or give --bbox")
    pieces = [] if bbox is None else [_over(_polygon(bbox), "--bbox", zoom, across, margin_m)]
    for source in areas:
        if _holds_polygons(source):
            pieces += [_over(area.polygon, str(source), zoom, across, margin_m) for area in read_areas(source)]
        else:
            pieces.append(_around(source, zoom, across, margin_m))
    tiles = np.unique(np.concatenate(pieces), axis=0)
    if not len(tiles):
        raise InputError("no tile of Web Mercator, which ends at 85.0511 degrees, lies there")
    return tiles


def read_box(text: str) -> Box:
    """W,S,E,N in degrees. Raises UsageError."""
    try:
        west, south, east, north = (float(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(f"--bbox {text}: must be four numbers, WEST,SOUTH,EAST,NORTH in degrees") from error
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90 and west != east):
        raise UsageError(f"--bbox {text}: no box; give WEST,SOUTH,EAST,NORTH in degrees, south below north")
    return west, south, east, north


def _around(source: Source, zoom: int, across: int, margin_m: float) -> Ints:
    try:
        latlon_deg = read_places([source], split="all").latlon_deg
    except VgeoError as error:
        raise type(error)(str(error).partition(", or build a gallery")[0]) from error
    shown = np.abs(latlon_deg[:, 0]) <= MAX_LAT_DEG
    if not shown.all():
        log.warning(
            "%s: %d of %d positions lie outside Web Mercator, which ends at 85.0511 degrees, and are left out",
            source, (~shown).sum(), len(shown),
        )  # fmt: skip
    return tile_cover.around(latlon_deg[shown], zoom, across, margin_m)


def _polygon(box: Box) -> BaseGeometry:
    west, south, east, north = box
    return shapely.box(west, south, east if east > west else east + 360, north)


def _over(polygon: BaseGeometry, where: str, zoom: int, across: int, margin_m: float) -> Ints:
    """The tiles that are needed around every position in a polygon: from the whole map down, quarter by quarter."""
    south, north = np.clip([polygon.bounds[1], polygon.bounds[3]], -MAX_LAT_DEG, MAX_LAT_DEG)
    if polygon.bounds[1] > MAX_LAT_DEG or polygon.bounds[3] < -MAX_LAT_DEG:
        raise InputError(f"{where}: lies outside Web Mercator, which ends at 85.0511 degrees")
    half = float(tile_cover.reach([south, north], zoom, across, margin_m).max())
    shapely.prepare(polygon)
    tiles = np.zeros((1, 2), np.int64)
    for level in range(zoom + 1):
        if level:
            tiles = (2 * tiles[:, None] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])).reshape(-1, 2)
        tiles = tiles[_needed(polygon, tiles, level, half / 2 ** (zoom - level))]
        _guard(polygon, tiles, level, 4.0 ** (zoom - level))
    return tiles


def _guard(polygon: BaseGeometry, tiles: Ints, level: int, each: float) -> None:
    """Raise UsageError when tiles of `each` tiles of the last level are too many: long before that one is reached."""
    if len(tiles) * each > tile_cover.MOST_TILES:
        whole = len(tiles) if each == 1 else int(_met(shapely.contains_properly, polygon, tiles, level, 0.0).sum())
        if whole * each > tile_cover.MOST_TILES:
            raise tile_cover.too_many(whole * each)


def _needed(polygon: BaseGeometry, tiles: Ints, level: int, half: float) -> NDArray[np.bool_]:
    """Which tiles, widened by `half` tiles on each side, meet the polygon."""
    return _met(shapely.intersects, polygon, tiles, level, half)


def _met(
    relation: Callable[..., NDArray[np.bool_]], polygon: BaseGeometry, tiles: Ints, level: int, half: float
) -> NDArray[np.bool_]:
    """Where a relation between the polygon, whose longitudes may run past ±180, and the widened tiles holds."""
    low, high = tiles - half + _HAIR, tiles + 1 + half - _HAIR
    west, east = (edge[:, 0] / 2**level * 360 - 180 for edge in (low, high))
    north, south = (latitudes(edge[:, 1], level) for edge in (low, high))
    found = np.zeros(len(tiles), bool)
    for turn in (-360, 0, 360):
        found |= relation(polygon, shapely.box(west + turn, south, east + turn, north))
    return found


def _holds_polygons(source: Source) -> bool:
    """Whether a file is GeoJSON with polygons; one that is damaged is left to its reader."""
    if is_stdio(source) or Path(source).suffix.lower() not in (".json", ".geojson") or not Path(source).is_file():
        return False
    with suppress(json.JSONDecodeError, RecursionError):
        return any(kind in ("Polygon", "MultiPolygon") for kind in _kinds(json.loads(read_text(source))))
    return False


def _kinds(value: object) -> Iterator[object]:
    """The types of all geometries in GeoJSON."""
    if isinstance(value, list):
        for member in value:
            yield from _kinds(member)
    elif isinstance(value, dict):
        yield value.get("type")
        for name in ("features", "geometries", "geometry"):
            yield from _kinds(value.get(name))
