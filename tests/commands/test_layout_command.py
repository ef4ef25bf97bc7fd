"""`--layout msls` as it is typed: from a data set's folder to frames.jsonl, to features, to a trained model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mslsmaker import drive, make_tree, write_subset

from vgeo.cli import run
from vgeo.formats.features import FeatureFile
from vgeo.formats.frames import read_frames


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("data") / "msls", jpeg=True)


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with msls/ in it, where the command is typed."""
    shutil.copytree(made, tmp_path / "msls")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def test_extract_frames_lists_pictures_where_they_are(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = contents(folder / "msls")
    assert run(["extract-frames", "msls", "--layout", "msls"]) == 0
    assert contents(folder / "msls") == before
    assert sorted(p.name for p in Path("frames").iterdir()) == ["frames.jsonl", "msls", "settings.json"]
    records = read_frames("frames")
    assert len(records) == 266
    assert all((folder / "frames" / record.path).is_file() and ".." not in record.path for record in records)
    first = records[0]
    assert (first.video_id, first.path) == ("cph_query_k0", "msls/train_val/cph/query/images/k0-0.jpg")
    assert first.labels["city"] == "Copenhagen" and first.labels["split"] in ("train", "val")
    out, err = capfd.readouterr()
    assert out == ""
    for words in ("303 pictures listed for 2 cities", "2 panoramas", "15 sequences = 12 train + 3 val", "14,965"):
        assert words in err


def test_both_ways_give_the_same_features(folder: Path) -> None:
    assert run(["extract-frames", "msls", "--layout", "msls"]) == 0
    assert run(["precompute-features", "--out", "a.h5"]) == 0
    assert run(["precompute-features", "msls", "--layout", "msls", "--out", "b.h5"]) == 0
    a, b = FeatureFile.open("a.h5"), FeatureFile.open("b.h5")
    assert a.video_ids == b.video_ids and len(a) == 266
    assert a.labels == b.labels and set(a.labels) == {"city", "state", "country", "continent", "split"}
    assert np.array_equal(a.features("gist"), b.features("gist"))
    assert np.abs(a.latlon_deg - b.latlon_deg).max() < 1e-7 and np.array_equal(a.time_s, b.time_s)
    assert a.start_utc == b.start_utc and a.start_utc[0] == "2017-07-14T02:40:00.000Z"


def test_the_label_split_is_what_training_holds_out(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["precompute-features", "msls", "--layout", "msls", "--with-test", "--report", "r.jsonl"]) == 0
    report = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert len(report) == 17 and {line["status"] for line in report} == {"done"}
    assert run(["sample-clips", "features.h5", "--per-city", "features.h5=3"]) == 0
    small = ["--set", "init=scratch", "--set", "sigmas=1", "--set", "fourier=4", "--set", "location_width=8",
             "--set", "location_depth=1", "--set", "embed_dim=8", "--set", "image_width=8", "--set", "warmup_steps=1",
             "--set", "batch_frames=64", "--epochs", "1", "--device", "cpu"]  # fmt: skip
    capfd.readouterr()
    assert run(["train", *small]) == 0
    assert "of 12 clips; " in (err := capfd.readouterr().err) and "of 3 held out (label split)" in err
    assert run(["train", *small, "--clips", "clips.csv", "--out", "fewer"]) == 0
    assert "of 6 clips; " in (err := capfd.readouterr().err) and "of 3 held out (label split)" in err
    assert run(["train", *small, "--clips", "none.csv", "--out", "x"]) == 66
    assert run(["train", *small, "--clips", "r.jsonl", "--out", "x"]) == 65


def test_a_second_run_renews_and_other_settings_are_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["extract-frames", "msls", "--layout", "msls"]
    assert run(words) == 0
    text = Path("frames/frames.jsonl").read_bytes()
    assert run(words) == 0
    assert Path("frames/frames.jsonl").read_bytes() == text
    assert run([*words, "--seed", "1"]) == 78
    assert "seed=0 (now min_frames=16 seed=1)" in capfd.readouterr().err
    assert run([*words, "--seed", "1", "--overwrite"]) == 0
    assert Path("frames/frames.jsonl").read_bytes() != text
    assert run(["precompute-features", "msls", "--layout", "msls"]) == 0
    assert run(["precompute-features", "msls", "--layout", "msls"]) == 0
    assert "15 of 15 clips were finished before" in capfd.readouterr().err
    assert run(["precompute-features", "msls", "--layout", "msls", "--apart-m", "50"]) == 78
    assert "apart_m=50" in capfd.readouterr().err


def test_one_bad_city_does_not_stop_the_others(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "msls/train_val/london/query/raw.csv").unlink()
    (folder / "msls/train_val/cph/query/images/k0-3.jpg").write_bytes(b"no picture")
    words = ["msls", "--layout", "msls", "--report", "r.jsonl"]
    assert run(["extract-frames", *words]) == 3
    lines = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [(Path(line["input"]).name, line["status"], line["exit_code"]) for line in lines] == [
        ("london", "failed", 66), ("cph", "done", 0)
    ]  # fmt: skip
    assert {record.labels["city"] for record in read_frames("frames")} == {"Copenhagen"}
    assert run(["precompute-features", *words]) == 3
    assert len(FeatureFile.open("features.h5")) == 99, "all but the damaged picture"
    err = capfd.readouterr().err
    assert "raw.csv: no such file" in err and "1 of 6 inputs failed" in err and "Traceback" not in err
    assert run(["extract-frames", *words, "--city", "london", "--out", "o"]) == 66, "alone, its own code"
    assert not Path("o/frames.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["msls", "--city", "cph"], 2, "--city: says how to read a data set; name which with --layout"),
        (["msls", "--min-frames", "4"], 2, "--min-frames: says how"),
        (["msls", "--apart-m", "50"], 2, "--apart-m: says how"),
        (["msls", "--layout", "nowhere"], 2, "no layout 'nowhere'; there are cityguessr68k, gama, msls"),
        (["--layout", "msls"], 2, "takes the data set's one folder"),
        (["msls", "msls", "--layout", "msls"], 2, "takes the data set's one folder, not 2 inputs"),
        (["none", "--layout", "msls"], 66, "none: no such folder"),
        (["msls/test", "--layout", "msls"], 66, "not a folder of MSLS"),
        (["msls", "--layout", "msls", "--city", "rome"], 2, "--city rome: not in msls"),
        (["msls", "--layout", "msls", "--track", "t.gpx"], 2, "--track: does nothing with --layout msls"),
        (["msls", "--layout", "msls", "--apart-m", "-1"], 2, "--apart-m -1"),
        (["msls", "--layout", "msls", "--min-frames", "500"], 66, "no sequence of 500 frames"),
    ],
)
@pytest.mark.parametrize("command", ["extract-frames", "precompute-features"])
def test_what_cannot_be_says_so_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], command: str, words: list[str], code: int, said: str
) -> None:
    assert run(["-q", command, *words]) == code
    err = capfd.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not list(folder.glob("frames/frames.jsonl")) and not (folder / "features.h5").exists()


def test_sampling_is_for_features_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["extract-frames", "msls", "--layout", "msls", "--stride", "2"]) == 2
    assert "--stride: does nothing with --layout msls" in capfd.readouterr().err
    assert run(["precompute-features", "msls", "--layout", "msls", "--stride", "2", "--city", "cph"]) == 0
    assert len(FeatureFile.open("features.h5")) == 16 + 4 * 9


def test_the_list_keeps_out_of_others_ways(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["extract-frames", "msls", "--layout", "msls", "--city", "cph", "--out"]
    assert run([*words, "msls"]) == 0, "beside the pictures no link is needed"
    assert read_frames("msls")[0].path == "train_val/cph/query/images/k0-0.jpg"
    Path("taken/msls").mkdir(parents=True)
    assert run([*words, "taken"]) == 73
    assert "taken/msls: exists" in capfd.readouterr().err
    assert run(["extract-frames", "msls/train_val/cph/query/images/k0-0.jpg", "--out", "jpegs"]) == 0
    assert run([*words, "jpegs", "--overwrite"]) == 73
    assert "holds pictures of extract-frames" in capfd.readouterr().err
    Path("foreign").mkdir()
    Path("foreign/frames.jsonl").write_text("{}\n")
    assert run([*words, "foreign"]) == 73
    Path("f").write_text("")
    assert run([*words, "f"]) == 73


def test_a_city_of_empty_lists_is_no_reason_to_stop(folder: Path) -> None:
    write_subset(folder / "msls/train_val/tokyo/query", {})
    write_subset(folder / "msls/train_val/oslo/database", {"a": drive("a", 20, 59.9, 10.7)}, jpeg=True)
    assert run(["extract-frames", "msls", "--layout", "msls", "--apart-m", "30"]) == 0
    assert {"oslo", "London", "Copenhagen"} == {record.labels["city"] for record in read_frames("frames")}
