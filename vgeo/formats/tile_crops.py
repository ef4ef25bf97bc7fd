"""Pictures that do not end where tiles end: stitched from neighbours, of which the last used stay decoded."""

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from vgeo.errors import FormatError
from vgeo.formats.tile_store import Pixels, TileStore
from vgeo.geo.tiles import Tile, pixel_of

_KEPT_BYTES = 64 * 2**20  # 340 tiles of 256 x 256


class TileCrops:
    """Squares of a store's tiles. Threads may read at once."""

    def __init__(self, store: TileStore, kept_bytes: int = _KEPT_BYTES) -> None:
        self.store = store
        self._most = max(1, kept_bytes // (store.size_px**2 * 3))
        self._kept: OrderedDict[Tile, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def tile(self, x: int, y: int) -> Pixels:
        """A tile, which callers must not change."""
        with self._lock:
            if (x, y) in self._kept:
                self._kept.move_to_end((x, y))
                return self._kept[x, y]
        pixels = self.store.read(x, y)
        with self._lock:
            self._kept[x, y] = pixels
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return pixels

    def square(self, left_px: int, top_px: int, side_px: int) -> Pixels:
        """A square of the map [side, side, 3] from its north-western pixel. Raises InputError for a missing tile."""
        size = self.store.size_px
        picture = np.empty((side_px, side_px, 3), np.uint8)
        for x, y in under(left_px, top_px, side_px, self.store.zoom, size):
            # Eastward of its left edge on a map that goes on around the Earth.
            east, south = (x * size - left_px + size) % (size * 2**self.store.zoom) - size, y * size - top_px
            columns, rows = slice(max(east, 0), east + size), slice(max(south, 0), south + size)
            part = picture[rows, columns]
            part[:] = self.tile(x, y)[max(-south, 0) :, max(-east, 0) :][: part.shape[0], : part.shape[1]]
        return picture

    def crop(self, latlon_deg: ArrayLike, side_px: int) -> Pixels:
        """A square around a position, which lies within half a pixel of its middle."""
        return self.square(*corner(latlon_deg, side_px, self.store), side_px)

    def shrunk(self, left_px: int, top_px: int, across: int) -> Pixels:
        """A square of `across` tiles a side, made as small as one tile (bilinear, with antialiasing)."""
        size = self.store.size_px
        whole = self.square(left_px, top_px, across * size)
        return np.asarray(Image.fromarray(whole).resize((size, size), Image.Resampling.BILINEAR))


def corner(latlon_deg: ArrayLike, side_px: int, store: TileStore) -> tuple[int, int]:
    """The north-western pixel of a square around a position."""
    left, top = np.rint(pixel_of(latlon_deg, store.zoom, store.size_px) - side_px / 2)
    return int(left), int(top)


def under(left_px: int, top_px: int, side_px: int, zoom: int, size_px: int) -> list[Tile]:
    """The tiles that a square lies on. Raises FormatError for one that leaves the map northward or southward."""
    first, last = top_px // size_px, (top_px + side_px - 1) // size_px
    if first < 0 or last >= 2**zoom:
        raise FormatError("a square reaches beyond the tiles of Web Mercator, which end at 85.0511 degrees")
    columns = range(left_px // size_px, (left_px + side_px - 1) // size_px + 1)
    return [(x % 2**zoom, y) for y in range(first, last + 1) for x in columns]
