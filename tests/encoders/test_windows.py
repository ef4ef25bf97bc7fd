"""Windows of frames against slices written out by hand."""

import numpy as np
import pytest

from vgeo.encoders._windows import Windows, middle, read_windows, second_of
from vgeo.errors import FormatError, UsageError


def one_after_the_other(frames: list[int], length: int) -> list[list[int]]:
    """Cut a list as one would with scissors; the last piece ends where the list does."""
    if len(frames) <= length:
        return [frames + [frames[-1]] * (length - len(frames))]
    found = []
    while len(frames) > length:
        found.append(frames[:length])
        frames = frames[length:]
    rest = found[-1] + frames
    return [*found, rest[-length:]]


@pytest.mark.parametrize("length", [1, 2, 8, 16])
@pytest.mark.parametrize("frames", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100])
def test_windows_follow_each_other_and_the_last_ends_with_the_clip(frames: int, length: int) -> None:
    rows = Windows(length=length, rule="windows").rows(frames)
    assert rows.tolist() == one_after_the_other(list(range(frames)), length)


def test_first76_is_the_published_choice() -> None:
    windows = Windows(length=16, rule="first76")
    names = [f"{n:03d}.jpg" for n in range(100)]
    assert [names[n] for n in windows.rows(100)[0]] == names[::5][:16]
    assert windows.rows(100).tolist() == windows.rows(76).tolist() == [list(range(0, 76, 5))]
    assert windows.rows(75).tolist() == [[*range(0, 71, 5), 70]]  # the published loader fails here: 15 frames
    assert windows.rows(1).tolist() == [[0] * 16]
    assert Windows(length=8, rule="first76").rows(100).tolist() == [list(range(0, 36, 5))]


def test_uniform_takes_the_middles_of_equal_parts() -> None:
    windows = Windows(length=16, rule="uniform")
    for frames in (1, 5, 16, 17, 100, 1000):
        parts = [(i + 0.5) * frames / 16 for i in range(16)]
        assert windows.rows(frames).tolist() == [[int(np.floor(place)) for place in parts]]
    assert windows.rows(16).tolist() == [list(range(16))]
    assert windows.rows(160)[0, :2].tolist() == [5, 15]


def test_the_middle_frame_is_of_those_that_are_there() -> None:
    assert middle(np.arange(16)) == 8
    assert middle(np.array([4, 4, 4])) == 4
    assert middle(Windows(length=16, rule="windows").rows(3)[0]) == 1
    assert middle(Windows(length=16, rule="first76").rows(100)[0]) == 40


def test_what_is_repeated_is_said() -> None:
    assert Windows(length=16, rule="windows").remark(16) == Windows(length=16, rule="first76").remark(76) == ""
    assert Windows(length=16, rule="windows").remark(15) == "15 frames for a window of 16, the last repeated"
    assert Windows(length=16, rule="first76").remark(75) == "15 frames for a window of 16, the last repeated"
    assert Windows(length=16, rule="uniform").remark(9) == "9 frames for a window of 16, some repeated"


def test_an_unknown_rule() -> None:
    assert read_windows(16, "uniform") == Windows(length=16, rule="uniform")
    with pytest.raises(UsageError, match="frames=all: not one of windows, first76, strided, uniform"):
        read_windows(16, "all")


def test_strided_windows_are_the_published_one_and_more_of_them_where_there_is_more() -> None:
    windows = Windows(length=16, rule="strided")
    published = Windows(length=16, rule="first76")
    for frames in (76, 99, 100, 119):
        np.testing.assert_array_equal(windows.rows(frames), published.rows(frames))
    spans = [(int(row[0]), int(row[-1])) for row in windows.rows(200)]
    assert spans == [(0, 75), (80, 155), (124, 199)]  # what is left after 160 frames is half a window
    for frames, stride in ((16, 1), (30, 1), (31, 2), (46, 3), (75, 4)):  # too short for every fifth: what fits
        for row in windows.rows(frames):
            assert set(np.diff(row)) == {stride} and row[-1] < frames
        assert windows.rows(frames)[0][0] == 0
    assert windows.rows(3).tolist() == [[0, 1, 2] + [2] * 13]
    assert windows.remark(40) == ""


@pytest.mark.parametrize("fps", [7.3, 10, 15, 29.97, 30, 60])
def test_windows_of_seconds_show_what_is_on_screen(fps: float) -> None:
    """Against a loop over the seconds and their frames; a slow clip repeats frames."""
    time_s = np.arange(int(5.2 * fps)) / fps
    rows = Windows(length=8, rule="seconds", rate_hz=15.0).rows(len(time_s), time_s=time_s)
    expected = []
    for second in range(6):
        if second + 7 / 15 <= time_s[-1] + 1e-3:
            wanted = [second + i / 15 for i in range(8)]
            expected.append([max(n for n, t in enumerate(time_s) if t <= want + 1e-3) for want in wanted])
    assert rows.tolist() == expected and len(rows) == 5


def test_windows_of_seconds_begin_where_the_clip_does() -> None:
    windows = Windows(length=8, rule="seconds", rate_hz=15.0)
    late = 0.3 + np.arange(40) / 15  # a clip that begins at 0.3 s has its first whole second at 1
    rows = windows.rows(40, time_s=late)
    assert [round(late[row[0]]) for row in rows] == [1, 2]
    assert windows.stands_for(rows[0]) == rows[0][0], "the place is that of the second"
    assert windows.rows(23).tolist() == [list(range(8)), list(range(15, 23))], "without times, at their rate"
    assert windows.rows(22).tolist() == [list(range(8))]
    assert "8 frames a row" in windows.describe() and "15 Hz" in windows.describe()


def test_seconds_without_a_new_frame_have_no_window() -> None:
    """Gaps, clocks that jump by an age, and timelapses: no second twice, and no memory for those without pictures."""
    windows = Windows(length=8, rule="seconds", rate_hz=15.0)
    time_s = np.concatenate([np.arange(31) / 15, 5 + np.arange(31) / 15, 1e12 + np.arange(31) / 15])
    rows = windows.rows(len(time_s), time_s=time_s)
    assert rows[:, 0].tolist() == [0, 15, 30, 31, 46, 61, 62, 77]
    assert rows[2].tolist() == [30] * 8, "the last before the gap"
    for fps in (0.4, 1.0, 1.4, 1.9):
        time_s = np.arange(40) / fps
        rows = windows.rows(40, time_s=time_s)
        assert (np.diff(rows[:, 0]) > 0).all()
        names = second_of(time_s[rows[:, 0]])
        assert (np.diff(names) > 0).all() and (names + 1e-3 >= time_s[rows[:, 0]]).all()


def test_clips_of_few_different_frames_are_remarked() -> None:
    windows = Windows(length=8, rule="seconds", rate_hz=15.0)
    assert "1 different frames of 8" in windows.remark(20, np.arange(20.0))
    assert "2 different" in windows.remark(60, np.arange(60) / 3)
    assert windows.remark(60, np.arange(60) / 7.3) == windows.remark(60, np.arange(60) / 30) == windows.remark(60) == ""


def test_a_clip_too_short_for_its_windows_is_refused() -> None:
    windows = Windows(length=8, rule="seconds", rate_hz=15.0)
    with pytest.raises(FormatError, match=r"0\.27 s of pictures hold no whole second"):
        windows.rows(5, time_s=np.arange(5) / 15)
    with pytest.raises(FormatError, match="no whole second"):
        windows.rows(12, time_s=0.7 + np.arange(12) / 30)
    with pytest.raises(ValueError, match="windows seconds"):
        Windows(length=8, rule="seconds")
    with pytest.raises(ValueError, match="windows uniform at 15"):
        Windows(length=8, rule="uniform", rate_hz=15.0)
