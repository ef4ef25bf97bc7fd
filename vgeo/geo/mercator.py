"""Where many positions lie on the map of Web Mercator at once; `geo/tiles.py` knows its tiles one by one."""

import numpy as np
from numpy.typing import ArrayLike

from vgeo.geo.sphere import Floats, wrap_lon
from vgeo.geo.tiles import MAX_LAT_DEG, check_range


def map_position(latlon_deg: ArrayLike, zoom: int) -> Floats:
    """East and south of positions [N, 2] on the map, in sides of a tile: the formula of mercantile, for many at once.

    Raises FormatError beyond the map.
    """
    check_range(latlon_deg, "a position")
    return on_map(latlon_deg, zoom)


def on_map(latlon_deg: ArrayLike, zoom: int) -> Floats:
    """As `map_position`; what lies beyond the map is put on its edge."""
    lat, lon = np.moveaxis(np.asarray(latlon_deg, np.float64), -1, 0)
    south = (1 - np.arcsinh(np.tan(np.radians(np.clip(lat, -MAX_LAT_DEG, MAX_LAT_DEG)))) / np.pi) / 2
    return np.stack([(wrap_lon(lon) + 180) / 360, south], axis=-1) * 2.0**zoom


def latitudes(south: ArrayLike, zoom: int) -> Floats:
    """Latitudes of rows of tiles, counted from the north, with fractions."""
    return np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * np.asarray(south, np.float64) / 2**zoom))))
