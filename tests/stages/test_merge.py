"""Shards joined are the undivided run, byte by byte; what does not belong together is refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clipmaker import make_video

from vgeo.cli import run
from vgeo.errors import FormatError, InputError, OutputError, SettingError, UsageError
from vgeo.formats.features import FeatureFile
from vgeo.formats.scenes import GROUPS, ClipScenes, read_scenes, write_scenes
from vgeo.formats.shards import Shard
from vgeo.formats.tracks import read_tracks
from vgeo.stages.merge import merge

NAMES = ("v1", "v2", "v3", "v10", "v11", "v12", "v20")  # natural order; v3 is broken
SHARDS = ("1/3", "2/3", "3/3")
FEATURES = ("precompute-features", "../clips", "-e", "gist", "--device", "cpu", "-o", "f.h5", "--report", "r.jsonl")
FRAMES = ("extract-frames", "../clips", "--rate-hz", "5", "-o", "frames", "--report", "e.jsonl", "--labels", "../c.csv")
LOCALIZE = ("localize", "../clips", "-m", "nearest", "-g", "../near.h5", "--device", "cpu")
TRACKS = ("geojson", "geojsonl", "gpx", "kml", "csv")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whole/ holds what undivided runs made, s1/, s2/ and s3/ what shards did."""
    root = tmp_path_factory.mktemp("shards")
    (root / "clips").mkdir()
    for number, name in enumerate(NAMES):
        path = make_video(root / "clips" / f"{name}.mp4", frames=6 + number, rate=5, size=(96, 64))
        rows = "\n".join(f"{t},{50 + number + t * 1e-3:.6f},{10 + t * 1e-3:.6f}" for t in range(4))
        path.with_suffix(".csv").write_text(f"time_s,lat,lon\n{rows}\n")
    (root / "clips" / "v3.mp4").write_bytes(b"\0" * 2000)
    (root / "c.csv").write_text("path,city,country\n" + "".join(f"{name}.mp4,Lund {name},Sweden\n" for name in NAMES))
    ran = dict.fromkeys(("whole", *SHARDS), 0)
    for name in ran:
        folder = root / ("whole" if name == "whole" else f"s{name[0]}")
        folder.mkdir()
        os.chdir(folder)
        shard = [] if name == "whole" else ["--shard", name]
        ran[name] = run([*FEATURES, *shard])
        run([*FRAMES, *shard])
        if name == "whole":
            assert run(["build-gallery", "points", "f.h5", "--keep-features", "-o", "../near.h5"]) == 0
        for kind in TRACKS:
            run([*LOCALIZE, "-o", f"t.{kind}", "--report", f"{kind}.jsonl", *shard])
    assert ran == {"whole": 3, "1/3": 0, "2/3": 0, "3/3": 3}
    return root


@pytest.fixture(autouse=True)
def _stay(monkeypatch: pytest.MonkeyPatch, world: Path) -> None:
    monkeypatch.chdir(world)


def parts(name: str) -> list[str]:
    return [f"s{number}/{name}" for number in (3, 1, 2)]  # in whatever order


@pytest.mark.parametrize("name", ["f.h5", "r.jsonl", "e.jsonl", "csv.jsonl", *(f"t.{kind}" for kind in TRACKS)])
def test_shards_joined_are_the_undivided_run(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    found = merge(parts(name), str(out))
    assert out.read_bytes() == Path("whole", name).read_bytes()
    assert (found.files, found.twice) == (3, 0)
    assert found.pieces == len(NAMES) - (not name.endswith(".jsonl"))


def test_folders_of_frames_joined_are_the_undivided_one(tmp_path: Path) -> None:
    before = tree(Path("s1/frames"))
    merge(parts("frames"), str(tmp_path / "frames"))
    assert tree(tmp_path / "frames") == tree(Path("whole/frames"))
    assert tree(Path("s1/frames")) == before
    with pytest.raises(OutputError, match="exists"):
        merge(parts("frames"), str(tmp_path / "frames"))
    merge(parts("frames"), str(tmp_path / "frames"), overwrite=True)
    assert tree(tmp_path / "frames") == tree(Path("whole/frames"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", TRACKS)
def test_shards_are_read_as_they_are(kind: str) -> None:
    whole = {track.video_id: track for track in read_tracks(f"whole/t.{kind}")}
    for track in read_tracks(f"s1/t.{kind}"):
        assert track.latlon_deg.tolist() == whole[track.video_id].latlon_deg.tolist()


def test_each_shard_takes_its_inputs_whatever_failed() -> None:
    assert [FeatureFile.open(f"s{n}/f.h5").video_ids for n in (1, 2, 3)] == [
        ["v1", "v10", "v20"],
        ["v2", "v11"],
        ["v12"],
    ]
    said = [json.loads(line)["shard"] for line in Path("s3/r.jsonl").read_text().splitlines()]
    assert said == ["3/3 3/7", "3/3 6/7"]


@pytest.mark.parametrize("name", ["f.h5", "t.geojson", "t.csv", "r.jsonl", "frames"])
def test_missing_and_doubled_shards_are_named(name: str, tmp_path: Path) -> None:
    out = str(tmp_path / name)
    with pytest.raises(UsageError, match="missing: shard 2/3;"):
        merge([f"s1/{name}", f"s3/{name}"], out)
    again = tmp_path / f"again-{name}"
    (shutil.copytree if name == "frames" else shutil.copy)(f"s1/{name}", again)
    with pytest.raises(UsageError, match=r"shard 1/3 is given twice: .*s1/.* and .*again-"):
        merge([*parts(name), str(again)], out)
    with pytest.raises(UsageError, match="is given twice"):
        merge([*parts(name), f"./s1/{name}"], out)
    with pytest.raises(UsageError, match="undivided run, but"):
        merge([f"s1/{name}", f"whole/{name}"], out)
    assert not Path(out).exists()
    merge([f"s1/{name}", f"s3/{name}"], out, incomplete=True)
    assert Path(out).exists()


def test_features_made_otherwise_are_refused_by_the_difference(tmp_path: Path) -> None:
    other = ["precompute-features", "clips/v1.mp4", "-e", "gist", "--device", "cpu", "-o", str(tmp_path / "f.h5")]
    assert run([*other, "--rate-hz", "2"]) == 0
    with pytest.raises(SettingError, match=r"sampling rate_hz=1.*, here rate_hz=2"):
        merge(["whole/f.h5", str(tmp_path / "f.h5")], str(tmp_path / "out.h5"))


def test_same_clips_are_kept_once_and_others_refused(tmp_path: Path) -> None:
    for name in ("f.h5", "t.geojson", "t.gpx"):
        copy = tmp_path / name
        shutil.copy(f"whole/{name}", copy)
        assert merge([f"whole/{name}", str(copy)], str(tmp_path / f"out-{name}")).twice == len(NAMES) - 1
        assert (tmp_path / f"out-{name}").read_bytes() == copy.read_bytes()
    text = Path("whole/t.gpx").read_text()
    (tmp_path / "t.gpx").write_text(text.replace('lat="5', 'lat="6', 1))
    with pytest.raises(FormatError, match=r"v1: .* say different things of it"):
        merge(["whole/t.gpx", str(tmp_path / "t.gpx")], str(tmp_path / "new.gpx"))
    assert not (tmp_path / "new.gpx").exists()


def test_merges_from_and_to_streams(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["merge", *parts("t.csv")]) == 0
    assert capfdbinary.readouterr().out == Path("whole/t.csv").read_bytes()
    assert run(["merge", *parts("f.h5")]) == 2
    assert b"cannot be written to a stream" in capfdbinary.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[: len(data) // 2], "cut short|not as|not a table|cells"),
        (lambda data: b"hello\n", "not|holds no clips"),
        (lambda data: b"", "holds nothing|not|holds no clips"),
    ],
)
@pytest.mark.parametrize("kind", TRACKS)
def test_damaged_files_are_refused(kind: str, spoil: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    bad = tmp_path / f"bad.{kind}"
    bad.write_bytes(spoil(Path(f"s2/t.{kind}").read_bytes()))
    with pytest.raises((FormatError, SettingError, UsageError, InputError), match=message):
        merge([f"s1/t.{kind}", str(bad), f"s3/t.{kind}"], str(tmp_path / f"out.{kind}"))
    assert not (tmp_path / f"out.{kind}").exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_wrong_shards_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="such as 2/4"):
        Shard.parse(text)
    assert run(["localize", "clips", "--shard", text]) == 2


def test_more_shards_than_clips_leave_the_last_ones_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    args = ["precompute-features", "clips/v1.mp4", "clips/v2.mp4", "-e", "gist", "--device", "cpu"]
    for number in (1, 2, 3):
        assert run([*args, "-o", str(tmp_path / f"{number}.h5"), "--shard", f"{number}/3"]) == 0
    assert not (tmp_path / "3.h5").exists()
    merge([str(tmp_path / "2.h5"), str(tmp_path / "1.h5")], str(tmp_path / "f.h5"))
    assert FeatureFile.open(tmp_path / "f.h5").video_ids == ["v1", "v2"]


def test_tables_of_scenes_are_joined(tmp_path: Path) -> None:
    rows = [
        ClipScenes(video_id=name, frames=3, shares=np.eye(len(GROUPS))[i]) for i, name in enumerate(("a", "=b", "c"))
    ]
    write_scenes(tmp_path / "whole.csv", rows)
    for shard in (Shard(2, 2), Shard(1, 2)):
        marks = shard.marks([row.video_id for row in rows])
        write_scenes(tmp_path / f"{shard.number}.csv", shard.take(rows), marks)
    assert list(read_scenes(tmp_path / "1.csv")) == ["a", "c"]
    merge([str(tmp_path / "2.csv"), str(tmp_path / "1.csv")], str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
