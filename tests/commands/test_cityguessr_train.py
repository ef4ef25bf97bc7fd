"""`vgeo train --method cityguessr` as it is typed, over features, frames and published lists; and what is odd."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cityguessrmaker import HEADER, PLACES, listed, make_tree, rows, write_list, write_mapping, write_table

from vgeo.cli import run
from vgeo.formats.features import FeatureFile
from vgeo.training import frame_store
from vgeo.training.run import Run

TINY = [f"--set={pair}" for pair in ("init=scratch", "image_px=32", "width=16", "layers=1", "heads=2", "mlp=16")]
CPU = ["--device", "cpu", "--precision", "fp32"]
FEATURES = ["-q", "train", "features.h5", "--method", "cityguessr", "--epochs", "1", *CPU]
FRAMES = ["-q", "train", "frames", "--method", "cityguessr", "--epochs", "1", *CPU, *TINY]
TREE = ["train", "cg", "--layout", "cityguessr68k", "--method", "cityguessr", "--epochs", "1", *CPU, *TINY]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cg/, frames/ and features.h5 of it, labels.csv, the published lists in l/, and with names in n/."""
    folder = tmp_path_factory.mktemp("data")
    make_tree(folder / "cg", jpeg=True)
    write_table(folder / "labels.csv", HEADER, rows())
    for lists in ("l", "n"):
        (folder / lists).mkdir()
        write_list(folder / lists / "train.txt", {f"/x/{k}": v for k, v in listed().items() if k[-1] != "0"})
        write_list(folder / lists / "test.txt", {f"/x/{k}": v for k, v in listed().items() if k[-1] == "0"})
        write_mapping(folder / lists / "hierarchy_mappings.json")
    write_table(folder / "n" / "names.csv", HEADER[1:], PLACES)
    data = [str(folder / "cg"), "--layout", "cityguessr68k", "--labels", str(folder / "labels.csv"), "-q"]
    assert run(["precompute-features", *data, "--out", str(folder / "features.h5")]) == 0
    (folder / "frames").mkdir()
    for video, *_ in rows():
        shutil.copytree(folder / "cg" / video, folder / "frames" / video)
    _list_frames(folder / "frames", {video: place for video, *place in rows()})
    return folder


def _list_frames(folder: Path, place_of: dict[str, Sequence[str]]) -> None:
    """frames.jsonl with labels; the first clip of each city is held out."""
    with (folder / "frames.jsonl").open("w") as out:
        for video, place in place_of.items():
            labels = {**dict(zip(HEADER[1:], place, strict=True)), "split": "val" if video[-1] == "0" else "train"}
            for i, picture in enumerate(sorted((folder / video).iterdir())):
                line = {"video_id": video, "frame_index": i, "time_s": i / 4, "path": f"{video}/{picture.name}"}
                out.write(json.dumps(line | {"labels": labels}) + "\n")


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is typed; the data is not to be touched."""
    for item in made.iterdir():
        (tmp_path / item.name).symlink_to(item)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(path: str) -> dict[str, str]:
    """The city that each clip is in, by a CSV of localize."""
    with open(path, newline="", encoding="utf-8") as file:
        return {line["video_id"]: line["city"] for line in csv.DictReader(file)}


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if not line.startswith("warning: ")]


def test_the_bare_command_over_features(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--method", "cityguessr", "--epochs", "8", *CPU]) == 0
    out, err = capfd.readouterr()
    assert out == "" and "6 cities, 5 states, 4 countries, 3 continents" in err
    model = Path("models/cityguessr")
    before = (model / "model.safetensors").read_bytes()
    assert run(["-q", "train", "--method", "cityguessr", "--epochs", "8", *CPU]) == 73
    assert said(capfd) == [
        "vgeo: models/cityguessr: exists; use --resume to go on, --overwrite to start anew, or --out for another folder"
    ]
    assert run(["train", "--method", "cityguessr", "--epochs", "8", *CPU, "--resume"]) == 0
    assert "all 8 epochs were trained already" in capfd.readouterr().err
    assert (model / "model.safetensors").read_bytes() == before
    assert run(["localize", "--split", "val", "--out", "p.csv", *CPU]) == 0
    labels = FeatureFile.open("features.h5").labels
    held_out = {row[0]: row[1] for row, split in zip(rows(), labels["split"], strict=True) if split == "val"}
    assert len(held_out) == 6 and answers("p.csv") == held_out
    assert run(["localize", "--split", "val", "--out", "p.geojson", *CPU]) == 0
    capfd.readouterr()
    assert run(["score-places", "p.geojson", "--truth", "labels.csv"]) == 0
    assert json.loads(capfd.readouterr().out)["state"]["top1_percent"] == 100
    last = json.loads(Path(model, "metrics.jsonl").read_text().splitlines()[-1])
    assert last["validation"]["accuracy"]["city"] == 1.0, "what training measures is what localize answers"


def test_clips_of_one_long_video_on_both_sides_are_said(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [json.loads(line) for line in (made / "frames" / "frames.jsonl").read_text().splitlines()]
    for long, whole in (("one", False), ("two", True)):
        frames = tmp_path / long
        frames.mkdir()
        for video in {line["video_id"] for line in lines}:
            (frames / video).symlink_to(made / "frames" / video)
        with (frames / "frames.jsonl").open("w") as out:
            for line in lines:
                side = line["labels"]["split"] if whole else ""
                line["labels"]["source"] = f"{line['labels']['city']} {side}"
                out.write(json.dumps(line) + "\n")
        assert run(["train", long, *FRAMES[3:], "--out", f"m-{long}"]) == 0
        assert ("clips of 6 long videos are both trained on and held out" in capfd.readouterr().err) is not whole


def test_frames_train_a_backbone_that_localizes_them(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*FRAMES, "--out", "m"]) == 0
    assert run(["localize", "frames", "--split", "val", "--model", "m", "--out", "p.csv", "--report", "r.jsonl"]) == 0
    assert json.loads(Path("m/config.json").read_text())["extra"]["rate_hz"] == 4.0, "that of frames.jsonl"
    measured = json.loads(Path("m/metrics.jsonl").read_text())["validation"]["accuracy"]["city"]
    found = answers("p.csv")
    assert np.mean([city.lower() == video[:-2] for video, city in found.items()]) == pytest.approx(measured)
    messages = {
        Path(line["input"]).name: line["message"] for line in map(json.loads, Path("r.jsonl").read_text().splitlines())
    }
    (short,) = (message for name, message in messages.items() if "accra_0" in name)
    assert "10 frames for a window of 16, the last repeated" in short
    capfd.readouterr()
    assert run(["-q", "localize", "features.h5", "--model", "m"]) == 2
    (line,) = said(capfd)
    assert "was trained with its own backbone and sees frames" in line


def test_published_lists_give_scenes_and_text(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ["--scenes", "n/train.txt", "--text", "n/train.txt"]
    assert run([*TREE, "--labels", "n", *more, "--out", "m"]) == 0
    err = capfd.readouterr().err
    assert "scenes of n/train.txt" in err
    assert "not known" not in err and "has no" not in err, "held-out clips need neither"
    metrics = json.loads(Path("m/metrics.jsonl").read_text())
    assert set(metrics["losses"]) == {"geo", "scene", "text"}
    assert run(["-q", "localize", "cg/delhi_1", "--model", "m", "--out", "p.csv"]) == 0
    assert answers("p.csv")["delhi_1"] in {place[0] for place in PLACES}


def test_cities_that_are_ids_are_learnt_but_lie_nowhere(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*TREE, "--labels", "l", "--out", "m"]) == 0
    assert "cities go by their ids" in capfd.readouterr().err
    assert run(["-q", "localize", "cg/delhi_1", "--model", "m"]) == 66
    assert said(capfd) == [
        "vgeo: m: its cities go by their ids, so nobody knows where they are; train it with their names "
        "(a table city,state,country,continent beside the published list, or --labels)"
    ]
    assert run([*TREE, "--labels", "l", "--out", "m", "--resume", "--epochs", "2"]) == 0
    assert len(Path("m/metrics.jsonl").read_text().splitlines()) == 2


def _tables() -> None:
    """Tables and lists that are not as they should be."""
    changed: dict[str, tuple[Sequence[str], list[Sequence[str]]]] = {
        "springfield.csv": (HEADER, [(r[0], "Springfield", "", "United States", "") for r in rows()]),
        "onecity.csv": (HEADER, [r for r in rows() if r[1] == "Paris"]),
        "oneclip.csv": (HEADER, [r for r in rows() if r[0] == "paris_1"]),
        "nocity.csv": (("path", "country"), [(r[0], r[3]) for r in rows()]),
        "few.csv": (HEADER, [r for r in rows() if r[1] not in ("Paris", "Delhi")]),
        "others.csv": (HEADER, [("x", "Berlin", "", "Germany", "Europe")]),
        "strangers.csv": (HEADER, [("zz" + r[0], *r[1:]) for r in rows()]),
    }
    for name, (header, lines) in changed.items():
        write_table(Path(name), header, lines)
    lines = Path("l/train.txt").read_text().splitlines()
    Path("strangers.txt").write_text("\n".join(line.replace("/x/", "/x/zz") for line in lines) + "\n")
    Path("short.txt").write_text("\n".join([lines[0], lines[1].rpartition(",")[0]]) + "\n")
    Path("some.txt").write_text("\n".join(lines[:4]) + "\n")


@pytest.mark.parametrize(
    ("words", "code", "phrase"),
    [
        ([*FEATURES, "--labels", "nocity.csv"], 65, "nocity.csv: the first line names no column city"),
        ([*FEATURES, "--labels", "strangers.csv"], 66, "strangers.csv: names none of the clips"),
        ([*FEATURES, "--val", "frames"], 2, "--val frames: give feature files, as what is trained on"),
        ([*FRAMES, "--val", "features.h5"], 2, "--val features.h5: give a folder of frames, as what is trained on"),
        ([*FRAMES[:3], "features.h5", *FRAMES[3:]], 2, "frames: give feature files or folders of frames, not both"),
        ([*FEATURES, "--at", "city"], 2, "--at city: cityguessr learns cities as they are labelled"),
        ([*FEATURES, "--phase", "align"], 78, "--phase align: with these settings cityguessr trains classify"),
        ([*FEATURES, "--set", "bogus=1"], 78, "--set bogus=1: no setting 'bogus'"),
        ([*FEATURES, "--set", "encoder=videomae"], 66, "features.h5: no features of videomae"),
        ([*FEATURES, "--set", "attention_heads=4"], 78, "attention_dim must be a multiple of attention_heads"),
        ([*FEATURES, "--set", "backbone=videomae"], 78, "is trained on frames; name their folder"),
        ([*FEATURES, "--set", "text=all"], 66, "--set text=all: the gallery has no text of its cities"),
        ([*FEATURES, "--set", "scenes=soft"], 66, "--set scenes=soft: no scenes.csv of these clips"),
        ([*FEATURES, "--layout", "cityguessr68k"], 2, "--layout: is for a data set's folder"),
        ([*FEATURES, "--min-frames", "5"], 2, "--min-frames: says how to read a data set; name which with --layout"),
        ([*FRAMES, "--min-frames", "5"], 2, "--min-frames: says how to read a data set; name which with --layout"),
        ([*FEATURES, "--weights", "here"], 2, "--weights: are of a backbone, and features come without one"),
        ([*FEATURES, "--gallery", "four.csv"], 66, "none of the clips' cities is in the gallery, Accra first"),
        ([*FEATURES, "--gallery", "nowhere.csv"], 66, "nowhere.csv: names no cities"),
        ([*FEATURES, "--scenes", "strangers.txt"], 66, "strangers.txt: names none of the clips"),
        ([*FEATURES, "--text", "short.txt"], 65, "short.txt line 2: 532 fields, not 533"),
        ([*FEATURES, "--text", "some.txt"], 65, "some.txt: has no text of 5 cities, Bruges first"),
        ([*FEATURES, "--text", "labels.csv"], 65, "labels.csv: not a published list"),
        ([*FRAMES, "--set", "frames=15"], 78, "frames must be a multiple of that, not 15"),
        ([*FRAMES, "--set", "backbone=features"], 78, "is for feature files; for frames leave it out"),
        ([*FRAMES, "--set", "learning_rate=1e30"], 78, "the loss of classify is not finite at epoch 1, step 2"),
        (["-q", *TREE, "--labels", "oneclip.csv"], 65, "only one clip has a city, nothing can be held out"),
        (["-q", "train", "cg", *FRAMES[3:]], 66, "no clip is labelled with its city; name a table of them"),
        (["-q", "train", "clip.mp4", *FRAMES[3:]], 2, "clip.mp4: a video (1 in all), and what is trained here reads"),
        ([*FEATURES[:-1], "bf16", "--from", "none"], 66, "none: no model folder"),
        ([*FEATURES[:3], "--method", "geoclip", "--scenes", "l/train.txt"], 2, "--scenes: geoclip learns positions"),
        (["-q", "train", "frames", "--method", "geoclip"], 2, "frames: a folder, and geoclip learns over features"),
    ],
)  # fmt: skip
def test_what_cannot_be_says_so_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], words: list[str], code: int, phrase: str
) -> None:
    _tables()
    write_table(Path("four.csv"), ("lat", "lon", "city", "country"), [("52.52", "13.4", "Berlin", "Germany")])
    write_table(Path("nowhere.csv"), ("lat", "lon"), [("52.52", "13.4")])
    Path("clip.mp4").write_bytes(b"")
    capfd.readouterr()
    assert run([*words, "--out", "m"]) == code
    lines = said(capfd)
    assert len(lines) == 1 and lines[0].startswith("vgeo: ") and phrase in lines[0]
    assert not Path("m").exists()


def test_a_model_of_features_starts_none_of_frames_nor_the_reverse(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*FEATURES, "--out", "heads"]) == run([*FRAMES, "--out", "whole"]) == 0
    for words, phrase in (
        (["frames", "--from", "heads"], "--from heads: knows features alone; name a feature file, not frames"),
        (["features.h5", "--from", "whole"], "--from whole: is trained on frames; name their folder, not features"),
        (["frames", "--from", "whole", "--weights", "x"], "--weights: are not used with --from or init=scratch"),
    ):
        capfd.readouterr()
        assert run(["-q", "train", *words, *CPU, "--out", "m"]) != 0
        lines = said(capfd)
        assert len(lines) == 1 and phrase in lines[0]


def test_cities_that_geonames_does_not_tell_are_named_with_the_way_out(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _tables()
    capfd.readouterr()
    assert run([*FEATURES, "--labels", "springfield.csv", "--out", "m"]) == 65
    first, last = said(capfd)
    assert first.startswith("error: Springfield, United States: ambiguous, Springfield, Missouri, US")
    assert last.startswith("vgeo: 1 of 1 cities have no certain position") and "--gallery" in last
    table = [("39.8", "-89.64", "Springfield", "United States")]
    write_table(Path("springfield_at.csv"), ("lat", "lon", "city", "country"), table)
    assert run([*FEATURES, "--labels", "springfield.csv", "--gallery", "springfield_at.csv", "--out", "m"]) == 0


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (["-q", *TREE, "--labels", "onecity.csv"], "all clips are of Paris: there is nothing to tell apart"),
        (
            [*FEATURES, "--gallery", "few.h5"],
            "10 clips mean no city of the gallery, or several, and are left out: Delhi, Delhi",
        ),
        ([*FEATURES, "--scenes", "some.txt"], "of 24 clips to train on are not known"),
        ([*FEATURES, "--clips", "clips.csv"], "5 of 6 cities have no clip to train on, Accra first"),
        ([*FRAMES, "--set", "frames=24"], "24 of 24 clips have fewer than the 24 frames"),
        ([*FEATURES, "--val-fraction", "0"], "1 of 30 clips have fewer than the 16 frames"),
        (
            ["-q", *TREE, "--labels", "twice.csv"],
            "warning: city Delhi is in Delhi, India, Asia and in Goa, India, Asia",
        ),
    ],
)
def test_what_is_odd_is_said_once_and_trained(
    folder: Path, capfd: pytest.CaptureFixture[str], words: list[str], phrase: str
) -> None:
    _tables()
    write_table(Path("clips.csv"), ["video_id"], [["paris_1"], ["paris_2"]])
    goa = [["Delhi", "Goa", "India", "Asia", "15", "74"]]
    write_table(Path("goa.csv"), [*HEADER[1:], "lat", "lon"], goa)
    twice = [(r[0], r[1], "Goa", *r[3:]) if r[0] in ("delhi_1", "delhi_2") else r for r in rows()]
    write_table(Path("twice.csv"), HEADER, twice)
    assert run(["-q", "build-gallery", "cities", "few.csv", "--out", "few.h5"]) == 0
    assert run(["-q", "build-gallery", "cities", "labels.csv", "goa.csv", "--out", "all.h5"]) == 0
    more = ["--gallery", "all.h5"] if "twice.csv" in words else []
    capfd.readouterr()
    assert run([*words, *more, "--out", "m"]) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if phrase in line]
    assert len(lines) == 1 and lines[0].startswith("warning: ")


def test_features_that_are_not_finite_are_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import h5py

    shutil.copy("features.h5", "nan.h5")
    with h5py.File("nan.h5", "r+") as file:
        file["features/gist"][25, 3] = np.nan
    assert run([*FEATURES, "--out", "good"]) == 0
    capfd.readouterr()
    assert run(["-q", "train", "nan.h5", *FEATURES[3:], "--out", "m"]) == 65
    video = FeatureFile.open("nan.h5").video_ids[1]
    assert said(capfd) == [
        f"vgeo: {video}: its gist features are not finite (frame 15); compute them again with precompute-features"
    ]
    assert not Path("m").exists()
    assert run(["-q", "localize", "nan.h5", "--model", "good", "--out", "p.csv"]) == 3
    assert any(f"features of {video} are not finite" in line for line in said(capfd))
    assert len(answers("p.csv")) == 29, "the others are answered"


def test_localize_says_which_clips_are_short(folder: Path) -> None:
    assert run([*FEATURES, "--out", "m"]) == 0
    assert run(["-q", "localize", "features.h5", "--model", "m", "--out", "p.csv", "--report", "r.jsonl"]) == 0
    messages = [json.loads(line)["message"] for line in Path("r.jsonl").read_text().splitlines()]
    assert messages == ["10 frames, fewer than the 16 of a window"] + [""] * 29


@pytest.fixture
def unkept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are decoded anew in each epoch, and each epoch is written."""
    monkeypatch.setattr(frame_store, "capacity", lambda frames, size: 0)
    monkeypatch.setattr("vgeo.training.run._WRITE_EVERY_S", 0)


def after(epoch: int, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something happen when an epoch was finished."""
    finish = Run._finish

    def finished(self: Run, result: Any, steps: int) -> None:
        finish(self, result, steps)
        if result.epoch == epoch:
            act()

    monkeypatch.setattr(Run, "_finish", finished)


@pytest.fixture
def straight(folder: Path, unkept: None) -> Iterator[list[str]]:
    """The command of a run of three epochs, which went through once, with all that is drawn at random."""
    words = [*FRAMES, "--epochs", "3", "--set", "flip=0.5", "--set", "crop=0.8"]
    assert run([*words, "--out", "straight"]) == 0
    yield words


def same_folders(one: Path, two: Path) -> None:
    for name in ("model.safetensors", "last/model.safetensors", "state/state.safetensors", "gallery.h5", "config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    timed = ("seconds", "waited_s")
    for a, b in zip(*((path / "metrics.jsonl").read_text().splitlines() for path in (one, two)), strict=True):
        first, second = ({k: v for k, v in json.loads(line).items() if k not in timed} for line in (a, b))
        assert first == second


def test_a_picture_that_breaks_in_the_middle_loses_no_finished_epoch(
    straight: list[str], made: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = made / "frames" / "ghent_3" / "000007.jpg"
    whole = picture.read_bytes()
    capfd.readouterr()
    with monkeypatch.context() as patch:
        after(2, lambda: picture.write_bytes(b"no picture"), patch)
        try:
            assert run([*straight, "--out", "m"]) == 65
        finally:
            picture.write_bytes(whole)
    (line,) = said(capfd)
    assert "ghent_3/000007.jpg: not a picture" in line and "--resume goes on" in line
    assert len(Path("m/metrics.jsonl").read_text().splitlines()) == 2
    assert run([*straight, "--out", "m", "--resume"]) == 0
    same_folders(Path("straight"), Path("m"))


@pytest.mark.slow
def test_an_interrupted_run_over_frames_goes_on_bit_by_bit(
    straight: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    capfd.readouterr()
    with monkeypatch.context() as patch:
        after(1, interrupt, patch)
        assert run([*[word for word in straight if word != "-q"], "--out", "m"]) == 130
    assert "m keeps 1 epochs; --resume goes on from there" in capfd.readouterr().err
    assert run([*straight, "--out", "m", "--resume"]) == 0
    same_folders(Path("straight"), Path("m"))


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
import vgeo.training.run as run
run._WRITE_EVERY_S = run._REST = 0  # every epoch is written
from vgeo.cli import run
sys.exit(run(sys.argv[1:]))
"""


def start(words: Sequence[str], epochs: int) -> "subprocess.Popen[str]":
    """Start a process, and return when it has said that so many more epochs are done."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        epochs -= line.startswith("classify ")
        if epochs <= 0:
            return process
    raise AssertionError("".join(seen))


@pytest.mark.slow
@pytest.mark.parametrize("data", ["frames", "features.h5"])
def test_a_kill_at_any_moment_is_made_good_bit_by_bit(folder: Path, data: str) -> None:
    drawn = [*TINY, "--set", "flip=0.5", "--set", "crop=0.8"] if data == "frames" else []
    words = ["train", data, "--method", "cityguessr", *CPU, *drawn, "--epochs", "40", "--eval-every", "1"]
    assert run([*words, "-q", "--out", "straight"]) == 0
    resume: list[str] = []
    for delay_s in (0.0, 0.004, 0.02, 0.05):
        process = start([*words, "--out", "m", *resume], 6)
        time.sleep(delay_s)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        resume = ["--resume"]
    process = start([*words, "--out", "m", "--resume"], 3)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    rest = process.stderr.read()
    assert process.wait() == 130 and "Traceback" not in rest and "--resume goes on from there" in rest
    assert run([*words, "-q", "--out", "m", "--resume"]) == 0
    same_folders(Path("straight"), Path("m"))
