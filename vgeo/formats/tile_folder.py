"""A folder of fetched tiles while it is filled: z/x/y.png (or .jpg, .webp), and tiles.json that says whose they are.

tiles.json is TileJSON 3.0. A tile under its final name is complete, and one process at a time writes here.
"""

import io
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from PIL import Image

from vgeo.errors import FormatError, InputError, OutputError, SettingError
from vgeo.formats.streams import (
    LOCK_FILE,
    atomic_write,
    dump_json,
    hold_folder,
    make_folder,
    parse_json,
    read_text,
    write_output,
)
from vgeo.geo.tiles import bounds

DESCRIPTION = "tiles.json"
SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_MINE = frozenset({LOCK_FILE, DESCRIPTION})

Tile = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSource:
    """Whose tiles they are, and what they look like."""

    template: str  # without any key
    attribution: str
    size_px: int


class TileFolder:
    """The folder, held by this process; use it as a context.

    Raises SettingError when it holds tiles of another source, OutputError when it holds something else or cannot be
    written, BusyError when another process writes into it.
    """

    def __init__(self, path: Path, source: TileSource, zoom: int, tiles: Iterable[Tile]) -> None:
        check_folder(path, source)
        self.path, self._source, self._zoom = make_folder(path), source, zoom
        if not os.access(path, os.W_OK):
            raise OutputError(f"{path}: cannot be written; choose another folder with --out")
        self._lock = hold_folder(path, "fetches into it")
        try:
            _sweep(path)
            write_output(path / DESCRIPTION, dump_json(_description(path, source, zoom, list(tiles)), indent=1))
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def store(self, tile: Tile, data: bytes) -> Path:
        """Write a tile's picture as it came. Raises FormatError, and writes nothing, unless it is one (`picture_kind`).

        Raises OutputError, DiskError.
        """
        suffix = picture_kind(data, self._source.size_px)
        x, y = tile
        path = make_folder(self.path / str(self._zoom) / str(x)) / f"{y}.{suffix}"
        with atomic_write(path) as file:
            file.write(data)
        return path


def stored(path: Path, zoom: int) -> set[Tile]:
    """The tiles of a zoom that are in the folder."""
    found = set()
    for x in _names(path / str(zoom)):
        for name in _names(path / str(zoom) / x) if x.isdecimal() else ():
            y, _, suffix = name.partition(".")
            if y.isdecimal() and suffix in SUFFIXES.values():
                found.add((int(x), int(y)))
    return found


def check_folder(path: Path, source: TileSource) -> None:
    """Raise SettingError for a folder of another source's tiles, OutputError for one of something else."""
    if not path.exists():
        return
    before = _read_description(path)
    if before is None:
        other = sorted(name for name in _names(path) if name not in _MINE)
        if not path.is_dir() or other:
            raise OutputError(f"{path}: holds {(other or ['no folder'])[0]} and no {DESCRIPTION}; choose another --out")
        return
    said = {"tiles": [source.template], "attribution": source.attribution, "tileSize": source.size_px}
    for name, value in said.items():
        if before.get(name) != value:
            raise SettingError(
                f"{path}: was fetched with {name} {before.get(name)!r}, not {value!r}; choose another folder with --out"
            )


def picture_kind(data: bytes, size_px: int) -> str:
    """The suffix of a picture by its content, which is decoded to its end.

    Raises FormatError for anything that is no whole PNG, JPEG or WebP of `size_px` x `size_px` pixels.
    """
    if not data:
        raise FormatError("an empty answer instead of a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=list(SUFFIXES)) as image:
                kind, size = str(image.format), image.size
                if size == (size_px, size_px):
                    image.verify()  # the checksums of PNG, to its last chunk
            if size == (size_px, size_px):
                with Image.open(io.BytesIO(data), formats=[kind]) as image:
                    image.load()
    except Image.UnidentifiedImageError as error:
        raise FormatError(f"no picture but {_resemblance(data)}") from error
    except Exception as error:  # decoders of damaged files raise whatever comes to them
        raise FormatError(f"a damaged or cut picture ({str(error)[:80]})") from error
    if size != (size_px, size_px):
        raise FormatError(f"a picture of {size[0]} x {size[1]} pixels, not {size_px}; see --size-px")
    return SUFFIXES[kind]


def _resemblance(data: bytes) -> str:
    """What an answer that is no picture looks like, with its beginning."""
    text = data[:400].decode("utf-8", "replace").strip()
    shown = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:80]
    if text.startswith("<"):
        return f"a web page or XML ({shown!r})"
    if text.startswith(("{", "[")):
        return f"JSON ({shown!r})"
    return f"{len(data)} bytes of something else"


def _description(path: Path, source: TileSource, zoom: int, tiles: list[Tile]) -> dict[str, Any]:
    """TileJSON of what is there and what is about to come."""
    before = _read_description(path) or {}
    columns, rows = [x for x, _ in tiles], [y for _, y in tiles]
    south_west, north_east = bounds(min(columns), max(rows), zoom)[0], bounds(max(columns), min(rows), zoom)[1]
    box = [float(edge) for edge in (south_west[1], south_west[0], north_east[1], north_east[0])]
    known = before.get("bounds")
    if isinstance(known, list) and len(known) == 4 and all(isinstance(edge, int | float) for edge in known):
        box = [*map(min, box[:2], known[:2]), *map(max, box[2:], known[2:])]
    return {
        "tilejson": "3.0.0",
        "tiles": [source.template],
        "vector_layers": [],  # the schema asks for it of pictures, too
        "scheme": "xyz",  # of this folder, whatever the server's
        "attribution": source.attribution,
        "minzoom": min(zoom, before.get("minzoom", zoom)),
        "maxzoom": max(zoom, before.get("maxzoom", zoom)),
        "bounds": [round(value, 7) for value in box],
        "tileSize": source.size_px,
    }


def _read_description(path: Path) -> dict[str, Any] | None:
    """tiles.json, None where there is none. Raises FormatError for one that is damaged."""
    try:
        said = parse_json(read_text(path / DESCRIPTION), path / DESCRIPTION)
    except InputError:
        return None
    zooms = (said.get("minzoom", 0), said.get("maxzoom", 0)) if isinstance(said, dict) else ("",)
    if not all(type(zoom) is int for zoom in zooms):
        raise FormatError(f"{path / DESCRIPTION}: is no TileJSON; choose another folder with --out")
    return dict(said)


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sweep(path: Path) -> None:
    """Remove what a killed process left unfinished."""
    for partial in (*path.glob(".*.partial"), *path.glob("[0-9]*/[0-9]*/.*.partial")):
        partial.unlink(missing_ok=True)
