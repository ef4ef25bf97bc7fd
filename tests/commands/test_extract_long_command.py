"""`vgeo extract-frames --clip-frames ... --blur-faces` as it is typed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from clipmaker import make_video
from matplotlib.cbook import get_sample_data
from PIL import Image

from vgeo.cli import run
from vgeo.formats.frames import read_frames


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    make_video(tmp_path / "clips" / "one.mp4", frames=60, options={"preset": "veryfast"})
    return tmp_path / "clips"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--clip-frames", "850", "--rate-hz", "2"], 2, "--clip-frames and --rate-hz: give one of them, not several"),
        (["--clip-frames", "30", "--frames-per-clip", "9", "--count", "2"], 2, "--clip-frames and --count"),
        (["--frames-per-clip", "9"], 2, "give --clip-frames, too"),
        (["--clip-frames", "30"], 2, "--frames-per-clip 100: more than the 30 frames"),
        (["--clip-frames", "850"], 66, "one.mp4: 60 frames are too few for a clip of 800 to 900"),
        (["--square"], 2, "--square: of how many pixels? give --size, too"),
        (["--clip-frames", "30", "--layout", "cityguessr68k"], 2, "--clip-frames: does nothing with --layout"),
        (["--blur-faces", "--layout", "msls"], 2, "--blur-faces: does nothing with --layout"),
        (["--labels", "none.csv"], 66, "none.csv"),
        (["--labels", "other.csv"], 66, "names none of the clips (one first), but two.mp4 first"),
        (["--labels", "other.csv", "--clip-frames", "30", "--frames-per-clip", "3"], 66, "none of the videos"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(
    words: list[str], code: int, said: str, clips: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("other.csv").write_text("path,city\ntwo.mp4,Lund\n")
    assert run(["extract-frames", "clips", *words]) == code
    err = capfd.readouterr().err
    assert said in err and "Traceback" not in err
    assert not Path("frames").exists(), "nothing is left where nothing was done"


def test_one_damaged_video_of_several(clips: Path) -> None:
    (clips / "damaged.mp4").write_bytes((clips / "one.mp4").read_bytes()[:900])
    words = ["extract-frames", "--clip-frames", "30", "--frames-per-clip", "3", "--report", "report.jsonl"]
    assert run(words) == 3
    report = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    assert [(Path(line["input"]).name, line["status"], line["outputs"]) for line in report] == [
        ("damaged.mp4", "failed", []), ("one.mp4", "done", ["frames/one_000", "frames/one_001"]),
    ]  # fmt: skip
    assert [record.path for record in read_frames("frames")] == [
        f"one_{clip:03d}/{number:06d}.jpg" for clip in (0, 1) for number in (5, 15, 25)
    ]


def test_faces_are_blurred_and_counted(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2", reason="the extra 'faces' is not installed")
    (clips / "walk").mkdir()
    with get_sample_data("grace_hopper.jpg") as file:
        portrait = Image.open(file).convert("RGB").resize((256, 300))
    for number in range(4):
        (portrait if number < 3 else Image.new("RGB", portrait.size)).save(clips / "walk" / f"{number}.png")
    words = ["extract-frames", "clips/walk", "--blur-faces", "--report", "report.jsonl"]
    assert run([*words, "--out", "whole"]) == 0
    assert "3 faces blurred" in json.loads(Path("report.jsonl").read_text())["message"]
    assert "a detector misses faces; look through the pictures before you publish" in capfd.readouterr().err
    assert run([*words, "--clip-frames", "2", "--frames-per-clip", "2"]) == 0
    assert "faces blurred: 2 in walk_000, 1 in walk_001" in json.loads(Path("report.jsonl").read_text())["message"]
    difference = np.abs(
        np.asarray(Image.open("frames/walk_000/000000.jpg"), np.int64) - np.asarray(portrait, np.int64)
    ).mean(axis=2)
    assert difference[65:160, 80:177].mean() > 10 and difference[225:].mean() < 4
    assert run(["extract-frames", "clips/walk", "--clip-frames", "2", "--frames-per-clip", "2"]) == 78
    assert "faces" in capfd.readouterr().err


def test_faces_without_their_package(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert run(["extract-frames", "--blur-faces"]) == 69
    err = capfd.readouterr().err
    assert "pip install 'vgeo[faces]'" in err and "Traceback" not in err and not Path("frames").exists()
