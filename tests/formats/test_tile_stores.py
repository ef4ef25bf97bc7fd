"""Folders of tiles and MBTiles: the same pictures from all of them, and one clear line for each that is not."""

import hashlib
import json
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tilemaker import SIZE, encoded, square, tile_pixels, write_mbtiles, write_tiles, write_xyz

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.tile_store import TileStore, open_tiles

TILES = square(1000, 2000, 3)


def made(kind: str, folder: Path) -> Path:
    if kind == "mbtiles":
        return write_mbtiles(folder / "t.mbtiles", 19, TILES)
    if kind == "xyz":
        return write_xyz(folder / "xyz", 19, TILES)
    return write_tiles(folder / "plain", TILES, suffix=kind)


def check(store: TileStore) -> None:
    assert store.zoom == 19 and store.size_px == SIZE
    assert store.tiles() == sorted(TILES)
    assert store.has(1001, 2002) and not store.has(2002, 1001)
    for x, y in TILES:
        assert np.array_equal(store.read(x, y), tile_pixels(x, y))
        assert store.read(x, y).dtype == np.uint8
    assert len({store.check(x, y) for x, y in TILES}) == len(TILES)
    with pytest.raises(InputError, match="5_6"):
        store.read(5, 6)


@pytest.mark.parametrize("kind", ["png", "webp", "xyz", "mbtiles"])
def test_the_same_tiles_from_everywhere(kind: str, tmp_path: Path) -> None:
    check(open_tiles(made(kind, tmp_path)))


def test_jpeg_and_subfolders_as_gama_has_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """satelite_data/val/<video>/<x_y>.jpeg: a tile may lie with several videos."""
    write_tiles(tmp_path / "val" / "a.mov", TILES[:6], suffix="jpeg")
    write_tiles(tmp_path / "val" / "b.mov", TILES[3:], suffix="jpeg")
    (tmp_path / "val" / "b.mov" / "cover.jpeg").write_bytes(b"no tile")
    store = open_tiles(tmp_path)
    assert store.tiles() == sorted(TILES)
    assert np.abs(store.read(1000, 2000).astype(int) - tile_pixels(1000, 2000))[5:-5, 5:-5].mean() < 25
    assert not caplog.records


def test_duplicate_tiles_in_two_formats(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiles(tmp_path, TILES, suffix="jpg")
    write_tiles(tmp_path, TILES[:2], suffix="png")
    store = open_tiles(tmp_path)
    assert np.array_equal(store.read(*TILES[0]), tile_pixels(*TILES[0]))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"2 tiles are there in two formats, such as {tmp_path}/1000_2000.png and 1000_2000.jpg: the first is taken"
    )


def test_what_tiles_json_says(tmp_path: Path) -> None:
    write_xyz(tmp_path, 17, TILES)
    (tmp_path / "tiles.json").write_text(json.dumps({"tilejson": "3.0.0", "attribution": "© city", "scheme": "xyz"}))
    store = open_tiles(tmp_path)
    assert (store.attribution, store.zoom, store.tiles()) == ("© city", 17, sorted(TILES))
    (tmp_path / "tiles.json").write_text(json.dumps({"scheme": "tms"}))
    store = open_tiles(tmp_path)
    assert store.tiles() == sorted((x, 2**17 - 1 - y) for x, y in TILES)
    assert np.array_equal(store.read(1000, 2**17 - 1 - 2001), tile_pixels(1000, 2001))
    plain = write_tiles(tmp_path / "plain", TILES)
    (plain / "tiles.json").write_text(json.dumps({"minzoom": 18, "maxzoom": 18, "attribution": "us"}))
    assert (open_tiles(plain).zoom, open_tiles(plain, 20).zoom, open_tiles(plain).attribution) == (18, 20, "us")
    for text, says in (("[]", "not TileJSON"), ("{", "not JSON")):
        (plain / "tiles.json").write_text(text)
        with pytest.raises(FormatError, match=says):
            open_tiles(plain)


@pytest.mark.parametrize("kind", ["xyz", "mbtiles"])
def test_several_zooms(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vgeo")
    write = write_xyz if kind == "xyz" else write_mbtiles
    path = tmp_path / kind
    for zoom in (17, 18, 20):
        write(path, zoom, TILES[: zoom - 16])
    assert open_tiles(path).zoom == 20
    assert "it has 17, 18 too" in caplog.text
    assert (open_tiles(path, 18).zoom, len(open_tiles(path, 18).tiles())) == (18, 2)
    write(path, 19, TILES)
    assert open_tiles(path).zoom == 19
    with pytest.raises(UsageError, match="no tiles of zoom 16, but of 17, 18, 19, 20; choose one of them with --zoom"):
        open_tiles(path, 16)
    with pytest.raises(UsageError, match="zoom 30: must be"):
        open_tiles(path, 30)


def test_mbtiles_are_never_changed(tmp_path: Path) -> None:
    path = write_mbtiles(tmp_path / "t.mbtiles", 19, TILES, told={"attribution": "<a>us</a>", "format": "png"})
    before, state = hashlib.sha256(path.read_bytes()).digest(), path.stat()
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        store = open_tiles(path)
        check(store)
        assert store.attribution == "<a>us</a>"
    finally:
        tmp_path.chmod(0o755)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert path.stat().st_mtime_ns == state.st_mtime_ns
    assert [file.name for file in tmp_path.iterdir()] == ["t.mbtiles"]


def test_mbtiles_that_another_program_is_writing(tmp_path: Path) -> None:
    path = write_mbtiles(tmp_path / "t.mbtiles", 19, TILES[:4])
    with sqlite3.connect(path) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
    write_mbtiles(path, 19, [])
    holder = sqlite3.connect(path)
    for x, y in TILES[4:]:
        row = (19, x, 2**19 - 1 - y, encoded(tile_pixels(x, y)))
        holder.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", row)
    holder.commit()  # only in the log beside the file so far
    check(open_tiles(path))
    holder.close()


@pytest.mark.parametrize("kind", ["png", "mbtiles"])
def test_threads_read_at_once(kind: str, tmp_path: Path) -> None:
    store = open_tiles(made(kind, tmp_path))
    with ThreadPoolExecutor(8) as pool:
        for (x, y), found in zip(TILES * 20, pool.map(lambda tile: store.read(*tile), TILES * 20), strict=True):
            assert np.array_equal(found, tile_pixels(x, y))


def test_other_kinds_of_pictures(tmp_path: Path) -> None:
    """Grey and transparent tiles become RGB."""
    from PIL import Image

    Image.new("L", (SIZE, SIZE), 77).save(tmp_path / "1_1.png")
    Image.new("RGBA", (SIZE, SIZE), (1, 2, 3, 0)).save(tmp_path / "1_2.png")
    store = open_tiles(tmp_path)
    assert store.read(1, 1).shape == (SIZE, SIZE, 3) and (store.read(1, 1) == 77).all()
    assert (store.read(1, 2) == (1, 2, 3)).all()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty; fetch this tile again"),
        (b"\n<!DOCTYPE html><html>limit reached</html>", "HTML or XML, not a picture"),
        (b"\x00" * 500, "not a picture that can be read"),
        (encoded(tile_pixels(1, 1))[:-30], "cut short"),
        (encoded(tile_pixels(1, 1), "JPEG")[:-50], "cut short"),
        (encoded(tile_pixels(1, 1), "WEBP")[:-30], "cut short|not a picture"),
        (encoded(tile_pixels(1, 1, 48)), "is 48 x 48 pixels, the other tiles are 32 x 32"),
        (encoded(np.zeros((20, 32, 3), np.uint8)), "is 32 x 20 pixels"),
    ],
)
def test_tiles_that_are_none(data: bytes, says: str, tmp_path: Path) -> None:
    write_tiles(tmp_path, TILES)
    (tmp_path / "1001_2001.png").write_bytes(data)
    store = open_tiles(tmp_path)
    for look in (store.check, store.read):
        with pytest.raises(FormatError, match=says if look == store.check else "1001_2001") as caught:
            look(1001, 2001)
        assert "1001_2001.png" in str(caught.value) and "\n" not in str(caught.value)


def test_damage_inside_is_seen_when_read(tmp_path: Path) -> None:
    write_tiles(tmp_path, TILES)
    data = bytearray((tmp_path / "1001_2001.png").read_bytes())
    data[60:90] = bytes(30)
    (tmp_path / "1001_2001.png").write_bytes(data)
    with pytest.raises(FormatError, match=r"1001_2001\.png: damaged"):
        open_tiles(tmp_path).read(1001, 2001)


def test_a_tile_that_has_gone(tmp_path: Path) -> None:
    store = open_tiles(write_tiles(tmp_path, TILES))
    (tmp_path / "1001_2001.png").unlink()
    with pytest.raises(InputError, match=r"1001_2001\.png: the tile is gone; put it back"):
        store.read(1001, 2001)


def test_a_bomb_is_not_opened(tmp_path: Path) -> None:
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "1_1.png").write_bytes(png)
    with pytest.raises(FormatError, match="1_1"):
        open_tiles(tmp_path)


def test_no_tiles(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"holds no tiles; they are named x_y\.png"):
        open_tiles(tmp_path)
    with pytest.raises(InputError, match="no such folder or file of tiles; 'vgeo fetch-tiles'"):
        open_tiles(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no tiles"):
        open_tiles(write_mbtiles(tmp_path / "t.mbtiles", 19, []))


def test_one_tile(tmp_path: Path) -> None:
    store = open_tiles(write_tiles(tmp_path, [(3, 4)]))
    assert store.tiles() == [(3, 4)]


def test_not_mbtiles(tmp_path: Path) -> None:
    other = tmp_path / "t.mbtiles"
    other.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(FormatError, match="neither a folder of tiles nor MBTiles"):
        open_tiles(other)
    other.unlink()
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE something (a)")
    file.close()
    with pytest.raises(FormatError, match=r"not MBTiles that can be read \(no such table"):
        open_tiles(other)
    cut = write_mbtiles(tmp_path / "cut.mbtiles", 19, square(0, 0, 12))
    cut.write_bytes(cut.read_bytes()[:20000])
    with pytest.raises(FormatError, match="not MBTiles that can be read"):
        open_tiles(cut)


def test_vector_mbtiles(tmp_path: Path) -> None:
    told = write_mbtiles(tmp_path / "told.mbtiles", 14, TILES, told={"format": "pbf"})
    with pytest.raises(FormatError, match=r"vector tiles \(pbf\); pictures are needed"):
        open_tiles(told)
    silent = write_mbtiles(tmp_path / "silent.mbtiles", 14, [])
    with sqlite3.connect(silent) as file:
        file.execute("INSERT INTO tiles VALUES (14, 1, 1, ?)", (b"\x1f\x8b\x08 gzip",))
    file.close()
    with pytest.raises(FormatError, match="vector tiles"):
        open_tiles(silent)


@pytest.mark.parametrize("kind", ["png", "mbtiles"])
def test_the_odd_one_is_named_even_where_it_is_the_first(kind: str, tmp_path: Path) -> None:
    if kind == "png":
        write_tiles(tmp_path, TILES)
        write_tiles(tmp_path, TILES[:1], size=48)
        store = open_tiles(tmp_path)
    else:
        write_mbtiles(tmp_path / "t.mbtiles", 19, TILES[:1], size=48)
        store = open_tiles(write_mbtiles(tmp_path / "t.mbtiles", 19, TILES[1:]))
    assert store.size_px == SIZE
    store.check(*TILES[1])
    with pytest.raises(FormatError, match=r"1000_2000.* 48 x 48 pixels, the other tiles are 32 x 32"):
        store.check(*TILES[0])


def test_numbers_that_the_zoom_has_not(tmp_path: Path) -> None:
    write_tiles(tmp_path, [(300_000, 5)])
    with pytest.raises(UsageError, match=r"no tile 300000_5 at zoom 18, whose numbers end at 262143; .* 19 or more"):
        open_tiles(tmp_path, 18)
    assert open_tiles(tmp_path, 19).zoom == 19
