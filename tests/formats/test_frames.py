"""frames.jsonl: what is written is read again, and what is wrong is named by its line."""

from dataclasses import replace
from pathlib import Path

import pytest

from vgeo.errors import FormatError, InputError
from vgeo.formats.frames import format_frame, format_frames, read_frames
from vgeo.records import FrameRecord

FULL = FrameRecord(
    video_id="Zürich",
    frame_index=30,
    time_s=1.0000004,
    path="Zürich/000030.jpg",
    timestamp_utc="2024-06-01T12:00:01.000Z",
    lat_deg=47.37688861234,
    lon_deg=8.5416941,
    labels={"city": "Zürich"},
)
BARE = FrameRecord(video_id="b", frame_index=0, time_s=0.0, path="b/000000.jpg")


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_text(format_frames([FULL, BARE]))
    first, second = read_frames(tmp_path)
    assert second == BARE
    assert (first.video_id, first.time_s, first.lat_deg) == ("Zürich", 1.0, 47.3768886)
    assert first.labels == FULL.labels and first.timestamp_utc == FULL.timestamp_utc
    assert read_frames(path) == [first, second]


def test_frames_of_a_video_share_what_they_have_in_common(tmp_path: Path) -> None:
    frames = [replace(FULL, frame_index=i) for i in range(2)]
    other = replace(FULL, frame_index=2, labels={"city": "Bern"})
    (tmp_path / "frames.jsonl").write_text(format_frames([*frames, other, BARE]))
    first, second, third, fourth = read_frames(tmp_path)
    assert first.labels is second.labels and first.video_id is second.video_id
    assert (third.labels, fourth.labels, fourth.video_id) == ({"city": "Bern"}, {}, "b")


def test_what_is_unknown_is_not_written() -> None:
    assert format_frame(BARE) == '{"video_id": "b", "frame_index": 0, "time_s": 0.0, "path": "b/000000.jpg"}\n'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"video_id": "a", "frame_index": 0, "time_s": 0}', "no path"),
        ('{"video_id": "a", "frame_index": "x", "time_s": 0, "path": "a.jpg"}', "line 2"),
        ('{"video_id": "a", "frame_index": 0, "time_s": 1e999, "path": "a.jpg"}', "not finite"),
        ('{"video_id": "a", "frame_index": 0, "time_s": null, "path": "a.jpg"}', "time_s is not finite"),
        ('{"video_id": "a", "frame_index": 0, "time_s": 1e12, "path": "a.jpg"}', "not seconds from the start"),
        ('{"video_id": "a", "frame_index": 0, "time_s": NaN, "path": "a.jpg"}', "NaN"),
        ('{"video_id": "a", "frame_index": 0, "time_s": 0, "path": "../../etc/passwd"}', "leaves the folder"),
        ('{"video_id": "a", "frame_index": 0, "time_s": 0, "path": "/etc/passwd"}', "leaves the folder"),
        ('{"video_id": 7, "frame_index": 0, "time_s": 0, "path": "a.jpg"}', "not text"),
        ('{"video_id": "a", "frame_index": 0, "time_s": 0, "path": "a", "lat_deg": 1}', "only one"),
        (
            '{"video_id": "a", "frame_index": 0, "time_s": 0, "path": "a", "lat_deg": 91, "lon_deg": 0}',
            "not on the Earth",
        ),
        ('{"video_id": "a", "frame_index": 0, "time_s": 0, "path": "a", "lat_deg": "x", "lon_deg": 0}', "line 2"),
        ('{"video_id": "a", "frame_index": 0, "time_s": 0, "path": "a", "timestamp_utc": "noon"}', "RFC 3339"),
        ('{"video_id": "a", "frame_index": 0, "time_s": 0, "path": "a", "labels": [1]}', "line 2"),
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_wrong_lines_are_named(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_text(format_frame(BARE) + line + "\n")
    with pytest.raises(FormatError, match=words):
        read_frames(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_frames(tmp_path)
