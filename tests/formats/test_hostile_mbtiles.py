"""MBTiles of strangers: values of other types, tiles that no zoom has, views without end. One clear line each."""

import signal
import sqlite3
import threading
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from vgeo.errors import FormatError
from vgeo.formats import tile_store_mbtiles
from vgeo.formats.tile_store import open_tiles

TABLE = "CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)"
ENDLESS = (
    "CREATE VIEW tiles AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) "
    "SELECT 19 AS zoom_level, i AS tile_column, 5 AS tile_row, zeroblob(9) AS tile_data FROM n"
)


def picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (16, 16), (1, 2, 3)).save(file, "png")
    return file.getvalue()


def written(path: Path, rows: list[tuple[object, ...]], schema: str = TABLE) -> Path:
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE metadata (name, value)")
        file.execute(schema)
        if rows:  # a view takes none
            file.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
    file.close()
    return path


@pytest.mark.parametrize(
    "row, said",
    [
        ((19, 1, 2, "text"), "not a picture, but str"),
        ((19, 1, 2, 7), "not a picture, but int"),
        (("nineteen", 1, 2, b""), "zoom 'nineteen', which there is not"),
        ((99, 1, 2, b""), "zoom 99, which there is not"),
        ((-1, 1, 2, b""), "zoom -1"),
        ((19, -1, 2, b""), "column -1 and row 2, which zoom 19 does not have"),
        ((3, 1, 8, b""), "column 1 and row 8, which zoom 3 does not have"),
        ((19, 1.5, 2, b""), "column 1.5"),
        ((19, 1, None, b""), "row None"),
        ((19, 1, 2, bytes(2**26 + 1)), "too big"),
    ],
)
def test_rows_that_are_no_tiles(row: tuple[object, ...], said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.mbtiles", [row])
    with pytest.raises(FormatError, match=said):
        open_tiles(path)


def test_a_bad_row_after_good_ones(tmp_path: Path) -> None:
    store = open_tiles(
        written(tmp_path / "t.mbtiles", [(19, x, 2, picture()) for x in range(20)] + [(19, 2**19, 2, b"")])
    )
    with pytest.raises(FormatError, match="column 524288"):
        store.tiles()


def test_a_view_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_store_mbtiles, "_LONGEST_S", 0.2)
    with pytest.raises(FormatError, match=r"not read within 0\.2 s; are its tiles a view without end"):
        open_tiles(written(tmp_path / "t.mbtiles", [], ENDLESS))


def test_a_view_without_end_is_interrupted(tmp_path: Path) -> None:
    path = written(tmp_path / "t.mbtiles", [], ENDLESS)
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        open_tiles(path)


def test_digits_of_other_scripts_are_no_numbers(tmp_path: Path) -> None:
    for name in ("5_6.png", "\uff11_\uff12.png", "-1_2.png", "1_2_3.png"):
        (tmp_path / name).write_bytes(picture())
    assert open_tiles(tmp_path).tiles() == [(5, 6)]
