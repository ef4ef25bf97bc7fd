"""The aerial demo: a world with tiles, and GAMa's commands over it up to a map with the tiles drawn."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vgeo.cli import run as run_vgeo
from vgeo.errors import SettingError
from vgeo.formats.gallery import read_gallery
from vgeo.formats.tile_store import open_tiles
from vgeo.formats.tracks import read_tracks
from vgeo.geo.tiles import ZOOM, tile_of
from vgeo.world.demo import CREDIT, run_demo
from vgeo.world.demo_kinds import STAGES, DemoSettings, steps

TINY = DemoSettings(kind="aerial", clips=4, seconds=3.0, epochs=1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder, lines = tmp_path_factory.mktemp("aerial") / "demo", []
    assert run_demo(folder, TINY, lambda words: pytest.fail("nothing is run"), lines.append, world_only=True) == 0
    printed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    assert [shlex.split(line)[1:] for line in printed[1:-1]] == [list(step.words) for step in steps(TINY)]
    assert sorted(path.name for path in folder.iterdir()) == ["clips", "demo.json", "tiles"]
    lines.clear()
    assert run_demo(folder, TINY, run_vgeo, lines.append) == 0
    return folder, lines


def test_tiles_are_around_all_drives(tiny: tuple[Path, list[str]]) -> None:
    store = open_tiles(tiny[0] / "tiles")
    assert store.zoom == ZOOM and store.size_px == 256 and store.attribution == CREDIT
    for split in ("train", "val"):
        for track in read_tracks(tiny[0] / "clips" / split):
            for place in track.latlon_deg:
                x, y = tile_of(place, ZOOM)
                assert store.has(x, y)


def test_everything_is_made(tiny: tuple[Path, list[str]]) -> None:
    folder, lines = tiny
    for name in (
        "around.h5",
        "grid.csv",
        "gallery.h5",
        "models/gama/model.safetensors",
        "tracks.geojson",
        "tracks.png",
    ):
        assert (folder / name).is_file(), name
    found = read_tracks(folder / "tracks.geojson")
    assert {track.video_id for track in found} == {"san-francisco-04"}
    centres = read_gallery(folder / "gallery.h5").latlon_deg
    assert all(np.abs(centres - place).max(axis=1).min() < 1e-6 for track in found for place in track.latlon_deg)
    text = (folder / "map.html").read_text()
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["tiles"]["note"] == CREDIT and len(data["tiles"]["list"]) >= data["tiles"]["answers"] >= 1
    assert "Done in" in lines[-1]


def test_localize_draws_the_tiles_too(tiny: tuple[Path, list[str]]) -> None:
    tiles = json.loads((tiny[0] / "found.html").read_text().split('id="data">')[1].split("</script>")[0])["tiles"]
    assert tiles["note"] == CREDIT and tiles["answers"] >= 1


def test_a_demo_of_the_other_kind_is_kept(tiny: tuple[Path, list[str]]) -> None:
    with pytest.raises(SettingError, match="holds a demo of kind aerial, not gps"):
        run_demo(tiny[0], DemoSettings(clips=4, seconds=3.0, epochs=1), run_vgeo, print)


def test_a_demo_from_before_there_were_kinds_goes_on(tmp_path: Path) -> None:
    said = {"settings": {"seed": 0, "clips": 36, "seconds": 25.0, "epochs": 20}, "done": ["world"]}
    (tmp_path / "demo.json").write_text(json.dumps(said))
    assert run_demo(tmp_path, DemoSettings(), lambda words: 9, print) == 9


def test_an_unknown_kind_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_vgeo(["demo", "x", "--kind", "lunar"]) == 2
    assert "--kind lunar: not one of gps, aerial" in capfd.readouterr().err


@pytest.mark.slow
def test_whole_demo_as_typed(tmp_path: Path) -> None:
    """A few minutes on two idle cores, and the right city for most frames of drives never seen."""
    from vgeo.stages.score_trajectory import score

    began = time.monotonic()
    command = [sys.executable, "-m", "vgeo", "demo", "it", "--kind", "aerial"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    report = score(read_tracks(tmp_path / "it" / "tracks.geojson"), read_tracks(tmp_path / "it" / "clips" / "val"))
    print(f"{seconds:.0f} s, median error {report.frames.median_km * 1000:.0f} m")
    assert report.frames.median_km < 0.15
    if os.getloadavg()[0] < 3:
        assert seconds < 400
    assert STAGES["aerial"].settings.clips == 60
