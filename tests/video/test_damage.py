"""Damage that is told of, and times that survive it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clipmaker import make_video, read_number

from vgeo.video.hints import hint
from vgeo.video.pixels import Shape
from vgeo.video.recording import VideoSource
from vgeo.video.sampling import Sampling
from vgeo.video.table import _rising

Maker = Callable[[str], Path]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 1, 2, 90, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
        ([0, 1, 2, -50, -40, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
        ([90, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 1, None, 3], [0, 1, 2, 3]),
        ([0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7]),  # a clock that starts again
        ([0, 5, 99, 15, 21], [0, 5, 10, 15, 21]),
    ],
)
def test_a_damaged_time_moves_no_other(stamps: list[int | None], expected: list[int]) -> None:
    times, _ = _rising(stamps, 1)
    assert times.tolist() == expected


def test_a_rate_without_sense_loses_no_frame() -> None:
    time_s = np.arange(60) / 4e9
    assert Sampling(stride=1).rows(time_s, 60 / 4e9).tolist() == list(range(60))
    assert Sampling(stride=1, end_s=0.5).rows(np.arange(60) / 15, 4.0).tolist() == list(range(8))


def test_times_beyond_reason_are_not_believed(tmp_path: Path) -> None:
    pts_ms = [0, 40, 2 * 10**12]
    source = VideoSource(make_video(tmp_path / "late.mkv", frames=3, pts_ms=pts_ms, options={"bf": "0"}), "pyav")
    assert source.time_s.tolist() == [0, 0.04, 0.08] and source.duration_s == 0.12
    assert [read_number(image) for _, image in source.images(range(3), Shape())] == [0, 1, 2]
    assert any("cannot be" in words for words in source.remarks())


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_frames_after_damage_are_told(suffix: str, tmp_path: Path) -> None:
    front = {"movflags": "+faststart"} if suffix == "mp4" else None
    options = {"g": "30", "bf": "0", "preset": "veryfast"}
    path = make_video(
        tmp_path / f"clip.{suffix}", frames=120, rate=Fraction(30), options=options, container_options=front
    )
    data = bytearray(path.read_bytes())
    assert not VideoSource(path, "pyav").remarks()
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    source = VideoSource(path, "pyav")
    wrong = [row for row, image in source.images(range(len(source.time_s)), Shape()) if read_number(image) != row]
    (remark,) = (words for words in source.remarks() if "may be wrong" in words)
    assert len(wrong) <= int(remark.split()[0]) <= 30, "to the next key frame"


def test_an_index_that_is_there_is_not_called_missing(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=3)
    assert hint(path) == "; its index is damaged"
    path.write_bytes(path.read_bytes()[:-600])
    assert "missing" in hint(path)
