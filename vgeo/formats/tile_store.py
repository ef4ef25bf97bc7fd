"""Where aerial tiles lie: folders of pictures, an MBTiles file or a georeferenced image, all read alike.

A store shows one zoom of Web Mercator, in tiles of one size; it never changes what it reads.
"""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgeo.errors import FormatError, InputError, first_line
from vgeo.geo.tiles import Tile, check_zoom

Pixels = NDArray[np.uint8]

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")  # of a tile in two formats, the first of these is taken
_RASTERS = (".tif", ".tiff", ".jp2", ".img")
SAMPLES = 9  # tiles that a store's size is seen from
_MOST_PIXELS = 2**26  # of one picture; what claims more is no tile
_DAMAGE = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, ArithmeticError, MemoryError)


class TileStore(Protocol):
    """Tiles x, y of one zoom. Threads may read at once."""

    path: Path
    zoom: int
    size_px: int  # side of each tile
    attribution: str  # whom to name where the pictures are shown; "" where the store does not say

    def tiles(self) -> list[Tile]:
        """All tiles, sorted."""
        ...

    def has(self, x: int, y: int) -> bool:
        """Whether it shows a tile."""
        ...

    def read(self, x: int, y: int) -> Pixels:
        """The picture of a tile, uint8 [S, S, 3] RGB. Raises InputError or FormatError that names it."""
        ...

    def check(self, x: int, y: int) -> bytes:
        """Look at a tile without decoding it; return what tells its content. Raises as `read` does."""
        ...


def open_tiles(path: str | os.PathLike[str], zoom: int | None = None) -> TileStore:
    """Open a folder of x_y pictures, a folder of z/x/y pictures, an MBTiles file or a georeferenced image.

    zoom: None takes what the store has, 19 where it has several or does not say. Raises InputError for nothing there,
    FormatError, UsageError for a zoom that it lacks, MissingModelError where a package is missing.
    """
    place = Path(path)
    if zoom is not None:
        check_zoom(zoom)
    if place.is_dir():
        from vgeo.formats.tile_store_folders import open_folder

        return open_folder(place, zoom)
    if not place.exists():
        raise InputError(f"{place}: no such folder or file of tiles; 'vgeo fetch-tiles' makes one")
    if place.suffix.lower() in _RASTERS:
        from vgeo.formats.tile_store_image import ImageTiles

        return ImageTiles(place, zoom)
    from vgeo.formats.tile_store_mbtiles import MBTiles

    return MBTiles(place, zoom)


def picture_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height that a picture's header claims. Raises FormatError that names it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _check_claim(image.size, name)
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise FormatError(f"{name}: {_not_a_picture(data)}") from error


def usual_size(samples: Iterable[tuple[bytes, str]]) -> int:
    """The width that most of some tiles (bytes, name) claim, the first of equals. Raises FormatError where none is."""
    sizes: Counter[int] = Counter()
    failed: FormatError | None = None
    for data, name in samples:
        try:
            sizes[picture_size(data, name)[0]] += 1
        except FormatError as error:
            failed = failed or error
    if not sizes:
        raise failed or FormatError("no tile to look at")
    return sizes.most_common(1)[0][0]


def check_picture(data: bytes, name: str, size_px: int) -> bytes:
    """Return a digest of a tile's bytes. Raises FormatError unless its header claims the size and its end is there."""
    width, height = picture_size(data, name)
    if (width, height) != (size_px, size_px):
        raise FormatError(
            f"{name}: is {width} x {height} pixels, the other tiles are {size_px} x {size_px}; keep tiles of one size"
        )
    if _is_cut(data):
        raise FormatError(f"{name}: cut short; fetch this tile again")
    return hashlib.sha256(data).digest()


def decode_picture(data: bytes, name: str) -> Pixels:
    """Decode a picture: uint8 [H, W, 3] RGB. Raises FormatError that names it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_claim(image.size, name)
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Image.UnidentifiedImageError as error:
        raise FormatError(f"{name}: {_not_a_picture(data)}") from error
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise FormatError(f"{name}: damaged ({first_line(error)}); fetch this tile again") from error


def decode_tile(data: bytes, name: str, size_px: int) -> Pixels:
    """Decode a tile of a known size. Raises FormatError that names it."""
    pixels = decode_picture(data, name)
    if pixels.shape[:2] != (size_px, size_px):
        height, width = pixels.shape[:2]
        raise FormatError(f"{name}: is {width} x {height} pixels, expected {size_px} x {size_px}")
    return pixels


def read_file(path: Path) -> bytes:
    """The bytes of a tile's file. Raises InputError."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: the tile is gone; put it back or build the gallery again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _is_cut(data: bytes) -> bool:
    """Whether a PNG, JPEG or WebP lacks its end, which is seen without decoding it."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-4096:]  # some programs write more behind the end
    return data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _check_claim(size: tuple[int, int], name: str) -> tuple[int, int]:
    if size[0] * size[1] > _MOST_PIXELS:
        raise FormatError(f"{name}: claims {size[0]} x {size[1]} pixels, too many for a tile")
    return size


def _not_a_picture(data: bytes) -> str:
    if not data:
        return "empty; fetch this tile again"
    if data.lstrip()[:1] == b"<":
        return "holds HTML or XML, not a picture; fetch this tile again"
    return "not a picture that can be read; fetch this tile again"
