"""`vgeo extract-frames` as it is typed."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clipmaker import make_video

from vgeo.cli import run
from vgeo.formats.frames import read_frames
from vgeo.geo.sphere import distance_km, interpolate
from vgeo.video.telemetry import read_telemetry


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("one", "two"):
        make_video(folder / f"{name}.mp4", frames=60, options={"preset": "veryfast"})
    return folder


def test_the_bare_command_goes_from_clips_to_frames(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["extract-frames"]) == 0
    assert [record.path for record in read_frames("frames")] == [
        "one/000000.jpg", "one/000030.jpg", "two/000000.jpg", "two/000030.jpg",
    ]  # fmt: skip
    out, err = capfd.readouterr()
    assert out == "" and "two: 2 frames, 0 with a position" in err


def test_one_damaged_clip_among_good_ones(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (clips / "damaged.mp4").write_bytes((clips / "one.mp4").read_bytes()[:700])
    assert run(["extract-frames", "--report", "report.jsonl"]) == 3
    report = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    assert [(Path(line["input"]).name, line["status"]) for line in report] == [
        ("damaged.mp4", "failed"), ("one.mp4", "done"), ("two.mp4", "done"),
    ]  # fmt: skip
    assert {record.video_id for record in read_frames("frames")} == {"one", "two"}
    err = capfd.readouterr().err
    assert "damaged.mp4" in err and "1 of 3 inputs failed" in err and "Traceback" not in err
    assert run(["extract-frames", "clips/damaged.mp4", "--out", "other"]) == 65, "alone, its own code"
    assert run(["extract-frames", "clips/damaged.mp4", "clips/one.mp4", "--out", "other", "--fail-fast"]) == 65


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["none"], 66, "no such file or folder"),
        (["empty"], 66, "no videos or images"),
        (["clips", "--rate-hz", "1", "--count", "2"], 2, "--rate-hz and --count"),
        (["clips", "--every-m", "5"], 3, "--every-m needs a track"),
        (["clips", "--decoder", "magic"], 2, "--decoder magic"),
        (["clips", "--sise", "5"], 2, "--sise"),
        (["clips", "--track", "none.gpx"], 66, "none.gpx"),
        (["clips", "--report", "clips"], 73, "clips"),
        (["clips", "--out", "-"], 73, "name one with --out"),
        (["clips", "--out", "clips/one.mp4"], 73, "clips/one.mp4: is a file"),
        (["clips", "--start-s", "50"], 3, "no frame is wanted"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(
    words: list[str], code: int, said: str, clips: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert run(["extract-frames", *words]) == code
    err = capfd.readouterr().err
    assert said in err and "Traceback" not in err
    assert not Path("frames").exists(), "nothing is left where nothing was done"


def test_a_folder_that_holds_the_output(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clips)
    for _ in range(2):
        assert run(["extract-frames", ".", "--count", "1"]) == 0
        assert [record.path for record in read_frames("frames")] == ["one/000030.jpg", "two/000030.jpg"]


def test_names_that_are_no_text(clips: Path) -> None:
    os.rename(clips / "one.mp4", os.fsencode(clips) + b"/caf\xe9.mp4")
    assert run(["extract-frames", "--count", "1", "--report", "report.jsonl"]) == 0
    assert [record.video_id for record in read_frames("frames")] == ["caf\N{REPLACEMENT CHARACTER}", "two"]
    report = [json.loads(line)["input"] for line in Path("report.jsonl").read_text().splitlines()]
    assert report == ["clips/caf\N{REPLACEMENT CHARACTER}.mp4", "clips/two.mp4"]
    assert run(["precompute-features", "clips", "--count", "1"]) == 0


def test_a_list_on_stdin(clips: Path) -> None:
    words = [sys.executable, "-m", "vgeo", "extract-frames", "-", "--count", "1"]
    done = subprocess.run(words, input=b"clips/two.mp4\n", capture_output=True, check=True)
    assert done.stdout == b"" and [record.video_id for record in read_frames("frames")] == ["two"]


def test_gopro_recordings_have_their_positions(shared_dir: Path, tmp_path: Path) -> None:
    folder = shared_dir / "data" / "gopro-gps-videos"
    words = ["extract-frames", str(folder), "--out", str(tmp_path / "out"), "--rate-hz", "4", "--size", "64"]
    assert run(words) == 0
    records = read_frames(tmp_path / "out")
    assert {record.video_id for record in records} == {
        "hero5-trimmed", "hero6-trimmed", "hero8-trimmed", "karma", "max-heromode",
    }  # fmt: skip
    for name in ("hero5-trimmed", "hero6-trimmed", "max-heromode"):
        mine = [record for record in records if record.video_id == name]
        with (folder / f"{name}.gps5.csv").open() as file:
            table = np.array([[float(row["lat"]), float(row["lon"])] for row in csv.DictReader(file)])
        fixes, _ = read_telemetry(folder / f"{name}.mp4")
        assert fixes is not None and len(fixes.time_s) == len(table)
        times = np.array([record.time_s for record in mine])
        expected = interpolate(times, fixes.time_s, table, 2.0)
        got = np.array([[record.lat_deg, record.lon_deg] for record in mine], np.float64)
        assert len(mine) >= 8 and 1000 * distance_km(got, expected).max() < 1
    assert all(record.lat_deg is None for record in records if record.video_id == "hero8-trimmed")
    assert all(record.lat_deg is not None for record in records if record.video_id == "karma")


def test_metres_where_there_is_a_track(shared_dir: Path, tmp_path: Path) -> None:
    video = shared_dir / "data" / "opensfm-lund-walk" / "derived_lund_walk.mp4"
    assert run(["extract-frames", str(video), "--out", str(tmp_path / "out"), "--every-m", "20"]) == 0
    places = np.array([[r.lat_deg, r.lon_deg] for r in read_frames(tmp_path / "out")], np.float64)
    assert len(places) == 10, "197 m"
    assert 1000 * distance_km(places[1:], places[:-1]) == pytest.approx(20, abs=4)


def test_decord_can_be_chosen(clips: Path) -> None:
    pytest.importorskip("decord")
    assert run(["extract-frames", "--decoder", "decord"]) == 0
    assert len(read_frames("frames")) == 4
