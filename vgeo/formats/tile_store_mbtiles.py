"""MBTiles 1.3: tiles in a SQLite file, their rows counted from the south."""

import sqlite3
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vgeo.errors import FormatError, InputError, first_line
from vgeo.formats.tile_store import SAMPLES, Pixels, TileStore, check_picture, decode_tile, usual_size
from vgeo.formats.tile_store_folders import choose_zoom
from vgeo.geo.tiles import Tile

_SIGNATURE = b"SQLite format 3\0"
_GZIP = b"\x1f\x8b"


class MBTiles(TileStore):
    """Tiles of an MBTiles file."""

    def __init__(self, path: Path, zoom: int | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = _open(path)
        told = {str(name): str(value) for name, value in self._rows("SELECT name, value FROM metadata")}
        self.attribution = told.get("attribution", "")
        if told.get("format", "").lower() == "pbf":
            raise _vector(path)
        levels = [int(row[0]) for row in self._rows("SELECT DISTINCT zoom_level FROM tiles ORDER BY zoom_level")]
        if not levels:
            raise InputError(f"{path}: holds no tiles; 'vgeo fetch-tiles' fetches some")
        self.zoom = choose_zoom(path, levels, zoom)
        first = f"SELECT tile_column, tile_row, tile_data FROM tiles WHERE zoom_level = ? LIMIT {SAMPLES}"
        some = [
            (bytes(row[2] or b""), self._name(row[0], self._flipped(row[1]))) for row in self._rows(first, self.zoom)
        ]
        if some[0][0].startswith(_GZIP):
            raise _vector(path)
        self.size_px = usual_size(some)

    def tiles(self) -> list[Tile]:
        rows = self._rows("SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ?", self.zoom)
        return sorted({(int(column), self._flipped(int(row))) for column, row in rows})

    def has(self, x: int, y: int) -> bool:
        where = "SELECT 1 FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ? LIMIT 1"
        return bool(self._rows(where, self.zoom, x, self._flipped(y)))

    def read(self, x: int, y: int) -> Pixels:
        return decode_tile(self._data(x, y), self._name(x, y), self.size_px)

    def check(self, x: int, y: int) -> bytes:
        return check_picture(self._data(x, y), self._name(x, y), self.size_px)

    def _data(self, x: int, y: int) -> bytes:
        where = "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ? LIMIT 1"
        found = self._rows(where, self.zoom, x, self._flipped(y))
        if not found:
            raise InputError(f"{self._name(x, y)}: no such tile; fetch it or build the gallery again")
        return bytes(found[0][0] or b"")

    def _rows(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._file.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise FormatError(f"{self.path}: not MBTiles that can be read ({first_line(error)})") from error

    def _flipped(self, row: int) -> int:
        return 2**self.zoom - 1 - row

    def _name(self, x: int, y: int) -> str:
        return f"{self.path} (zoom {self.zoom}, tile {x}_{y})"


def _open(path: Path) -> sqlite3.Connection:
    """Open for reading; a file that nobody is writing to gets no locks and no files beside it either."""
    try:
        with path.open("rb") as file:
            signature = file.read(len(_SIGNATURE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if signature != _SIGNATURE:
        raise FormatError(
            f"{path}: neither a folder of tiles nor MBTiles; georeferenced images are known by .tif, .vrt, .jp2 or .img"
        )
    log_beside = path.with_name(f"{path.name}-wal")
    quiet = "" if log_beside.exists() and log_beside.stat().st_size else "&immutable=1"
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro{quiet}", uri=True, check_same_thread=False)


def _vector(path: Path) -> FormatError:
    return FormatError(f"{path}: holds vector tiles (pbf); pictures are needed, such as png, jpg or webp tiles")
