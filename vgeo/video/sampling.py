"""Which moments of a clip are wanted, and which frames those are.

A frame is wanted for a moment t when it is on screen at t: the last frame whose presentation time is not after t.
N frames of the clip, in presentation order.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import UsageError
from vgeo.geo import sphere
from vgeo.records import Floats

# Matroska rounds times to 1 ms, so a frame due at t may be stamped up to 0.5 ms later; with this tolerance the choice
# does not depend on the container.
EPSILON_S = 0.0006
DEFAULT_RATE_HZ = 1.0
WAYS = ("rate_hz", "every_s", "every_m", "count", "stride")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """At most one way of choosing frames, and a window [start_s, end_s) of the clip.

    With no way given, video is sampled at 1 Hz, and image or frame folders, which somebody sampled before, are taken
    whole.
    """

    rate_hz: float | None = None
    every_s: float | None = None
    every_m: float | None = None
    count: int | None = None
    stride: int | None = None
    start_s: float = 0.0
    end_s: float | None = None

    def __post_init__(self) -> None:
        given = [way for way in WAYS if getattr(self, way) is not None]
        if len(given) > 1:
            names = " and ".join(option(way) for way in given)
            raise UsageError(f"{names}: give one of them, not several")
        for way in given:
            value = getattr(self, way)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{option(way)} {value}: must be greater than 0")
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise UsageError(f"--start-s {self.start_s}: must be 0 or greater")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise UsageError(f"--end-s {self.end_s}: must be greater than --start-s {self.start_s}")

    def describe(self) -> str:
        """Canonical text of these settings: equal texts choose equal frames. Stored with frames and features."""
        given = [f"{way}={getattr(self, way):.15g}" for way in WAYS if getattr(self, way) is not None]
        words = given or [f"rate_hz={DEFAULT_RATE_HZ:g} of video, all of images"]
        if self.start_s:
            words.append(f"start_s={self.start_s:.15g}")
        if self.end_s is not None:
            words.append(f"end_s={self.end_s:.15g}")
        return " ".join(words)

    def rows(
        self,
        time_s: Floats,
        duration_s: float,
        *,
        track: tuple[Floats, Floats] | None = None,
        take_all: bool = False,
    ) -> NDArray[np.int64]:
        """Numbers of the wanted frames, rising, each once.

        time_s: [N] presentation times, non-decreasing. duration_s: when the last frame leaves the screen.
        track: times [T] and positions [T, 2], for `every_m`. take_all: without a way, take every frame.
        Raises UsageError when `every_m` is asked of a clip without a track.
        """
        end_s = min(duration_s, math.inf if self.end_s is None else self.end_s)
        if self.every_m is not None:
            if track is None or len(track[0]) < 2:
                raise UsageError("--every-m needs a track: give --track, or another way of sampling such as --rate-hz")
            return rows_on_screen(time_s, _crossings_s(*track, self.every_m, self.start_s, end_s), end_s)
        if self.stride is not None or (take_all and not any(getattr(self, way) is not None for way in WAYS)):
            begun = time_s >= self.start_s - EPSILON_S
            inside = np.flatnonzero(begun if self.end_s is None else begun & (time_s < end_s - EPSILON_S))
            return inside[:: self.stride or 1]
        if self.count is not None:
            # The middles of `count` equal parts: no part of the clip counts twice.
            period_s = (end_s - self.start_s) / self.count
            return _rows_of_ticks(time_s, self.start_s + period_s / 2, period_s, end_s)
        period_s = self.every_s or 1 / (self.rate_hz or DEFAULT_RATE_HZ)
        return _rows_of_ticks(time_s, self.start_s, period_s, end_s)


def rows_on_screen(time_s: Floats, moments_s: Floats, end_s: float) -> NDArray[np.int64]:
    """Numbers of the frames on screen at `moments_s` before `end_s`, each once; [N] times and [M] moments."""
    moments = moments_s[moments_s < end_s - EPSILON_S]
    return np.unique(np.maximum(np.searchsorted(time_s, moments + EPSILON_S, side="right") - 1, 0)).astype(np.int64)


def _rows_of_ticks(time_s: Floats, origin_s: float, period_s: float, end_s: float) -> NDArray[np.int64]:
    """Frames on screen at origin, origin + period, ... < end, without making the list of ticks: it may be absurd."""
    if len(time_s) == 0 or not end_s > origin_s:
        return np.zeros(0, np.int64)
    begin = np.concatenate([[-np.inf], time_s[1:] - EPSILON_S])  # what is before the first frame shows the first frame
    end = np.concatenate([begin[1:], [np.inf]])
    slack = min(1e-9, 1e-6 / period_s)  # of a tick: k * period is not exact in floating point
    first = np.ceil((np.maximum(begin, origin_s) - origin_s) / period_s - slack)
    after = np.ceil((np.minimum(end, end_s) - origin_s) / period_s - slack)
    return np.flatnonzero(after > first).astype(np.int64)


def _crossings_s(time_s: Floats, latlon_deg: Floats, every_m: float, start_s: float, end_s: float) -> Floats:
    """Moments at which the path from `start_s` on has grown to 0, every_m, 2 every_m, ...; [T] and [T, 2] in."""
    begin, stop = max(start_s, float(time_s[0])), min(end_s, float(time_s[-1]))
    if stop <= begin:
        return np.zeros(0)
    inner = (time_s > begin) & (time_s < stop)
    times = np.concatenate([[begin], time_s[inner], [stop]])
    edges = sphere.interpolate(np.array([begin, stop]), time_s, latlon_deg, math.inf)
    path_m = 1000 * sphere.path_length_km(np.concatenate([edges[:1], latlon_deg[inner], edges[1:]]))
    wanted_m = np.arange(min(int(path_m[-1] / every_m) + 1, 10_000_000)) * every_m
    right = np.clip(np.searchsorted(path_m, wanted_m, side="left"), 1, len(path_m) - 1)
    step_m = path_m[right] - path_m[right - 1]
    share = np.where(step_m > 0, (wanted_m - path_m[right - 1]) / np.where(step_m > 0, step_m, 1), 0.0)
    return times[right - 1] + np.clip(share, 0, 1) * (times[right] - times[right - 1])


def option(way: str) -> str:
    """The command-line option of a way."""
    return "--" + way.replace("_", "-")
