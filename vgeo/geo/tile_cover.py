"""Which Web Mercator tiles lie under squares around positions."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.errors import UsageError
from vgeo.geo.sphere import KM_PER_DEG, wrap_lon
from vgeo.geo.tiles import MAX_LAT_DEG

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_TILES = 5_000_000  # ours: what is listed at once
_SLACK_PX = 1  # crops begin at whole pixels
_SIZE_PX = 256


def reach(lat_deg: ArrayLike, zoom: int, across: int, margin_m: float) -> Floats:
    """How many tiles to each side a square of `across` tiles and a margin in metres reach, at latitudes."""
    lat = np.clip(np.asarray(lat_deg, np.float64), -MAX_LAT_DEG, MAX_LAT_DEG)
    tile_m = 360 / 2**zoom * KM_PER_DEG * 1000 * np.cos(np.radians(lat))
    return across / 2 + margin_m / tile_m + (_SLACK_PX / _SIZE_PX if across else 0.0)


def fractions(latlon_deg: ArrayLike, zoom: int) -> Floats:
    """Positions [N, 2] as tiles east and south of the map's north-western corner, with fractions."""
    lat, lon = np.moveaxis(np.asarray(latlon_deg, np.float64), -1, 0)
    south = (1 - np.arcsinh(np.tan(np.radians(np.clip(lat, -MAX_LAT_DEG, MAX_LAT_DEG)))) / np.pi) / 2
    return np.stack([(wrap_lon(lon) + 180) / 360, south], axis=-1) * 2**zoom


def latitudes(south: ArrayLike, zoom: int) -> Floats:
    """Latitudes of rows of tiles, counted from the north, with fractions."""
    return np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * np.asarray(south, np.float64) / 2**zoom))))


def around(latlon_deg: ArrayLike, zoom: int, across: int = 1, margin_m: float = 0.0) -> Ints:
    """The tiles x, y [T, 2] under squares around positions [N, 2], each once, from west to east and north to south.

    across: side of the squares in tiles, 0 for the tiles of the positions alone. Raises UsageError for too many.
    """
    at, n = fractions(latlon_deg, zoom), 2**zoom
    half = reach(np.asarray(latlon_deg, np.float64)[:, 0], zoom, across, margin_m)[:, None]
    first = np.floor(at - half).astype(np.int64)
    last = np.maximum(np.ceil(at + half).astype(np.int64) - 1, first)
    last[:, 0] = np.minimum(last[:, 0], first[:, 0] + n - 1)  # once around the Earth
    first[:, 1], last[:, 1] = np.clip(first[:, 1], 0, n - 1), np.clip(last[:, 1], 0, n - 1)
    boxes = np.unique(np.concatenate([first, last], axis=1), axis=0)
    width, height = boxes[:, 2] - boxes[:, 0] + 1, boxes[:, 3] - boxes[:, 1] + 1
    sizes = width * height
    if (total := sizes.astype(np.float64).sum()) > 4 * MOST_TILES:
        raise too_many(total)
    number = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    of_box = np.repeat(np.arange(len(boxes)), sizes)
    x = (boxes[of_box, 0] + number % width[of_box]) % n
    y = boxes[of_box, 1] + number // width[of_box]
    return np.stack(np.divmod(np.unique(x * n + y), n), axis=1)


def too_many(count: float) -> UsageError:
    """What to say where more tiles are asked for than can be listed."""
    return UsageError(f"some {count:,.0f} tiles would cover that; take a smaller area, --margin-m or --zoom")
