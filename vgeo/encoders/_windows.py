"""Which frames of a clip a video encoder sees together: one row of features is then one window.

Shapes: W windows, L frames of a window.
"""

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vgeo.encoders._images import read_choice
from vgeo.errors import FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vgeo.encoders.base import Encoder, EncoderSpec

RULES = ("windows", "first76", "strided", "uniform")  # and seconds, of methods that see the places of seconds
STRIDE = 5  # of first76 and strided
_EPSILON_S = 1e-3  # clocks and containers round
_SINGLE = ("first", "middle", "last", "random")  # for windows of one frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Frames of a clip in windows of `length`, by the rule of `--set frames=RULE`.

    windows: one after the other without overlap; the last ends with the clip.
    seconds: one at each whole second, whose frames are 1 / rate_hz apart; frames are repeated where the clip has fewer.
    Such a window stands for its first frame, and seconds without a new one have no window.
    first76: one window of every fifth frame from the first, as CityGuessr's published loader takes them: 0, 5, ..., 75
    of the 100 frames that a clip has there.
    strided: that window, and where as much as half a window is left, more of them; where a clip is too short for it,
    the stride is the longest that fits.
    uniform: one window over the whole clip, the middles of equal parts. A clip with too few frames repeats some.
    first, middle, last, random: one window of one frame; the random one is always the same of a clip.
    """

    length: int
    rule: str
    rate_hz: float | None = None  # of rule seconds alone

    def __post_init__(self) -> None:
        if self.rule in _SINGLE and self.length != 1:
            raise ValueError(f"windows {self.rule} are of one frame, not {self.length}")
        if (self.rule == "seconds") != (self.rate_hz is not None):
            raise ValueError(f"windows {self.rule} at {self.rate_hz} frames a second")

    def rows(self, frames: int, clip: str = "", time_s: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
        """Numbers of the frames of each window, of a clip of `frames` > 0 frames: [W, L], never falling.

        clip: its name, which decides on a random frame. time_s: when its frames were taken [frames], rising; where
        None, windows of seconds take them to come at their rate. Raises FormatError for a clip that is too short for
        one of these.
        """
        if self.rate_hz is not None:
            return self._seconds(np.arange(frames) / self.rate_hz if time_s is None else time_s, self.rate_hz)
        if self.rule in _SINGLE:
            random = zlib.crc32(clip.encode()) % frames
            return np.array([[(0, frames // 2, frames - 1, random)[_SINGLE.index(self.rule)]]])
        if self.rule == "uniform":
            return ((2 * np.arange(self.length) + 1) * frames // (2 * self.length))[None]
        return self._run(frames)

    def _run(self, frames: int) -> NDArray[np.int64]:
        if self.rule == "first76":
            return self._filled(np.arange(frames)[::STRIDE])
        if frames < self.length:
            return self._filled(np.arange(frames))
        if self.rule == "strided":
            return self._strided(frames)
        starts = np.arange(0, frames, self.length)
        return np.minimum(starts, frames - self.length)[:, None] + np.arange(self.length)

    def _seconds(self, time_s: NDArray[np.float64], rate_hz: float) -> NDArray[np.int64]:
        span_s = (self.length - 1) / rate_hz
        if not len(time_s):
            return np.zeros((0, self.length), np.int64)
        starts = np.unique(second_of(time_s))  # each begins with another frame
        starts = starts[starts <= time_s[-1] - span_s + _EPSILON_S]
        if not len(starts):
            raise FormatError(
                f"{time_s[-1] - time_s[0]:.2g} s of pictures hold no whole second with the {span_s:.2g} s after it, "
                "which is what is looked at; give a longer clip"
            )
        wanted_WL = starts[:, None] + np.arange(self.length) / rate_hz
        return np.maximum(np.searchsorted(time_s, wanted_WL + _EPSILON_S, side="right") - 1, 0).astype(np.int64)

    def _strided(self, frames: int) -> NDArray[np.int64]:
        stride = min(STRIDE, (frames - 1) // max(1, self.length - 1))
        span, whole = (self.length - 1) * stride + 1, self.length * stride
        starts = list(range(0, frames - span + 1, whole))
        if frames - (starts[-1] + whole) >= whole / 2:
            starts.append(frames - span)
        return np.array(starts)[:, None] + stride * np.arange(self.length)

    def remark(self, frames: int, time_s: NDArray[np.float64] | None = None) -> str:
        """What a reader of a report should know of a clip of `frames` frames; mostly nothing. time_s: as of `rows`."""
        if self.rule == "seconds":
            return self._sparse(self.rows(frames, time_s=time_s))
        different = len(np.unique(self.rows(frames)[0]))
        if different == self.length:
            return ""
        repeated = "some" if self.rule == "uniform" else "the last"
        return f"{different} frames for a window of {self.length}, {repeated} repeated"

    def _sparse(self, rows_WL: NDArray[np.int64]) -> str:
        """What to say of windows of which most have not even half as many different frames as they should."""
        different_W = 1 + (np.diff(rows_WL, axis=1) != 0).sum(axis=1)
        usual = int(np.median(different_W))
        if 2 * usual >= self.length:
            return ""
        return f"a clip has {usual} different frames of {self.length}, for they do not come at {self.rate_hz:g} Hz"

    def describe(self) -> str:
        """A few words, stored with the features: other windows are other features."""
        pace = "" if self.rate_hz is None else f" at {self.rate_hz:g} Hz"
        return f"{self.length} frames a row, {self.rule}{pace}"

    def stands_for(self, window_L: NDArray[np.int64]) -> int:
        """The frame whose time and position are those of a window's row."""
        return int(window_L[0]) if self.rule == "seconds" else middle(window_L)

    def _filled(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """One window of the first numbers, filled with the last."""
        taken = numbers[: self.length]
        return np.concatenate([taken, np.full(self.length - len(taken), taken[-1])])[None]


def second_of(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The whole second whose window may begin with a frame: the first that is not before it."""
    seconds: NDArray[np.float64] = np.ceil(time_s - _EPSILON_S)
    return seconds


def middle(window_L: NDArray[np.int64]) -> int:
    """The frame in the middle of a window, which mostly stands for it."""
    different = np.unique(window_L)
    return int(different[len(different) // 2])


def read_windows(length: int, rule: str) -> Windows:
    """Return the windows of a setting. Raises UsageError."""
    return Windows(length=length, rule=read_choice("frames", rule, RULES))


def rows_are_windows(spec: "EncoderSpec") -> bool:
    """Whether a row of these features is a window, by what `describe` says; else it is a frame."""
    return re.search(r"\b\d+ frames a row\b", spec.preprocessing) is not None


def common_windows(encoders: "Mapping[str, Encoder]") -> Windows | None:
    """What a row of features is for all encoders: a window, or (None) a frame. Raises UsageError where they differ."""
    kinds: dict[Windows | None, str] = {}
    for name, encoder in encoders.items():
        kinds.setdefault(encoder.windows, name)
    if len(kinds) > 1:
        said = " and ".join(
            f"{name} ({kind.describe() if kind else 'one frame a row'})" for kind, name in kinds.items()
        )
        raise UsageError(f"--encoder {said}: their rows are not of the same frames; make a file of each, with --out")
    return next(iter(kinds), None)
