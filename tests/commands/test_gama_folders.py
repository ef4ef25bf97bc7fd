"""GAMa's folder and BDD100K's own, as a user types it."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from gamamaker import drive, make_tree, write_info, write_lists

from vgeo.cli import run
from vgeo.formats.frames import read_frames


def test_frames_of_the_published_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = make_tree(tmp_path / "gama", aerial=False)
    (root / "info/val/v2.json").write_text("{")
    command = ["extract-frames", str(root), "--layout", "gama", "--out", str(tmp_path / "frames")]
    assert run(command) == 0
    err = capfd.readouterr().err
    assert "5 videos = 3 train + 2 val" in err and "the paper counts 45,029 train + 6,506 test videos" in err
    assert "v2.json: not JSON" in err
    records = list(read_frames(tmp_path / "frames/frames.jsonl"))
    assert len(records) == 3 * 39 + 39 + 37
    assert all((tmp_path / "frames" / record.path).resolve().is_file() for record in records)
    assert {record.labels["split"] for record in records} == {"train", "val"}
    write_lists(tmp_path / "days", {"train_day.list": ["t1 1200"], "val_day_vid.list": ["v0"]})
    assert run([*command, "--labels", str(tmp_path / "days"), "--overwrite"]) == 0
    records = list(read_frames(tmp_path / "frames/frames.jsonl"))
    assert {(record.video_id, record.labels["daytime"]) for record in records} == {("t1", "day"), ("v0", "day")}
    capfd.readouterr()
    write_lists(tmp_path / "days", {"train_day.list": ["t1 1200", "t1 twelve"]})
    assert run([*command, "--labels", str(tmp_path / "days"), "--overwrite"]) == 65
    assert "train_day.list line 2: 'twelve' is no number of frames" in capfd.readouterr().err


def test_videos_of_bdd100k_with_their_info(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        write_info(tmp_path, drive(f"b{i}", 4, 40.0 + i))
        _write_video(tmp_path / f"videos/val/b{i}.mov", 90)
    (tmp_path / "info/val/b2.json").write_text(json.dumps({"startTime": 1, "locations": []}))
    assert run(["extract-frames", str(tmp_path), "--layout", "gama", "--out", str(tmp_path / "out")]) == 66
    assert f"'vgeo extract-frames {tmp_path}/videos/val --track {tmp_path}/info/val" in capfd.readouterr().err
    words = ["--track", str(tmp_path / "info/val"), "--rate-hz", "15", "--out", str(tmp_path / "frames")]
    assert run(["extract-frames", str(tmp_path / "videos/val"), *words]) == 3
    assert "b2.json: none of its locations can be used (0 in the file)" in capfd.readouterr().err
    records = list(read_frames(tmp_path / "frames/frames.jsonl"))
    assert len(records) == 2 * 45
    for record in records:  # locations are at -0.7 s (not used), 0.3, 1.3, ...; before the first, its own is held
        at = max(record.time_s, 0.3) + 0.7
        place = (40.0 + int(record.video_id[1]) + 5e-5 * at, -73.95 + 3e-5 * at)
        assert (record.lat_deg, record.lon_deg) == pytest.approx(place, abs=1e-6)


def _write_video(path: Path, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = "2017-08-27T03:02:43.000000Z"  # local, as phones write it
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(frames):
            pixels = np.full((48, 64, 3), k, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
