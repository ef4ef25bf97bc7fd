"""Tiles of Web Mercator: squares numbered x eastward and y southward, 2^zoom on a side.

mercantile does the arithmetic. GAMa (ECCV 2022) takes its aerial pictures at zoom 19, where a tile is about 58 m on a
side at its latitudes. Pixels are counted over the whole map, eastward and southward from its north-western corner.
"""

import math

import mercantile
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.errors import FormatError, UsageError
from vgeo.geo.sphere import KM_PER_DEG, wrap_lon

Floats = NDArray[np.float64]
Tile = tuple[int, int]

ZOOM = 19  # of GAMa's pictures
TILE_PX = 256  # side of its tiles, in pixels
ACROSS = 7  # side of its regions, in tiles (sec. 3: 1792 of 256 pixels)
MOST_ZOOM = 24  # 1.5 cm a pixel; no imagery is finer
MAX_LAT_DEG = math.degrees(math.atan(math.sinh(math.pi)))  # 85.0511: beyond it the square map ends
HALF_M = mercantile.CE / 2  # of the map's side, in its own metres


def check_zoom(zoom: int) -> int:
    """Return the zoom. Raises UsageError for one that no map has."""
    if not 0 <= zoom <= MOST_ZOOM:
        raise UsageError(f"zoom {zoom}: must be from 0 to {MOST_ZOOM}")
    return zoom


def check_range(latlon_deg: ArrayLike, what: str) -> None:
    """Raise FormatError that names the first of positions [..., 2] which Web Mercator does not show."""
    beyond = ~(np.abs(np.asarray(latlon_deg, np.float64)[..., 0]) <= MAX_LAT_DEG)
    if beyond.any():
        lat = np.asarray(latlon_deg, np.float64)[..., 0][beyond].flat[0]
        raise FormatError(
            f"{what}: latitude {lat:g} is outside the tiles of Web Mercator, which end at 85.0511 degrees"
        )


def tile_of(latlon_deg: ArrayLike, zoom: int = ZOOM) -> Tile:
    """The tile x, y that holds a position. Raises FormatError beyond 85.0511 degrees."""
    check_range(latlon_deg, "a position")
    lat, lon = (float(value) for value in np.asarray(latlon_deg, np.float64))
    tile = mercantile.tile(float(wrap_lon(lon)), lat, zoom)
    return tile.x, tile.y


def square_of(x: int, y: int, zoom: int = ZOOM) -> tuple[Floats, float]:
    """The middle [2] of a tile and its side in metres on the ground."""
    middle = position(x + 0.5, y + 0.5, zoom)
    return middle, float(side_m(middle[0], zoom))


def side_m(lat_deg: ArrayLike, zoom: int) -> Floats:
    """Side of a tile in metres on the ground, at latitudes."""
    return np.asarray(360 / 2**zoom * KM_PER_DEG * 1000 * np.cos(np.radians(lat_deg)))


def bounds(x: int, y: int, zoom: int) -> tuple[Floats, Floats]:
    """South-western and north-eastern corner of a tile, each [2]."""
    box = mercantile.bounds(x, y, zoom)
    return np.array([box.south, box.west]), np.array([box.north, box.east])


def position(x: float, y: float, zoom: int) -> Floats:
    """The position [2] so many tiles east and south of the map's north-western corner."""
    side = 2 * HALF_M / 2**zoom
    at = mercantile.lnglat(x * side - HALF_M, HALF_M - y * side)
    return np.array([at.lat, float(wrap_lon(at.lng))])


def pixel_of(latlon_deg: ArrayLike, zoom: int, size_px: int) -> Floats:
    """East and south [2] of a position in pixels, of tiles of `size_px` on a side. Raises FormatError."""
    check_range(latlon_deg, "a position")
    lat, lon = (float(value) for value in np.asarray(latlon_deg, np.float64))
    east, north = mercantile.xy(float(wrap_lon(lon)), lat)
    return np.array([east + HALF_M, HALF_M - north]) / (2 * HALF_M) * 2**zoom * size_px


def block(x: int, y: int, across: int) -> list[Tile]:
    """The tiles of a square of them, row by row, from its north-western one."""
    return [(x + i, y + j) for j in range(across) for i in range(across)]
