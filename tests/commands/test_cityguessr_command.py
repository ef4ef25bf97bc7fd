"""`--layout cityguessr68k` as it is typed: from folders of pictures to a scored city-level model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cityguessrmaker import (
    HEADER,
    IDS,
    PLACES,
    list_line,
    listed,
    make_tree,
    rows,
    write_list,
    write_mapping,
    write_table,
)

from vgeo.cli import run
from vgeo.formats.features import FeatureFile
from vgeo.formats.frames import read_frames

LAYOUT = ["cg", "--layout", "cityguessr68k"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tree(tmp_path_factory.mktemp("data") / "cg", jpeg=True)
    write_table(root / "labels.csv", HEADER, rows())
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with cg/ in it, where the command is typed."""
    shutil.copytree(made, tmp_path / "cg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_both_ways_give_the_same_features(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {str(p): p.stat().st_mtime_ns for p in (folder / "cg").rglob("*")}
    assert run(["extract-frames", *LAYOUT]) == 0
    records = read_frames("frames")
    assert len(records) == 590 and records[0].path == "cg/accra_0/000000.jpg"
    assert records[-1].labels["city"] == "Paris" and records[-1].labels["state"] == "Île-de-France"
    assert run(["precompute-features", "--out", "a.h5"]) == 0
    assert run(["precompute-features", *LAYOUT, "--out", "b.h5"]) == 0
    a, b = FeatureFile.open("a.h5"), FeatureFile.open("b.h5")
    assert a.video_ids == b.video_ids and a.labels == b.labels and len(a) == 590
    assert np.array_equal(a.features("gist"), b.features("gist"))
    assert {str(p): p.stat().st_mtime_ns for p in (folder / "cg").rglob("*")} == before
    out, err = capfd.readouterr()
    assert out == "" and "30 videos = 24 train + 6 val" in err and "54,614 train" in err
    assert "warning: cityguessr68k: accra_0: of fewer than 16 frames (kept)" in err


def test_a_city_is_learnt_and_scored(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["precompute-features", *LAYOUT, "--out", "f.h5"]) == 0
    assert run(["build-gallery", "cities", "f.h5", "--out", "cities.h5"]) == 0
    small = ("init=scratch sigmas=1,16 fourier=8 location_width=32 location_depth=1 embed_dim=16 feedforward=64 "
             "mlp_widths=32 warmup_steps=1 learning_rate=0.003")  # fmt: skip
    settings = [word for setting in small.split() for word in ("--set", setting)]
    words = ["--method", "vidtag", "--at", "city", "--gallery", "cities.h5", "--phase", "align", "--device", "cpu"]
    assert run(["train", "f.h5", *words, *settings, "--epochs", "20", "--out", "m"]) == 0
    assert "470 frames of 24 clips; 120 frames of 6 held out (label split)" in capfd.readouterr().err
    search = ["--split", "val", "--model", "m", "--gallery", "cities.h5"]
    assert run(["localize", "f.h5", *search, "--out", "p.geojson"]) == 0
    capfd.readouterr()
    assert run(["score-places", "p.geojson", "--truth", "cg/labels.csv"]) == 0
    scores = json.loads(capfd.readouterr().out)
    assert scores["matched_clips"] == 6 and scores["city"]["top1_percent"] == 100
    assert len(scores["unmatched_true_clips"]) == 24


def test_published_lists_from_another_folder(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("l").mkdir()
    write_list(Path("l/train.txt"), {f"/x/{k}": v for k, v in listed().items() if k[-1] != "0"})
    write_list(Path("l/test.txt"), {f"/x/{k}": v for k, v in listed().items() if k[-1] == "0"})
    write_mapping(Path("l/hierarchy_mappings.json"))
    assert run(["precompute-features", *LAYOUT, "--labels", "l", "--out", "ids.h5"]) == 0
    file = FeatureFile.open("ids.h5")
    city = dict(zip(file.video_ids, file.labels["city"], strict=True))
    assert city == {video: str(ids[0]) for video, ids in listed().items()}
    write_table(Path("l/names.csv"), HEADER[1:], PLACES)
    assert run(["extract-frames", *LAYOUT, "--labels", "l"]) == 0
    said = {record.video_id: record.labels for record in read_frames("frames")}
    for video, *place in rows():
        split = "val" if video[-1] == "0" else "train"
        assert said[video] == {**dict(zip(HEADER[1:], place, strict=True)), "split": split}
    capfd.readouterr()
    assert run(["extract-frames", *LAYOUT]) == 78, "another table makes another list"
    assert "labels" in capfd.readouterr().err


def test_bad_videos_do_not_stop_the_others(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("cg/delhi_0")
    shutil.rmtree("cg/ghent_0")
    Path("cg/ghent_0").mkdir()
    Path("cg/paris_0/000003.jpg").write_bytes(b"no picture")
    assert run(["precompute-features", *LAYOUT, "--out", "f.h5", "--report", "r.jsonl"]) == 0
    assert len(FeatureFile.open("f.h5")) == 590 - 41
    report = {line["input"].split(":")[-1]: line for line in map(json.loads, Path("r.jsonl").read_text().splitlines())}
    assert len(report) == 28 and "000003.jpg: not a picture" in report["paris_0"]["message"]
    err = capfd.readouterr().err
    assert "delhi_0: without a folder" in err and "ghent_0: with a folder without pictures" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            [*LAYOUT, "--min-frames", "21"],
            66,
            "none of the videos in labels.csv has a folder with 21 pictures or more here",
        ),
        (
            ["cg/paris_0", *LAYOUT[1:], "--labels", "cg/labels.csv"],
            66,
            "labels.csv has a folder with pictures here; name",
        ),
        (["cg/paris_0", *LAYOUT[1:]], 66, "cg/paris_0: no table of videos"),
        (["none", *LAYOUT[1:]], 66, "none: no such folder"),
        ([*LAYOUT, "--labels", "none.csv"], 66, "none.csv: no such table, list or folder"),
        ([*LAYOUT, "--labels", "short.txt"], 65, "short.txt line 2: 532 fields, not 533"),
        ([*LAYOUT, "--labels", "torn.txt"], 65, "torn.txt line 2: city 0 is in state 1, by earlier lines in 0"),
        ([*LAYOUT, "--city", "rome"], 2, "--city rome: not in labels.csv"),
        ([*LAYOUT, "--apart-m", "5"], 2, "--apart-m: does nothing with --layout cityguessr68k"),
        ([*LAYOUT, "--track", "t.gpx"], 2, "--track: does nothing with"),
    ],
)
@pytest.mark.parametrize("command", ["extract-frames", "precompute-features"])
def test_what_cannot_be_says_so_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], command: str, words: list[str], code: int, said: str
) -> None:
    for name, line in (("short.txt", list_line("b", IDS[1], 532)), ("torn.txt", list_line("b", (0, 1, 1, 1)))):
        Path(name).write_text(f"{list_line('a', IDS[0])}\n{line}\n")
    assert run(["-q", command, *words]) == code
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1 and said in lines[0]
    assert not Path("frames/frames.jsonl").exists() and not Path("features.h5").exists()


def test_labels_are_for_layouts_that_take_them(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["extract-frames", "cg", "--layout", "msls", "--labels", "cg/labels.csv"]) == 2
    assert "--labels: does nothing with --layout msls" in capfd.readouterr().err
