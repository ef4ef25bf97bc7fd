"""`vgeo build-gallery` as typed."""

from pathlib import Path

import pytest

from vgeo.cli import run
from vgeo.formats.gallery import read_gallery


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("lat,lon\n55.7,13.19\n55.71,13.2\n")
    return tmp_path


def test_grid_by_default_names_what_it_made(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build-gallery", "grid", "t.csv", "--spacing-km", "0.5"]) == 0
    out, err = capfd.readouterr()
    assert out == "" and "gallery.h5: " in err and "1 region," in err and "spacing 0.5 km" in err
    assert len(read_gallery("gallery.h5")) > 10


def test_nothing_is_overwritten(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["build-gallery", "points", "t.csv", "-o", "g.csv"]
    assert run(command) == 0
    assert run(command) == 73
    assert "--overwrite" in capfd.readouterr().err
    assert run([*command, "--overwrite"]) == 0


def test_stdout_is_data(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build-gallery", "points", "t.csv", "--out", "-"]) == 0
    assert capfd.readouterr().out == "LAT,LON\n55.7,13.19\n55.71,13.2\n"
    assert run(["build-gallery", "cities", "--country", "SE", "--out", "-", "--format", "geojson"]) == 0
    assert capfd.readouterr().out.startswith('{"type":"FeatureCollection"')


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 66, "precompute-features"),
        (["points"], 66, "precompute-features"),
        (["gird", "t.csv"], 2, "did you mean grid?"),
        (["t.csv"], 2, "vgeo build-gallery grid t.csv"),
        (["cities", "--spacing-km", "1"], 2, "--spacing-km belongs to grid"),
        (["cities", "--split", "val"], 2, "--split belongs to grid, points and aerial"),
        (["grid", "t.csv", "--unique"], 2, "--unique belongs to points"),
        (["grid", "t.csv", "--spacing-km", "0"], 2, "more than 0"),
        (["grid", "t.csv", "--spacing-km", "0.0001"], 2, "would fit"),
        (["cities", "--country", "Swedn"], 2, "Sweden"),
        (["cities", "t.csv"], 65, "no column city"),
        (["cities", "t.csv", "--country", "SE"], 2, "give one of them"),
        (["cities", "nowhere.csv"], 66, "nowhere.csv"),
        (["grid", "t.csv", "--out", "-", "--format", "h5"], 2, "stream"),
        (["points", "t.csv", "--model", "nowhere/model"], 66, "nowhere/model"),
    ],
)
def test_mistakes_end_with_the_next_step(
    words: list[str], code: int, says: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["build-gallery", *words]) == code
    out, err = capfd.readouterr()
    assert out == "" and says in err and err.count("\n") == 1
    assert not (here / "gallery.h5").exists()


@pytest.mark.parametrize(("name", "content"), [("x.csv", "LAT,LON\n95,500\n"), ("x.geojson", "{"), ("x.h5", "LAT")])
def test_bad_data_is_65(name: str, content: str, here: Path) -> None:
    (here / name).write_text(content)
    assert run(["build-gallery", "points", name]) == 65
