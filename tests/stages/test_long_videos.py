"""Long videos cut into clips: which frames, when, where, labelled how; kills and changes lose nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
import numpy as np
import pytest
from clipmaker import make_video, read_number
from PIL import Image

from vgeo.cli import run
from vgeo.formats.features import FeatureFile
from vgeo.formats.frames import read_frames
from vgeo.records import FrameRecord
from vgeo.stages.extract_frames import extract_frames
from vgeo.video.clips import TrackSource
from vgeo.video.cutting import Cutting
from vgeo.video.sampling import Sampling

CUTTING = Cutting(clip_frames=40, frames_per_clip=8)  # 38 to 42
START = "2024-06-01T12:00:00Z"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    options = {"g": "25", "bf": "2", "preset": "veryfast"}
    make_video(folder / "tokyo.mp4", frames=125, rate=25, options=options, metadata={"creation_time": START})
    make_video(folder / "lund.mp4", frames=90, rate=25, options=options)
    (folder / "tokyo.gpx").write_text(
        '<gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>'
        '<trkpt lat="35.0" lon="139.0"><time>2024-06-01T12:00:00Z</time></trkpt>'
        '<trkpt lat="35.00025" lon="139.0"><time>2024-06-01T12:00:02.500Z</time></trkpt>'
        '<trkpt lat="35.0005" lon="139.0"><time>2024-06-01T12:00:05Z</time></trkpt></trkseg></trk></gpx>'
    )
    return folder


def by_clip(out: Path) -> dict[str, list[FrameRecord]]:
    return {name: list(records) for name, records in groupby(read_frames(out), key=lambda record: record.video_id)}


def numbers(out: Path, records: list[FrameRecord]) -> list[int]:
    """The numbers drawn on the pictures: which frames of the long video they are."""
    return [read_number(np.asarray(Image.open(out / record.path))) for record in records]


def expected(start: int, stop: int, taken: int = 8) -> list[int]:
    part = Fraction(stop - start, taken)
    return [start + int(part * k + part / 2) for k in range(taken)]


def snapshot(out: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*.jpg")}


def test_frames_times_and_places(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcomes = extract_frames([videos], out, cutting=CUTTING, size=64)
    assert [(o.status, o.frames, o.declared_frames, len(o.outputs)) for o in outcomes] == [
        ("done", 16, 90, 2), ("done", 24, 125, 3),
    ]  # fmt: skip
    assert "2 clips of 40 frames; the last 10 frames are too few for a clip" in outcomes[0].message
    assert "3 clips of 41 to 42 frames" in outcomes[1].message
    clips = by_clip(out)
    starts = {"lund_000": (0, 40), "lund_001": (40, 80), "tokyo_000": (0, 41), "tokyo_001": (41, 83)}
    starts["tokyo_002"] = (83, 125)
    assert list(clips) == list(starts)
    for name, (start, stop) in starts.items():
        records = clips[name]
        shown = numbers(out, records)
        assert shown == expected(start, stop)
        assert [record.frame_index for record in records] == [number - start for number in shown]
        assert [record.time_s for record in records] == pytest.approx([(n - start) / 25 for n in shown], abs=1e-6)
        assert all(record.path == f"{name}/{record.frame_index:06d}.jpg" for record in records)
        assert all(record.labels == {"source": name.split("_")[0]} for record in records)
        if name.startswith("tokyo"):
            assert [record.lat_deg for record in records] == pytest.approx([35 + n / 25 / 1e4 for n in shown], abs=1e-7)
            assert [record.timestamp_utc for record in records] == [
                f"2024-06-01T12:00:{n // 25:02d}.{n % 25 * 40:03d}Z" for n in shown
            ]
        facts = json.loads((out / name / "clip.json").read_text())
        assert (facts["first_frame"], facts["of_frames"], facts["start_s"]) == (start, stop - start, start / 25)


def test_only_what_lies_between_two_times(videos: Path, tmp_path: Path) -> None:
    extract_frames([videos / "tokyo.mp4"], tmp_path / "out", Sampling(start_s=1, end_s=2.6), cutting=CUTTING)
    clips = by_clip(tmp_path / "out")
    assert {name: numbers(tmp_path / "out", records) for name, records in clips.items()} == {
        "tokyo_000": expected(25, 65)
    }
    first = clips["tokyo_000"][0]
    assert (first.time_s, first.timestamp_utc) == (0.08, "2024-06-01T12:00:01.080Z")
    assert [record.frame_index for record in clips["tokyo_000"]] == [number - 25 for number in expected(25, 65)]
    facts = json.loads((tmp_path / "out" / "tokyo_000" / "clip.json").read_text())
    assert (facts["first_frame"], facts["start_s"]) == (25, 1)


def test_square_tracks_and_offsets(videos: Path, tmp_path: Path) -> None:
    source = TrackSource(file=videos / "tokyo.gpx", time_offset_s=1)
    extract_frames([videos / "lund.mp4"], tmp_path / "out", cutting=CUTTING, size=48, square=True, source=source)
    records = by_clip(tmp_path / "out")["lund_001"]
    assert Image.open(tmp_path / "out" / records[0].path).size == (48, 48)
    shown = numbers(tmp_path / "out", records)
    assert [record.lat_deg for record in records] == pytest.approx([35 + (n / 25 + 1) / 1e4 for n in shown], abs=1e-7)


def test_pictures_and_frames_are_cut_as_videos_are(videos: Path, tmp_path: Path) -> None:
    extract_frames([videos / "tokyo.mp4"], tmp_path / "all", Sampling(stride=1))
    extract_frames([tmp_path / "all"], tmp_path / "out", cutting=CUTTING)
    clips = by_clip(tmp_path / "out")
    assert [numbers(tmp_path / "out", records) for records in clips.values()] == [
        expected(0, 41), expected(41, 83), expected(83, 125),
    ]  # fmt: skip
    assert clips["tokyo_002"][0].timestamp_utc == "2024-06-01T12:00:03.400Z"


def test_nothing_is_done_twice(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    extract_frames([videos / "lund.mp4"], out, cutting=CUTTING)
    before = snapshot(out)
    outcomes = extract_frames([videos], out, cutting=CUTTING)
    assert [outcome.status for outcome in outcomes] == ["skipped", "done"]
    assert before.items() <= snapshot(out).items() and len(snapshot(out)) == 40
    monkeypatch.setattr("vgeo.stages.extract_frames.open_clip", None)  # nothing is opened either
    outcomes = extract_frames([videos], out, cutting=CUTTING)
    assert [(outcome.status, outcome.frames) for outcome in outcomes] == [("skipped", 16), ("skipped", 24)]


def test_a_video_that_changed_is_cut_anew(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    video = tmp_path / "in" / "a.mp4"
    video.write_bytes((videos / "tokyo.mp4").read_bytes())
    extract_frames([video], tmp_path / "out", cutting=CUTTING)
    assert list(by_clip(tmp_path / "out")) == ["a_000", "a_001", "a_002"]
    video.write_bytes((videos / "lund.mp4").read_bytes())
    extract_frames([video], tmp_path / "out", cutting=CUTTING)
    clips = by_clip(tmp_path / "out")
    assert list(clips) == ["a_000", "a_001"], "the third was of a longer video"
    assert numbers(tmp_path / "out", clips["a_001"]) == expected(40, 80)


def test_labels_of_videos_and_of_clips(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table, out = tmp_path / "places.csv", tmp_path / "out"
    head = "path,city,country,split\nraw/tokyo.mp4,Tokyo,Japan,train\n"
    table.write_text(head)
    extract_frames([videos], out, cutting=CUTTING, labels=table)
    assert "does not name 1 of 2 videos, lund first" in caplog.text
    said = {"city": "Tokyo", "country": "Japan", "split": "train", "source": "tokyo"}
    assert {name: records[0].labels for name, records in by_clip(out).items()} == {
        "lund_000": {"source": "lund"}, "lund_001": {"source": "lund"},
        "tokyo_000": said, "tokyo_001": said, "tokyo_002": said,
    }  # fmt: skip
    before = snapshot(out)
    table.write_text(head + "tokyo_001,Kawasaki,Japan,\nlund_000,Lund,Sweden,val\nlund_001,Lund,Sweden,val\n")
    monkeypatch.setattr("vgeo.stages.extract_frames.open_clip", None)
    outcomes = extract_frames([videos], out, cutting=CUTTING, labels=table)
    assert [o.message for o in outcomes] == [f"finished before, {n} clips now with other labels" for n in (2, 1)]
    assert snapshot(out) == before
    assert (out / "clips.csv").read_text() == (
        "path,city,state,country,continent,split,source\n"
        "lund_000,Lund,,Sweden,,val,lund\nlund_001,Lund,,Sweden,,val,lund\n"
        "tokyo_000,Tokyo,,Japan,,train,tokyo\ntokyo_001,Kawasaki,,Japan,,train,tokyo\n"
        "tokyo_002,Tokyo,,Japan,,train,tokyo\n"
    )
    extract_frames([videos], out, cutting=CUTTING)
    assert {tuple(records[0].labels) for records in by_clip(out).values()} == {("source",)}, "without a table, none"


def test_a_table_comes_before_the_labels_that_frames_carry(videos: Path, tmp_path: Path) -> None:
    def named(city: str) -> Path:
        (tmp_path / "t.csv").write_text(f"video_id,city\ntokyo,{city}\n")
        return tmp_path / "t.csv"

    extract_frames([videos / "tokyo.mp4"], tmp_path / "all", Sampling(stride=1), labels=named("Tokyo"))
    for labels, city in ((None, "Tokyo"), (named("Kyoto"), "Kyoto"), (named("Osaka"), "Osaka"), (None, "Tokyo")):
        extract_frames([tmp_path / "all"], tmp_path / "cut", cutting=CUTTING, labels=labels and named(city))
        clips = by_clip(tmp_path / "cut")
        assert {record.labels["city"] for records in clips.values() for record in records} == {city}
    (tmp_path / "fresh").mkdir()
    extract_frames([tmp_path / "all"], tmp_path / "fresh", cutting=CUTTING, labels=named("Nara"))
    assert {records[0].labels["city"] for records in by_clip(tmp_path / "fresh").values()} == {"Nara"}


def test_labels_of_videos_that_stay_whole(videos: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "places.csv", tmp_path / "out"
    for city in ("Lund", "Malmö"):
        table.write_text(f"video_id,city,split\nlund,{city},val\ntokyo,Tokyo,train\n")
        extract_frames([videos], out, Sampling(count=2), labels=table)
        assert [record.labels for record in read_frames(out)] == 2 * [{"city": city, "split": "val"}] + 2 * [
            {"city": "Tokyo", "split": "train"}
        ]


def test_a_stretch_that_is_lost(tmp_path: Path) -> None:
    """What cannot be decoded fails, in every run; the other clips of the video stay."""
    video = make_video(tmp_path / "a.mp4", frames=200, rate=25, options={"g": "10", "preset": "veryfast"}, noise=20)
    with av.open(str(video)) as container:
        at = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(video.read_bytes())
    for offset, size in at[75:125]:  # all of the third clip, and something before and behind
        data[offset : offset + size] = bytes(size)
    video.write_bytes(data)
    for _ in range(2):
        outcome = extract_frames([video], tmp_path / "out", cutting=CUTTING)[0]
        assert (outcome.status, outcome.exit_code) == ("failed", 65)
        assert "no frame of a_002 can be decoded; the video's other clips are kept" in outcome.message
        clips = by_clip(tmp_path / "out")
        assert list(clips) == ["a_000", "a_001", "a_003", "a_004"]
        assert numbers(tmp_path / "out", clips["a_000"]) == expected(0, 40)
        assert numbers(tmp_path / "out", clips["a_004"]) == expected(160, 200)
        assert set(numbers(tmp_path / "out", clips["a_001"])) < set(expected(40, 80)), "the last one is lost"


def test_the_data_set_is_read_by_all_that_follow(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("places.csv").write_text("path,city,country\ntokyo.mp4,Tokyo,Japan\nlund.mp4,Lund,Sweden\n")
    words = ["extract-frames", str(videos), "--clip-frames", "40", "--frames-per-clip", "8", "--labels", "places.csv"]
    assert run(words) == 0
    assert run(["precompute-features", "frames", "--device", "cpu", "--out", "a.h5"]) == 0
    file = FeatureFile.open("a.h5")
    assert len(file) == 40 and file.video_ids == ["lund_000", "lund_001", "tokyo_000", "tokyo_001", "tokyo_002"]
    assert file.labels["source"] == 2 * ["lund"] + 3 * ["tokyo"]
    assert file.frame_index[:8].tolist() == expected(0, 40) and np.isfinite(file.latlon_deg[16:]).all()
    words = ["precompute-features", "frames", "--layout", "cityguessr68k", "--device", "cpu", "--out", "b.h5"]
    assert run(words) == 0
    layout = FeatureFile.open("b.h5")
    assert dict(zip(layout.video_ids, layout.labels["city"], strict=True)) == dict(
        zip(file.video_ids, file.labels["city"], strict=True)
    )


def test_kills_lose_no_finished_clip(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=800, options={"g": "20", "preset": "ultrafast"})
    out, cutting = tmp_path / "out", Cutting(clip_frames=20, frames_per_clip=20)
    words = [sys.executable, "-m", "vgeo", "extract-frames", str(video), "--out", str(out)]
    words += ["--clip-frames", "20", "--frames-per-clip", "20"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while len(list(out.glob("[!.]*/clip.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    finished = {path.parent.name for path in out.glob("[!.]*/clip.json")}
    assert 4 <= len(finished) < 40, "in the middle of one video"
    before = {path: state for path, state in snapshot(out).items() if Path(path).parent.name in finished}
    outcome = extract_frames([video], out, cutting=cutting)[0]
    assert outcome.status == "done" and f"{len(finished)} of them were finished before" in outcome.message
    assert before.items() <= snapshot(out).items() and len(snapshot(out)) == 800 == outcome.frames
    clips = by_clip(out).values()
    assert [numbers(out, [records[0], records[-1]]) for records in clips] == [[n, n + 19] for n in range(0, 800, 20)]
    assert not list(out.glob(".*.partial"))
