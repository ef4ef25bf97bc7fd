"""Which Web Mercator tiles lie under squares around positions."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.errors import UsageError
from vgeo.geo.mercator import on_map
from vgeo.geo.sphere import Floats
from vgeo.geo.tiles import MAX_LAT_DEG, TILE_PX, side_m

Ints = NDArray[np.int64]

MOST_TILES = 5_000_000  # ours: what is listed at once
_SLACK_PX = 1  # crops begin at whole pixels


def reach(lat_deg: ArrayLike, zoom: int, across: int, margin_m: float) -> Floats:
    """How many tiles to each side a square of `across` tiles and a margin in metres reach, at latitudes."""
    lat = np.clip(np.asarray(lat_deg, np.float64), -MAX_LAT_DEG, MAX_LAT_DEG)
    return across / 2 + margin_m / side_m(lat, zoom) + (_SLACK_PX / TILE_PX if across else 0.0)


def around(latlon_deg: ArrayLike, zoom: int, across: int = 1, margin_m: float = 0.0) -> Ints:
    """The tiles x, y [T, 2] under squares around positions [N, 2], each once, from west to east and north to south.

    across: side of the squares in tiles, 0 for the tiles of the positions alone. Raises UsageError for too many.
    """
    at, n = on_map(latlon_deg, zoom), 2**zoom
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
