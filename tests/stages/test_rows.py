"""Rows of features from frames that come in batches, against windows cut from the whole clip at once."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vgeo.encoders._windows import Windows
from vgeo.encoders.base import Encoder, EncoderSpec
from vgeo.errors import UsageError
from vgeo.stages.rows import WindowRows, rows_of


def times(frames: int) -> np.ndarray:
    return np.arange(frames) / 10


class Reader(Encoder):
    """Reads the numbers written into frames: a window's features are its frames' numbers."""

    def __init__(self, windows: Windows | None, size: int = 4) -> None:
        dim = windows.length if windows else 1
        self.spec = EncoderSpec(
            name="reader", dim=dim, weights="none", weights_hash="none", preprocessing="", settings={}
        )
        self.windows, self._size = windows, size
        self.calls: list[int] = []

    def __call__(self, frames: Tensor) -> Tensor:
        self.calls.append(len(frames))
        corner = frames[..., 0, 0, :2].float() @ torch.tensor([1.0, 256.0])
        return corner if self.windows else corner[:, None]

    def shrink(self, frames_BHWC: Tensor) -> Tensor:
        return frames_BHWC[:, : self._size, : self._size]


def numbered(first: int, count: int, height: int = 6) -> Tensor:
    """Frames that carry their number in the corner."""
    images = torch.zeros(count, height, 8, 3, dtype=torch.uint8)
    numbers = torch.arange(first, first + count)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = (numbers % 256).byte(), (numbers // 256).byte()
    return images


def feed(reader: Reader, frames: int, batch: int, promised: int | None = None) -> tuple[np.ndarray, np.ndarray, str]:
    rows = rows_of({"reader": reader}, times(promised or frames))
    for first in range(0, frames, batch):
        rows.add(numbered(first, min(batch, frames - first), height=6 + first % 2))
    tables, stands_for, remark = rows.finish()
    return tables["reader"], stands_for, remark


@pytest.mark.parametrize("rule", ["windows", "first76", "strided", "uniform"])
@pytest.mark.parametrize("batch", [1, 5, 16, 32, 1000])
@pytest.mark.parametrize("frames", [1, 15, 16, 17, 40, 100, 300])
def test_batches_do_not_matter(rule: str, batch: int, frames: int) -> None:
    """Nor that frames of one window differ in size."""
    windows = Windows(length=16, rule=rule)
    table, stands_for, remark = feed(Reader(windows), frames, batch)
    np.testing.assert_array_equal(table, windows.rows(frames))
    assert all(number in row for number, row in zip(stands_for, table, strict=True))
    assert (np.diff(stands_for) > 0).all()
    assert remark == windows.remark(frames)


def test_middle_frames_stand_for_windows() -> None:
    _, stands_for, _ = feed(Reader(Windows(length=16, rule="windows")), 40, 7)
    assert stands_for.tolist() == [8, 24, 32]
    _, stands_for, remark = feed(Reader(Windows(length=16, rule="windows")), 5, 7)
    assert (stands_for.tolist(), remark) == ([2], "5 frames for a window of 16, the last repeated")


@pytest.mark.parametrize("rule", ["windows", "first76"])
@pytest.mark.parametrize("frames", [1, 20, 33, 64, 71])
def test_frames_that_were_promised_and_do_not_come(rule: str, frames: int) -> None:
    windows = Windows(length=16, rule=rule)
    table, _, _ = feed(Reader(windows), frames, 6, promised=100)
    np.testing.assert_array_equal(table, windows.rows(frames))


def test_uniform_takes_the_nearest_where_frames_do_not_come() -> None:
    """Of 90 frames it would take 2, 8, 14, ...; it kept those of 100, and the last ones."""
    windows = Windows(length=16, rule="uniform")
    table, _, _ = feed(Reader(windows), 90, 6, promised=100)
    assert np.abs(table[0] - windows.rows(90)[0]).max() <= 3
    assert set(table[0].astype(int)) <= {*windows.rows(100)[0].tolist(), *range(70, 90)}


@pytest.mark.parametrize("rule", ["windows", "first76", "strided", "uniform"])
@pytest.mark.parametrize("frames", [1, 15, 16, 40, 100, 300])
def test_frames_that_no_window_wants_need_not_come(rule: str, frames: int) -> None:
    windows = Windows(length=16, rule=rule)
    wanted = np.unique(windows.rows(frames))
    rows = rows_of({"reader": (reader := Reader(windows))}, times(frames), wanted=wanted)
    everything = numbered(0, frames)
    for first in range(0, len(wanted), 7):
        rows.add(everything[wanted[first : first + 7]])
    tables, stands_for, remark = rows.finish()
    table, of_all, said = feed(Reader(windows), frames, 32)
    np.testing.assert_array_equal(tables["reader"], table)
    assert wanted[stands_for].tolist() == of_all.tolist() and remark == said and sum(reader.calls) == len(table)


def test_a_wanted_frame_that_does_not_come_is_replaced_by_the_next() -> None:
    windows = Windows(length=4, rule="strided")
    wanted = np.unique(windows.rows(40))
    assert wanted.tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    rows = rows_of({"reader": Reader(windows)}, times(40), wanted=wanted)
    rows.add(numbered(0, 40)[[0, 5, 15, 20, 25, 30, 35]])
    tables, stands_for, remark = rows.finish()
    assert tables["reader"].tolist() == [[0, 5, 15, 20], [25, 30, 35, 35]]
    assert stands_for.tolist() == [2, 5] and not remark


@pytest.mark.parametrize("rule", ["windows", "first76", "strided", "uniform"])
def test_a_long_clip_needs_no_more_memory(rule: str) -> None:
    reader = Reader(Windows(length=16, rule=rule))
    rows = rows_of({"reader": reader}, times(5000))
    assert isinstance(rows, WindowRows)
    most = 0
    for first in range(0, 5000, 10):
        rows.add(numbered(first, 10))
        most = max(most, len(rows._kept["reader"]))
    assert most <= 3 * 16 + 10
    assert len(rows.finish()[0]["reader"]) == {"windows": 313, "strided": 63}.get(rule, 1)


def test_windows_that_are_full_together_are_encoded_together() -> None:
    reader = Reader(Windows(length=8, rule="windows"))
    feed(reader, 70, 32)
    assert reader.calls == [4, 4, 1]


def test_encoders_of_equal_windows_share_rows_and_others_do_not() -> None:
    sixteen, eight = Windows(length=16, rule="windows"), Windows(length=8, rule="windows")
    rows = rows_of({"a": Reader(sixteen), "b": Reader(sixteen, size=2)}, times(20))
    rows.add(numbered(0, 20))
    tables, _, _ = rows.finish()
    np.testing.assert_array_equal(tables["a"], tables["b"])
    with pytest.raises(UsageError, match=r"a \(16 frames a row, windows\) and b \(one frame a row\): their rows"):
        rows_of({"a": Reader(sixteen), "b": Reader(None)}, times(20))
    with pytest.raises(UsageError, match=r"a \(16 frames a row, windows\) and b \(8 frames a row, windows\)"):
        rows_of({"a": Reader(sixteen), "b": Reader(eight)}, times(20))


def test_frames_alone_are_rows_as_before() -> None:
    table, stands_for, remark = feed(Reader(None), 10, 4)
    np.testing.assert_array_equal(table[:, 0], np.arange(10))
    assert stands_for.tolist() == list(range(10)) and not remark
