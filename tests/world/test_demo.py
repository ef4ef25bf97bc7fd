"""The demo: its commands work as printed, it goes on where it stopped, and it is honest about what failed."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from vgeo.cli import run as run_vgeo
from vgeo.errors import OutputError, SettingError
from vgeo.formats.tracks import read_tracks
from vgeo.stages.score_trajectory import score
from vgeo.world.demo import command_line, run_demo
from vgeo.world.demo_kinds import SCORE, DemoSettings, steps

TINY = DemoSettings(clips=4, seconds=4.0, epochs=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A demo of two cities with four short drives: all steps, no quality."""
    folder, lines = tmp_path_factory.mktemp("demo") / "it is small", []
    assert run_demo(folder, TINY, run_vgeo, lines.append) == 0
    return folder, lines


def test_everything_is_made(tiny: tuple[Path, list[str]]) -> None:
    folder, lines = tiny
    for name in ("clips/clips.csv", "features.h5", "gallery.h5", "models/geoclip/model.safetensors", "tracks.geojson"):
        assert (folder / name).is_file(), name
    assert (folder / "tracks.png").read_bytes().startswith(b"\x89PNG")
    assert "san-francisco-02" in (folder / "map.html").read_text(encoding="utf-8")
    assert {track.video_id for track in read_tracks(folder / "tracks.geojson")} == {"san-francisco-02", "lisbon-02"}
    assert lines[-1].startswith("Done in")
    assert Path.cwd() != folder


def test_printed_commands_are_those_that_ran(tiny: tuple[Path, list[str]]) -> None:
    printed = [line.removeprefix("$ ") for line in tiny[1] if line.startswith("$ ")]
    assert shlex.split(printed[0]) == ["cd", str(tiny[0])]
    assert printed[1:] == [command_line(step.words) for step in steps(TINY)] + [command_line(SCORE)]


def test_second_run_does_nothing_twice(tiny: tuple[Path, list[str]]) -> None:
    folder, _ = tiny
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.[hmgs]*") if path.name != "map.html"}
    ran: list[Sequence[str]] = []

    def noted(words: Sequence[str]) -> int:
        ran.append(words)
        return 0

    lines: list[str] = []
    assert run_demo(folder, TINY, noted, lines.append) == 0
    assert ran == [SCORE]
    assert sum("done before" in line for line in lines) == len(steps(TINY))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_goes_on_after_a_step_that_failed(tiny: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(tiny[0] / "clips", folder / "clips")
    (folder / "demo.json").write_text((tiny[0] / "demo.json").read_text().split('"done"')[0] + '"done": ["world"]}')

    def fails_at_gallery(words: Sequence[str]) -> int:
        return 74 if "build-gallery" in words else 0

    assert run_demo(folder, TINY, fails_at_gallery, lambda line: None) == 74
    ran: list[str] = []

    def stops_at_train(words: Sequence[str]) -> int:
        ran.append(words[0])
        if words[0] == "train":
            raise KeyboardInterrupt
        return 0

    (folder / "gallery.h5").touch()  # half a result of the step that failed
    with pytest.raises(KeyboardInterrupt):
        run_demo(folder, TINY, stops_at_train, lambda line: None)
    assert ran == ["build-gallery", "train"]
    assert Path.cwd() != folder


def test_foreign_folders_and_other_settings_are_refused(tiny: tuple[Path, list[str]], tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds no demo"):
            run_demo(tmp_path, TINY, run_vgeo, print, overwrite=overwrite)
    assert (tmp_path / "precious.txt").read_text() == "mine"
    with pytest.raises(SettingError, match="seed 0, not 1"):
        run_demo(tiny[0], DemoSettings(seed=1, clips=4, seconds=4.0, epochs=2), run_vgeo, print)


def test_overwrite_keeps_what_is_not_the_demos(tiny: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(tiny[0], folder)
    (folder / "notes.txt").write_text("mine")
    other = DemoSettings(seed=1, clips=4, seconds=1.0, epochs=1)
    assert run_demo(folder, other, lambda words: 9, print, overwrite=True) == 9
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "features.h5").exists() and not (folder / "tracks.png").exists()


@pytest.mark.slow
def test_whole_demo_as_typed(tmp_path: Path) -> None:
    """In less than two minutes on two idle cores, and right within a block for most frames never seen."""
    began = time.monotonic()
    command = [sys.executable, "-m", "vgeo", "demo", "it"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert "discrete Fréchet" in done.stdout and "$ vgeo" not in done.stdout
    folder = tmp_path / "it"
    report = score(read_tracks(folder / "tracks.geojson"), read_tracks(folder / "clips" / "val"))
    assert report.frames.median_km < 0.15
    print(f"{seconds:.0f} s, median error {report.frames.median_km * 1000:.0f} m")
    if os.getloadavg()[0] < 3:
        assert seconds < 120
    # The commands work when pasted into a shell in that folder.
    printed = [line.removeprefix("$ ") for line in done.stderr.splitlines() if line.startswith("$ vgeo")]
    (folder / "tracks.geojson").unlink()
    for line in printed[-2:]:
        pasted = [sys.executable, "-m", *shlex.split(line)]
        assert subprocess.run(pasted, cwd=folder, capture_output=True, check=False).returncode == 0
