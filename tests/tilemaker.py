"""Tiles whose pixels say where on the whole map they lie: any cut of them can be checked without the code that cuts."""

import io
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Tile = tuple[int, int]

SIZE = 32  # small tiles make fast tests


def world_pixels(left: int, top: int, width: int, height: int) -> Pixels:
    """What the whole map shows from a pixel on."""
    east, south = np.meshgrid(np.arange(left, left + width), np.arange(top, top + height))
    return np.stack([east % 251, south % 241, (east // 7 + south // 11) % 239], axis=-1).astype(np.uint8)


def tile_pixels(x: int, y: int, size: int = SIZE) -> Pixels:
    return world_pixels(x * size, y * size, size, size)


def encoded(pixels: Pixels, format: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format, **({"lossless": True} if format == "WEBP" else {}))
    return data.getvalue()


def square(x: int, y: int, across: int) -> list[Tile]:
    return [(x + i, y + j) for i in range(across) for j in range(across)]


def write_tiles(folder: Path, tiles: Iterable[Tile], size: int = SIZE, suffix: str = "png") -> Path:
    """`x_y.png`, as GAMa names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for x, y in tiles:
        kind = {"png": "PNG", "webp": "WEBP"}.get(suffix, "JPEG")
        (folder / f"{x}_{y}.{suffix}").write_bytes(encoded(tile_pixels(x, y, size), kind))
    return folder


def write_xyz(folder: Path, zoom: int, tiles: Iterable[Tile], size: int = SIZE) -> Path:
    for x, y in tiles:
        (folder / str(zoom) / str(x)).mkdir(parents=True, exist_ok=True)
        (folder / str(zoom) / str(x) / f"{y}.png").write_bytes(encoded(tile_pixels(x, y, size)))
    return folder


def write_mbtiles(
    path: Path, zoom: int, tiles: Iterable[Tile], size: int = SIZE, told: dict[str, str] | None = None
) -> Path:
    """As the specification has it: rows from the south."""
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE IF NOT EXISTS metadata (name text, value text)")
        columns = "zoom_level integer, tile_column integer, tile_row integer, tile_data blob"
        file.execute(f"CREATE TABLE IF NOT EXISTS tiles ({columns})")
        file.executemany("INSERT INTO metadata VALUES (?, ?)", (told or {}).items())
        for x, y in tiles:
            row = (zoom, x, 2**zoom - 1 - y, encoded(tile_pixels(x, y, size)))
            file.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", row)
    file.close()
    return path
