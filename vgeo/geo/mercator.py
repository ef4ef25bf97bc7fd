"""Where many positions lie on the map of Web Mercator at once; `geo/tiles.py` knows its tiles one by one."""

import numpy as np

from vgeo.geo.sphere import Floats, wrap_lon
from vgeo.geo.tiles import check_range


def map_position(latlon_deg: Floats, zoom: int) -> Floats:
    """East and south of positions [N, 2] on the map, in sides of a tile: the formula of mercantile, for many at once.

    Raises FormatError beyond the map.
    """
    check_range(latlon_deg, "a position")
    lat, lon = np.radians(latlon_deg[..., 0]), wrap_lon(latlon_deg[..., 1])
    east, south = (lon + 180) / 360, (1 - np.arcsinh(np.tan(lat)) / np.pi) / 2
    return np.stack([east, south], axis=-1) * 2.0**zoom
