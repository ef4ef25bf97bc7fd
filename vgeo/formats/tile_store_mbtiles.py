"""MBTiles 1.3: tiles in a SQLite file, their rows counted from the south."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vgeo.errors import FormatError, InputError, first_line
from vgeo.formats.tile_store import SAMPLES, Pixels, TileStore, check_picture, decode_tile, usual_size
from vgeo.formats.tile_store_folders import choose_zoom
from vgeo.geo.tiles import MOST_ZOOM, Tile

_MOST_TILES = 2**24  # of one zoom
_MOST_BYTES = 2**26  # of one tile
_LONGEST_S = 120.0  # of a query: tiles are often a view, and one from a stranger may have no end
_CHECK_STEPS = 100_000  # of SQLite's machine, between two looks at the clock: a millisecond
_SIGNATURE = b"SQLite format 3\0"
_GZIP = b"\x1f\x8b"


class MBTiles(TileStore):
    """Tiles of an MBTiles file."""

    def __init__(self, path: Path, zoom: int | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._until_s = 0.0
        self._file = _open(path)
        self._file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
        self._file.set_progress_handler(self._late, _CHECK_STEPS)
        told = {str(name): str(value) for name, value in self._rows("SELECT name, value FROM metadata")}
        self.attribution = told.get("attribution", "")
        if told.get("format", "").lower() == "pbf":
            raise _vector(path)
        levels = [row[0] for row in self._rows("SELECT DISTINCT zoom_level FROM tiles ORDER BY zoom_level")]
        if odd := [level for level in levels if not isinstance(level, int) or not 0 <= level <= MOST_ZOOM]:
            raise FormatError(f"{path}: has tiles of zoom {odd[0]!r:.20}, which there is not; make the file again")
        if not levels:
            raise InputError(f"{path}: holds no tiles; 'vgeo fetch-tiles' fetches some")
        self.zoom = choose_zoom(path, levels, zoom)
        first = f"SELECT tile_column, tile_row, tile_data FROM tiles WHERE zoom_level = ? LIMIT {SAMPLES}"
        some = [
            (self._bytes(data, name := self._name(*self._tile(column, row))), name)
            for column, row, data in self._rows(first, self.zoom)
        ]
        if some[0][0].startswith(_GZIP):
            raise _vector(path)
        self.size_px = usual_size(some)

    def tiles(self) -> list[Tile]:
        every = f"SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ? LIMIT {_MOST_TILES + 1}"
        rows = self._rows(every, self.zoom)
        if len(rows) > _MOST_TILES:
            raise FormatError(f"{self.path}: more than {_MOST_TILES} tiles of zoom {self.zoom}; cut a part out of it")
        return sorted({self._tile(column, row) for column, row in rows})

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
        return self._bytes(found[0][0], self._name(x, y))

    def _tile(self, column: Any, row: Any) -> Tile:
        """A tile by what the file says of it. Raises FormatError."""
        if not (
            isinstance(column, int) and isinstance(row, int) and 0 <= min(column, row) <= max(column, row) < self._side
        ):
            raise FormatError(
                f"{self.path}: has a tile of column {column!r:.20} and row {row!r:.20}, which zoom {self.zoom} does "
                "not have; make the file again"
            )
        return column, self._flipped(row)

    def _bytes(self, data: Any, name: str) -> bytes:
        if not isinstance(data, bytes | None):
            raise FormatError(f"{name}: not a picture, but {type(data).__name__}; make the file again")
        return data or b""

    def _late(self) -> bool:
        """Whether SQLite is to give up."""
        return time.monotonic() > self._until_s

    def _rows(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                self._until_s = time.monotonic() + _LONGEST_S
                return self._file.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if self._late():
                raise FormatError(
                    f"{self.path}: not read within {_LONGEST_S:g} s; are its tiles a view without end?"
                ) from error
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:  # a signal, which SQLite swallows
                raise KeyboardInterrupt from None
            raise FormatError(f"{self.path}: not MBTiles that can be read ({first_line(error)})") from error

    def _flipped(self, row: int) -> int:
        return self._side - 1 - row

    @property
    def _side(self) -> int:
        """How many tiles the map has from north to south."""
        side: int = 2**self.zoom
        return side

    def _name(self, x: int, y: int) -> str:
        return f"{self.path} (zoom {self.zoom}, tile {x}_{y})"


def _open(path: Path) -> sqlite3.Connection:
    """Open for reading; a file that nobody is writing to gets no locks and no files beside it either."""
    try:
        if path.exists() and not path.is_file():  # not even opened: of a pipe that would be waited for
            raise InputError(f"{path}: not a file; MBTiles cannot be read from pipes or devices")
        with path.open("rb") as file:
            signature = file.read(len(_SIGNATURE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if signature != _SIGNATURE:
        raise FormatError(
            f"{path}: neither a folder of tiles nor MBTiles; georeferenced images are known by .tif, .jp2 or .img"
        )
    log_beside = path.with_name(f"{path.name}-wal")
    quiet = "" if log_beside.exists() and log_beside.stat().st_size else "&immutable=1"
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro{quiet}", uri=True, check_same_thread=False)


def _vector(path: Path) -> FormatError:
    return FormatError(f"{path}: holds vector tiles (pbf); pictures are needed, such as png, jpg or webp tiles")
