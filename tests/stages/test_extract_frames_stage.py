"""The stage: nothing is done twice, kills lose nothing that was finished, and frames can be read as clips again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clipmaker import make_video, read_number
from PIL import Image

from vgeo.errors import SettingError
from vgeo.formats.frames import read_frames
from vgeo.stages.extract_frames import extract_frames
from vgeo.video.clips import TrackSource, find_clips, open_clip
from vgeo.video.sampling import Sampling

GPX = (
    '<gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>'
    '<trkpt lat="48.0" lon="2.0"><time>2024-06-01T12:00:00Z</time></trkpt>'
    '<trkpt lat="48.0003" lon="2.0"><time>2024-06-01T12:00:03Z</time></trkpt></trkseg></trk></gpx>'
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name in ("a", "b", "c"):
        make_video(folder / f"{name}.mp4", options={"g": "30", "preset": "veryfast"})
    (folder / "b.gpx").write_text(GPX)
    return folder


def snapshot(out: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*.jpg")}


def test_frames_positions_and_times(clips: Path, tmp_path: Path) -> None:
    outcomes = extract_frames([clips], tmp_path / "out", Sampling(rate_hz=2), size=64)
    assert [(o.status, o.frames, o.declared_frames) for o in outcomes] == [("done", 6, 90)] * 3
    records = [record for record in read_frames(tmp_path / "out") if record.video_id == "b"]
    assert [record.frame_index for record in records] == [0, 15, 30, 45, 60, 75]
    assert [record.time_s for record in records] == [0, 0.5, 1, 1.5, 2, 2.5]
    assert [record.lat_deg for record in records] == pytest.approx([48 + t / 10000 for t in (0, 0.5, 1, 1.5, 2, 2.5)])
    assert records[1].timestamp_utc == "2024-06-01T12:00:00.500Z"
    for record in records:
        picture = np.asarray(Image.open(tmp_path / "out" / record.path))
        assert picture.shape == (64, 96, 3) and read_number(picture) == record.frame_index
    assert all(record.lat_deg is None for record in read_frames(tmp_path / "out") if record.video_id != "b")


def test_positions_end_where_the_track_does(clips: Path, tmp_path: Path) -> None:
    source = TrackSource(file=clips / "b.gpx", time_offset_s=1.5, max_gap_s=0.5)
    extract_frames([clips / "a.mp4"], tmp_path / "out", Sampling(rate_hz=2), source=source)
    known = [record.lat_deg is not None for record in read_frames(tmp_path / "out")]
    assert known == [False, False, True, True, True, False]  # fixes at -1.5 and 1.5 s of the clip


def test_nothing_is_done_twice(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract_frames([clips / "a.mp4"], out)
    before = snapshot(out)
    outcomes = extract_frames([clips], out)
    assert [outcome.status for outcome in outcomes] == ["skipped", "done", "done"]
    assert before.items() <= snapshot(out).items()
    assert {outcome.status for outcome in extract_frames([clips], out)} == {"skipped"}
    with pytest.raises(SettingError, match="sampling"):
        extract_frames([clips], out, Sampling(count=2))
    assert {o.status for o in extract_frames([clips], out, Sampling(count=2), overwrite=True)} == {"done"}
    assert len(read_frames(out)) == 6


def test_changed_clips_and_tracks_are_done_again(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    out = tmp_path / "out"
    extract_frames([folder], out)
    assert read_frames(out)[0].lat_deg is None
    (folder / "a.gpx").write_text(GPX)
    assert [outcome.status for outcome in extract_frames([folder], out)] == ["done"]
    assert read_frames(out)[0].lat_deg == 48


def test_frames_are_clips_again(clips: Path, tmp_path: Path) -> None:
    extract_frames([clips], tmp_path / "out", Sampling(rate_hz=2))
    found = find_clips([tmp_path / "out"])
    assert [(clip.video_id, clip.kind) for clip in found] == [("a", "frames"), ("b", "frames"), ("c", "frames")]
    with open_clip(found[1], size=32, square=True) as opened:
        frames = list(opened)
    assert [frame.index for frame in frames] == [0, 15, 30, 45, 60, 75], "all of them, whatever the default rate"
    assert frames[2].latlon_deg == pytest.approx([48.0001, 2]) and frames[2].image.shape == (32, 32, 3)
    assert str(frames[1].timestamp_utc) == "2024-06-01 12:00:00.500000+00:00"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    one = make_video(folder / "0.mp4", frames=60, options={"preset": "veryfast"})
    for number in range(1, 40):
        (folder / f"{number}.mp4").write_bytes(one.read_bytes())
    return folder


def start(many: Path, out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "vgeo", "extract-frames", str(many), "--out", str(out), "--stride", "3"]
    return subprocess.Popen(words, stderr=subprocess.PIPE)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_kills_lose_nothing_finished(kill: signal.Signals, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(many, out)
    wait_for(lambda: len(list(out.glob("[!.]*/clip.json"))) >= 5)
    os.kill(process.pid, kill)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == (-9 if kill == signal.SIGKILL else 130), errors
    finished = {path.parent.name for path in out.glob("[!.]*/clip.json")}
    assert 5 <= len(finished) < 40
    for name in finished:
        assert len(list((out / name).glob("*.jpg"))) == 20 == len(read_frames(out / name))
    before = snapshot(out)
    outcomes = extract_frames([many], out, Sampling(stride=3))
    assert sum(outcome.status == "skipped" for outcome in outcomes) == len(finished)
    kept = {path: state for path, state in before.items() if Path(path).parent.name in finished}
    assert kept.items() <= snapshot(out).items()
    assert len(read_frames(out)) == 40 * 20 == len(snapshot(out))
    assert not list(out.glob(".*.partial"))
