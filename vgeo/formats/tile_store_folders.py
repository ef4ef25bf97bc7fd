"""Folders of tiles: `x_y.jpeg` anywhere below (GAMa's naming), or `z/x/y.jpeg`, with what a tiles.json says of them."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.streams import parse_json, read_text
from vgeo.formats.tile_store import (
    SAMPLES,
    SUFFIXES,
    Pixels,
    TileStore,
    check_picture,
    decode_tile,
    read_file,
    usual_size,
)
from vgeo.geo.tiles import MOST_ZOOM, ZOOM, Tile

log = logging.getLogger(__name__)

TILE_JSON = "tiles.json"
_X_Y = re.compile(r"([0-9]{1,9})_([0-9]{1,9})")
_NUMBER = re.compile(r"[0-9]{1,9}")


class FileTiles(TileStore):
    """Tiles that are files of their own."""

    def __init__(self, path: Path, zoom: int, files: dict[Tile, Path], attribution: str) -> None:
        self.path, self.zoom, self.attribution = path, zoom, attribution
        self._files = files
        every = sorted(files)
        some = [files[tile] for tile in every[:: max(1, len(every) // SAMPLES)]]
        self.size_px = usual_size((read_file(file), str(file)) for file in some)

    def tiles(self) -> list[Tile]:
        return sorted(self._files)

    def has(self, x: int, y: int) -> bool:
        return (x, y) in self._files

    def read(self, x: int, y: int) -> Pixels:
        file = self._file(x, y)
        return decode_tile(read_file(file), str(file), self.size_px)

    def check(self, x: int, y: int) -> bytes:
        file = self._file(x, y)
        return check_picture(read_file(file), str(file), self.size_px)

    def _file(self, x: int, y: int) -> Path:
        if (x, y) not in self._files:
            raise InputError(f"{self.path}: no tile {x}_{y} at zoom {self.zoom}; fetch it or build the gallery again")
        return self._files[x, y]


def open_folder(path: Path, zoom: int | None) -> FileTiles:
    """Open a folder of tiles of either naming. Raises as `open_tiles` does."""
    told = _tile_json(path / TILE_JSON)
    attribution = str(told.get("attribution") or "")
    levels = sorted(int(entry.name) for entry in path.iterdir() if _NUMBER.fullmatch(entry.name) and _is_level(entry))
    if levels:
        zoom = choose_zoom(path, levels, zoom)
        files = _collect(_of_level(path / str(zoom), zoom, str(told.get("scheme", "xyz")).lower() == "tms"))
    else:
        files = _collect(_named_x_y(path))
        zoom = _told_zoom(told) if zoom is None else zoom
    if not files:
        raise InputError(
            f"{path}: holds no tiles; they are named x_y.png, x_y.jpeg or z/x/y.png, or lie in an MBTiles file: "
            "'vgeo fetch-tiles' makes such a folder"
        )
    _check_numbers(path, files, zoom)
    return FileTiles(path, zoom, files, attribution)


def choose_zoom(path: Path, levels: list[int], zoom: int | None) -> int:
    """The wanted one of the zooms that a store has; None: its only one, or 19, or its deepest. Raises UsageError."""
    if zoom is None:
        zoom = ZOOM if ZOOM in levels else max(levels)
        if len(levels) > 1:
            log.info("%s: tiles of zoom %d; it has %s too", path, zoom, _listed(z for z in levels if z != zoom))
    if zoom not in levels:
        raise UsageError(f"{path}: no tiles of zoom {zoom}, but of {_listed(levels)}; choose one of them with --zoom")
    return zoom


def _listed(levels: Iterable[int]) -> str:
    return ", ".join(map(str, levels))


def _tile_json(file: Path) -> dict[str, Any]:
    """TileJSON beside the tiles; {} where there is none."""
    if not file.is_file():
        return {}
    told = parse_json(read_text(file, 2**24), file)
    if not isinstance(told, dict):
        raise FormatError(f"{file}: not TileJSON, which is an object")
    return told


def _told_zoom(told: dict[str, Any]) -> int:
    least, most = told.get("minzoom"), told.get("maxzoom")
    return least if isinstance(least, int) and least == most and 0 <= least <= MOST_ZOOM else ZOOM


def _is_level(folder: Path) -> bool:
    """Whether a folder named by a number holds others that are."""
    return folder.is_dir() and any(_NUMBER.fullmatch(entry.name) and entry.is_dir() for entry in folder.iterdir())


def _of_level(folder: Path, zoom: int, from_south: bool) -> Iterator[tuple[Tile, Path]]:
    for column in folder.iterdir():
        if _NUMBER.fullmatch(column.name) and column.is_dir():
            for file in column.iterdir():
                if file.suffix.lower() in SUFFIXES and _NUMBER.fullmatch(file.stem):
                    y = int(file.stem)
                    yield (int(column.name), 2**zoom - 1 - y if from_south else y), file


def _named_x_y(path: Path) -> Iterator[tuple[Tile, Path]]:
    for folder, _, names in os.walk(path):
        for name in names:
            stem, suffix = os.path.splitext(name)
            match = _X_Y.fullmatch(stem) if suffix.lower() in SUFFIXES else None
            if match:
                yield (int(match[1]), int(match[2])), Path(folder, name)


def _collect(found: Iterable[tuple[Tile, Path]]) -> dict[Tile, Path]:
    """One file a tile. One that lies in several folders is the same (GAMa's lie with each video that they show)."""
    files: dict[Tile, Path] = {}
    twice: list[tuple[Path, Path]] = []
    for tile, file in found:
        if tile not in files:
            files[tile] = file
            continue
        first, second = sorted((files[tile], file), key=_preference)
        files[tile] = first
        if first.parent == second.parent:
            twice.append((first, second))
    if twice:
        first, second = min(twice)
        log.warning(
            "%d tile%s there in two formats, such as %s and %s: the first is taken",
            len(twice), "s are" if len(twice) > 1 else " is", first, second.name,
        )  # fmt: skip
    return files


def _preference(file: Path) -> tuple[str, int, str]:
    return str(file.parent), SUFFIXES.index(file.suffix.lower()), file.name


def _check_numbers(path: Path, files: dict[Tile, Path], zoom: int) -> None:
    x, y = max(files, key=max)
    if max(x, y) >= 2**zoom:
        raise UsageError(
            f"{files[x, y]}: there is no tile {x}_{y} at zoom {zoom}, whose numbers end at {2**zoom - 1}; "
            f"say the tiles' own with --zoom, {max(x, y).bit_length()} or more"
        )
