"""Which truth belongs to which prediction: clips by id, frames by time.

The truth is interpolated along great circles to the moments of the predicted frames, because recorders and cameras tick
differently; no frame gets a truth further than `max_gap_s` (or half the truth's own interval, if that is longer) from
the nearest fix. Two fixes within a millisecond, which is what files keep of a time, are the same moment.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import UsageError
from vgeo.geo.sphere import interpolate
from vgeo.records import Floats, Track

log = logging.getLogger(__name__)

Match = Literal["auto", "clock", "time", "frame", "order"]
_SAME_MOMENT_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """Frames of a prediction for which the truth is known: T of them."""

    matched_by: str
    prediction_deg: Floats  # [T, 2]
    truth_deg: Floats  # [T, 2]
    unmatched_frames: int
    unmatched_truth: int
    clock_gap_s: float | None = None  # how long after the prediction's clock the truth's starts


def join_clips(predictions: Sequence[Track], truth: Sequence[Track]) -> list[tuple[Track, Track]]:
    """Pair tracks of the same id, else of the same id without folders and suffix; a lone pair belongs together."""
    if len(predictions) == len(truth) == 1:
        return [(predictions[0], truth[0])]
    by_id = {track.video_id: track for track in truth}
    pairs = [(track, by_id[track.video_id]) for track in predictions if track.video_id in by_id]
    joined = {track.video_id for track, _ in pairs}
    rest = _by_stem(track for track in predictions if track.video_id not in joined)
    others = _by_stem(track for track in truth if track.video_id not in joined)
    return pairs + [(track, others[stem]) for stem, track in rest.items() if stem in others]


def _by_stem(tracks: Iterable[Track]) -> dict[str, Track]:
    """Tracks by the stem of their id, where no other has the same."""
    listed = [(PurePath(track.video_id).stem, track) for track in tracks]
    counts = Counter(stem for stem, _ in listed)
    return {stem: track for stem, track in listed if counts[stem] == 1}


def align(prediction: Track, truth: Track, match: Match = "auto", max_gap_s: float = 2.0) -> Aligned:
    """Find the truth of each predicted frame.

    match: "clock" by absolute time, "time" by seconds from the start, "frame" by frame number, "order" by position in
    the file; "auto" takes the first of these that both know. Raises UsageError if they do not know what is asked for.
    """
    possible = _possible(prediction, truth)
    if match != "auto" and match not in possible:
        known = ", ".join(possible)
        raise UsageError(
            f"clip {prediction.video_id}: prediction and truth cannot be matched by {match}, only by {known}"
        )
    how = possible[0] if match == "auto" else match
    if how == "frame":
        return _by_frame(prediction, truth)
    if how == "order":
        return _by_order(prediction, truth)
    offset_s = 0.0
    if how == "clock" and truth.start_utc is not None and prediction.start_utc is not None:
        offset_s = (truth.start_utc - prediction.start_utc).total_seconds()
    return _by_time(prediction, truth, how, offset_s, max_gap_s)


def _possible(prediction: Track, truth: Track) -> list[str]:
    both_timed = prediction.time_s is not None and truth.time_s is not None
    both_numbered = prediction.frame_index is not None and truth.frame_index is not None
    knows = {
        "clock": both_timed and prediction.start_utc is not None and truth.start_utc is not None,
        "time": both_timed,
        "frame": both_numbered,
        "order": True,
    }
    return [how for how in get_args(Match) if knows.get(how)]


def _by_time(prediction: Track, truth: Track, how: str, offset_s: float, max_gap_s: float) -> Aligned:
    assert prediction.time_s is not None and truth.time_s is not None
    times, fixes = prediction.time_s, truth.time_s + offset_s
    gap_s = max(max_gap_s, _half_interval_s(fixes)) + _SAME_MOMENT_S
    nearest, away_s = _nearest(times, fixes)
    found = truth.latlon_deg[nearest]
    between = away_s > _SAME_MOMENT_S
    if between.any():
        found[between] = interpolate(times[between], fixes, truth.latlon_deg, gap_s)
    known = ~np.isnan(found[:, 0])
    # A truth of 18 fixes a second is not unmatched because a prediction is made once a second.
    reach_s = max(max_gap_s, _half_interval_s(times)) + _SAME_MOMENT_S
    spoken_for = _nearest(fixes, times[known])[1] <= reach_s if known.any() else np.zeros(len(fixes), bool)
    return Aligned(
        matched_by=how,
        prediction_deg=prediction.latlon_deg[known],
        truth_deg=found[known],
        unmatched_frames=int((~known).sum()),
        unmatched_truth=int((~spoken_for).sum()),
        clock_gap_s=offset_s if how == "clock" else None,
    )


def _half_interval_s(times: Floats) -> float:
    return float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0


def _nearest(times: Floats, fixes: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Index of the fix nearest to each time, and how far away it is: [N], [T] -> [N], [N]."""
    right = np.clip(np.searchsorted(fixes, times), 0, len(fixes) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(times - fixes[left]) <= np.abs(times - fixes[right]), left, right)
    return nearest, np.abs(times - fixes[nearest])


def _by_frame(prediction: Track, truth: Track) -> Aligned:
    assert prediction.frame_index is not None and truth.frame_index is not None
    _, mine, theirs = np.intersect1d(prediction.frame_index, truth.frame_index, return_indices=True)
    return _of_rows(prediction, truth, "frame", mine, theirs)


def _by_order(prediction: Track, truth: Track) -> Aligned:
    if len(prediction) != len(truth):
        log.warning(
            "clip %s: %d predicted and %d true positions without times are matched in order",
            *(prediction.video_id, len(prediction), len(truth)),
        )
    rows = np.arange(min(len(prediction), len(truth)))
    return _of_rows(prediction, truth, "order", rows, rows)


def _of_rows(prediction: Track, truth: Track, how: str, mine: NDArray[np.intp], theirs: NDArray[np.intp]) -> Aligned:
    return Aligned(
        matched_by=how,
        prediction_deg=prediction.latlon_deg[mine],
        truth_deg=truth.latlon_deg[theirs],
        unmatched_frames=len(prediction) - len(mine),
        unmatched_truth=len(truth) - len(theirs),
    )
