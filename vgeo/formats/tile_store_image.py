"""A georeferenced image as tiles: a GeoTIFF, or what else holds its own pixels, warped to Web Mercator."""

import hashlib
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError, MissingModelError, UsageError, first_line
from vgeo.formats.tile_store import Pixels, TileStore
from vgeo.geo.tiles import HALF_M, MAX_LAT_DEG, ZOOM, Tile, tile_of

_MOST_TILES = 2**24  # that an image may cover, with and without data
_SAMPLES = 8  # points along a tile's side that must all show something
SIZE_PX = 256

# How files begin that hold their own pixels: TIFF and BigTIFF, JPEG 2000, Erdas Imagine, PNG, JPEG. Others, a VRT above
# all, name further files and addresses, which GDAL would open.
_BEGINNINGS = (
    b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"EHFA_HEADER_TAG", b"\x89PNG",
    b"\xff\xd8\xff",
)  # fmt: skip


class ImageTiles(TileStore):
    """Tiles cut out of one image; those that it shows only partly do not count."""

    def __init__(self, path: Path, zoom: int | None) -> None:
        self.path, self.zoom, self.size_px = path, ZOOM if zoom is None else zoom, SIZE_PX
        self._rasterio = _rasterio(path)
        self._local = threading.local()
        with self._opened() as image:
            self._channels = _channels(image, path)
            self.attribution = str(image.tags().get("TIFFTAG_COPYRIGHT") or image.tags().get("COPYRIGHT") or "")
            self._first, self._shape = self._extent(image)
            self._shown = self._find_shown(image)
        if not self._shown.any():
            raise InputError(
                f"{path}: shows no whole tile of zoom {self.zoom}; it may be too small, then take a larger --zoom"
            )

    def tiles(self) -> list[Tile]:
        return sorted((int(x + self._first[0]), int(y + self._first[1])) for y, x in np.argwhere(self._shown))

    def has(self, x: int, y: int) -> bool:
        column, row = x - self._first[0], y - self._first[1]
        inside = 0 <= row < self._shape[0] and 0 <= column < self._shape[1]
        return inside and bool(self._shown[row, column])

    def read(self, x: int, y: int) -> Pixels:
        if not self.has(x, y):
            raise InputError(f"{self.path}: does not show tile {x}_{y} of zoom {self.zoom}; build the gallery again")
        windows = self._rasterio.windows
        at = windows.Window((x - self._first[0]) * SIZE_PX, (y - self._first[1]) * SIZE_PX, SIZE_PX, SIZE_PX)
        try:
            bands = self._warped().read(self._channels, window=at)
        except (self._rasterio.errors.RasterioError, ValueError) as error:
            raise FormatError(f"{self.path}: tile {x}_{y} cannot be read ({first_line(error)})") from error
        return np.ascontiguousarray(np.moveaxis(bands, 0, -1))

    def check(self, x: int, y: int) -> bytes:
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def _opened(self) -> Any:
        with self.path.open("rb") as file:
            if not file.read(16).startswith(_BEGINNINGS):
                raise FormatError(f"{self.path}: not an image that can be read (a GeoTIFF, JPEG 2000 or Erdas Imagine)")
        try:
            image = self._rasterio.open(self.path)
        except self._rasterio.errors.RasterioError as error:
            raise FormatError(f"{self.path}: not an image that can be read ({first_line(error)})") from error
        if image.crs is None:
            image.close()
            raise FormatError(
                f"{self.path}: does not say where it lies (no coordinate system); add it with "
                "'gdal_edit.py -a_srs EPSG:CODE' or give a georeferenced image"
            )
        return image

    def _extent(self, image: Any) -> tuple[Tile, tuple[int, int]]:
        """The first tile under the image, and how many rows and columns of them there are."""
        try:
            west, south, east, north = self._rasterio.warp.transform_bounds(image.crs, "EPSG:4326", *image.bounds)
        except self._rasterio.errors.RasterioError as error:
            raise FormatError(f"{self.path}: its coordinates cannot be transformed ({first_line(error)})") from error
        if not all(np.isfinite((west, south, east, north))) or south > MAX_LAT_DEG or north < -MAX_LAT_DEG:
            raise FormatError(f"{self.path}: lies outside the tiles of Web Mercator, which end at 85.0511 degrees")
        if east < west:
            raise FormatError(f"{self.path}: lies across the antimeridian; cut it there and give one half")
        south, north = max(south, -MAX_LAT_DEG), min(north, MAX_LAT_DEG)
        first = tile_of((north, west), self.zoom)
        last = tile_of((south, min(east, 180 - 1e-9)), self.zoom)
        shape = (last[1] - first[1] + 1, last[0] - first[0] + 1)
        if shape[0] * shape[1] > _MOST_TILES:
            raise UsageError(
                f"{self.path}: lies over {shape[0] * shape[1]} tiles of zoom {self.zoom}; take a smaller --zoom"
            )
        return first, shape

    def _find_shown(self, image: Any) -> NDArray[np.bool_]:
        """Which tiles, [rows, columns], the image shows wholly: it is looked at coarsely, `_SAMPLES` points a side."""
        with self._warp(image, _SAMPLES) as coarse:
            shown = coarse.dataset_mask() > 0
        rows, columns = self._shape
        return shown.reshape(rows, _SAMPLES, columns, _SAMPLES).all(axis=(1, 3))

    def _warped(self) -> Any:
        """The image in tiles' pixels, once a thread: GDAL's data sets are not shared between threads."""
        if not hasattr(self._local, "warped"):
            self._local.warped = self._warp(self._opened(), SIZE_PX, "bilinear")
        return self._local.warped

    def _warp(self, image: Any, tile_px: int, resampling: str = "nearest") -> Any:
        from rasterio.vrt import WarpedVRT

        side = 2 * HALF_M / 2**self.zoom / tile_px
        west, north = self._first[0] * tile_px * side - HALF_M, HALF_M - self._first[1] * tile_px * side
        return WarpedVRT(
            image,
            crs="EPSG:3857",
            transform=self._rasterio.Affine(side, 0, west, 0, -side, north),
            height=self._shape[0] * tile_px,
            width=self._shape[1] * tile_px,
            resampling=self._rasterio.enums.Resampling[resampling],
            add_alpha=image.nodata is None and not _has_alpha(image),
        )


def _rasterio(path: Path) -> Any:
    try:
        import rasterio
        import rasterio.warp
        import rasterio.windows
    except ImportError as error:
        raise MissingModelError(f"{path}: georeferenced images need rasterio; pip install 'vgeo[geotiff]'") from error
    return rasterio


def _has_alpha(image: Any) -> bool:
    return any(interpretation.name == "alpha" for interpretation in image.colorinterp)


def _channels(image: Any, path: Path) -> list[int]:
    """The bands of red, green and blue, counted from 1; grey stands for all three. Raises FormatError."""
    names = [interpretation.name for interpretation in image.colorinterp]
    if "palette" in names:
        raise FormatError(f"{path}: has a palette of colours; expand it with 'gdal_translate -expand rgb'")
    if all(name in names for name in ("red", "green", "blue")):
        channels = [names.index(name) + 1 for name in ("red", "green", "blue")]
    else:
        plain = [number for number, name in enumerate(names, start=1) if name != "alpha"]
        channels = plain[:3] if len(plain) >= 3 else [plain[0]] * 3
    kinds = {image.dtypes[number - 1] for number in channels}
    if kinds != {"uint8"}:
        raise FormatError(
            f"{path}: its values are {', '.join(sorted(kinds))}, not bytes; scale them with "
            "'gdal_translate -ot Byte -scale'"
        )
    return channels
