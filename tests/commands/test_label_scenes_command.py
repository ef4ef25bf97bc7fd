"""`vgeo label-scenes` as it is typed."""

import json
from pathlib import Path

import pytest
from cityguessrmaker import HEADER, make_tree, rows, write_table
from scenemaker import memberships, network, picture, save, write_groups, write_pictures

from vgeo.cli import run
from vgeo.formats.scenes import GROUPS, read_scenes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save(network(), tmp_path / "w.pth.tar")
    write_groups(tmp_path / "groups.csv", memberships())
    for name in ("a", "b"):
        write_pictures(tmp_path / "clips" / name, [picture(48, 64, seed) for seed in range(3)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


PLACES = ["--classifier", "w.pth.tar", "--groups", "groups.csv"]


def test_videos_go_here_and_frames_beside_them(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["label-scenes", *PLACES]) == 0
    out, err = capfd.readouterr()
    assert out == "" and "scenes.csv: 2 clips, 6 frames: indoor" in err and "places365:resnet18, w.pth.tar" in err
    assert run(["extract-frames", "-q"]) == 0
    assert run(["label-scenes", *PLACES]) == 0
    assert read_scenes("frames/scenes.csv").keys() == read_scenes("scenes.csv").keys() == {"a", "b"}
    assert run(["label-scenes", *PLACES]) == 73
    assert run(["label-scenes", *PLACES, "--overwrite"]) == 0
    assert run(["extract-frames", "-q"]) == 0  # the table beside them does not disturb the frames


def test_a_table_on_stdout_and_a_report(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "clips/c.mp4").write_bytes(b"no video")
    assert run(["label-scenes", "clips", *PLACES, "--out", "-", "--majority", "--report", "r.jsonl"]) == 3
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0].split(",") == ["video_id", "frames", *GROUPS] and len(lines) == 3
    assert sorted(lines[1].split(",")[1:]) == ["0"] * 15 + ["1", "3"]
    assert "1 of 3 inputs failed" in err
    report = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert {Path(entry["input"]).name: entry["status"] for entry in report} == {
        "a": "done", "b": "done", "c.mp4": "failed"
    }  # fmt: skip


def test_the_videos_of_a_data_set(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = make_tree(folder / "68k", jpeg=True, per_city=1)
    write_table(folder / "places.csv", HEADER, rows(per_city=1))
    words = ["label-scenes", str(root), "--layout", "cityguessr68k", "--labels", "places.csv", "--city", "Ghent"]
    assert run([*words, "--city", "Accra", *PLACES]) == 0
    assert "scenes.csv: 2 clips, 30 frames" in capfd.readouterr().err
    assert list(read_scenes("scenes.csv")) == ["accra_0", "ghent_0"]
    assert not (root / "scenes.csv").exists()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--classifier", "w.pth.tar"], 2, "give the groups of its categories too, as --groups TABLE"),
        (["--classifier", "w.pth.tar", "--groups", "none.csv"], 66, "none.csv: no such file"),
        (["--classifier", "none.pth.tar", "--groups", "groups.csv"], 66, "none.pth.tar: no such file"),
        (["--classifier", "groups.csv", "--groups", "groups.csv"], 65, "groups.csv: not a .safetensors or .pth"),
        (["--classifier", "w.pth.tar", "--groups", "w.pth.tar"], 65, "w.pth.tar: more than 17 MB, too large"),
        (["--classifier", "clip:nobody/nothing", "--weights", "none"], 66, "--weights none: no such folder"),
        (["--classifier", "clip:ViT-B-99/openai"], 2, "open_clip knows no ViT-B-99"),
        (["--classifier", "clip", "--set", "size=9", "--weights", "x"], 2, "no setting 'size'"),
        ([*PLACES, "--rate-hz", "1", "--count", "3"], 2, "give one of them"),
        ([*PLACES, "--city", "Paris"], 2, "--city: says how to read a data set"),
        ([*PLACES, "--device", "tpu9"], 78, "not a device"),
        ([*PLACES, "--out", "clips"], 73, "clips: is a folder"),
        (["none.mp4", *PLACES], 66, "none.mp4: no such file"),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], args: list[str], code: int, said: str
) -> None:
    assert run(["-q", "label-scenes", *args]) == code
    out, err = capfd.readouterr()
    assert out == "" and said in err and len(err.splitlines()) == 1
    assert not (folder / "scenes.csv").exists()
