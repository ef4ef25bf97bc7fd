"""`vgeo build-gallery aerial` as it is typed."""

from pathlib import Path

import pytest
from tilemaker import square, write_mbtiles, write_tiles, write_xyz

from vgeo.cli import run
from vgeo.formats.gallery import read_gallery
from vgeo.geo.tiles import position, tile_of

X, Y = tile_of((40.7, -74.0), 19)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 x 8 of them, which nobody changes."""
    return write_tiles(tmp_path_factory.mktemp("aerial") / "tiles", square(X, Y, 8), size=256)


@pytest.fixture
def here(tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tiles").symlink_to(tiles)
    rows = [f"v,{t},{at[0]:.7f},{at[1]:.7f}" for t in range(4) for at in [position(X + 3.5 + t / 6, Y + 3.5, 19)]]
    Path("t.csv").write_text("\n".join(["video_id,time_s,lat_deg,lon_deg", *rows, ""]))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "rows", "says"),
    [
        ([], 64, "64 tiles, zoom 19"),
        (["tiles/"], 64, "64 tiles"),
        (["tiles", "--around", "t.csv"], 4, "4 tiles"),
        (["tiles", "--regions"], 4, "4 regions, zoom 19"),
        (["tiles", "--regions", "--across", "5", "--step", "1"], 16, "16 regions"),
        (["tiles", "--regions", "--around", "t.csv"], 1, "1 region, zoom 19"),
        (["t.mbtiles"], 4, "4 tiles"),
        (["xyz", "--zoom", "18"], 9, "9 tiles, zoom 18"),
    ],
)
def test_galleries(words: list[str], rows: int, says: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_mbtiles(Path("t.mbtiles"), 19, square(X, Y, 2), size=256)
    write_xyz(Path("xyz"), 18, square(5, 6, 3), size=256)
    write_xyz(Path("xyz"), 19, square(5, 6, 1), size=256)
    assert run(["build-gallery", "aerial", *words, "--out", "g.h5"]) == 0
    out, err = capfd.readouterr()
    assert out == "" and says in err and "warning" not in err
    assert len(read_gallery("g.h5")) == rows


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["aerial", "absent"], 66, "absent: no such folder or file of tiles; 'vgeo fetch-tiles' makes one"),
        (["aerial", "empty"], 66, "empty: holds no tiles"),
        (["aerial", "t.csv"], 65, "t.csv: neither a folder of tiles nor MBTiles"),
        (
            ["aerial", "tiles", "--zoom", "10"],
            2,
            "at zoom 10, whose numbers end at 1023; say the tiles' own with --zoom",
        ),
        (["aerial", "tiles", "--zoom", "18", "--around", "t.csv"], 66, "numbers are those of zoom 19; say --zoom 19"),
        (["aerial", "tiles", "--zoom", "20", "--around", "t.csv"], 66, "numbers are those of zoom 19; say --zoom 19"),
        (["aerial", "tiles", "--around", "nowhere.jsonl"], 66, "nowhere.jsonl: no such file or folder"),
        (["aerial", "tiles", "--spacing-km", "1"], 2, "--spacing-km belongs to grid, not to aerial"),
        (["grid", "t.csv", "--around", "t.csv"], 2, "--around belongs to aerial, not to grid"),
        (["points", "t.csv", "--regions"], 2, "--regions belongs to aerial, not to points"),
        (["aerial", "tiles", "more"], 2, "one folder or file of tiles"),
        (["aerial", "tiles", "--regions", "--across", "3", "--step", "4"], 2, "--across 3 --step 4: the step must be"),
        (["aerial", "bad"], 65, "bad/5_6.png: holds HTML or XML, not a picture; fetch this tile again"),
        (["aerial", "mixed"], 65, "mixed/5_7.png: is 64 x 64 pixels, the other tiles are 256 x 256"),
        (["aerial", "tiles", "--out", "g.csv"], 2, "g.csv: a gallery of tiles needs HDF5"),
        (["areal", "tiles"], 2, "did you mean aerial?"),
    ],
)
def test_mistakes_end_with_the_next_step(
    words: list[str], code: int, says: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    write_tiles(Path("bad"), [(5, 5)], size=256)
    Path("bad/5_6.png").write_text("<html>no more than 10 a second</html>")
    write_tiles(Path("mixed"), [(5, 6)], size=256)
    write_tiles(Path("mixed"), [(5, 7)], size=64)
    assert run(["build-gallery", *words]) == code
    out, err = capfd.readouterr()
    assert out == "" and says in err and err.count("\n") == 1, err
    assert not Path("gallery.h5").exists() and not Path("g.csv").exists()


def test_nothing_is_overwritten(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("g.h5").write_text("mine")
    assert run(["build-gallery", "aerial", "tiles", "--out", "g.h5"]) == 73
    assert Path("g.h5").read_text() == "mine"
    assert run(["build-gallery", "aerial", "tiles", "--out", "g.h5", "--overwrite"]) == 0
