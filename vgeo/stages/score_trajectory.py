"""Score predicted tracks against true ones, as VidTAG's tables do (section 4.3, appendix E)."""

import logging
import math
from collections.abc import Sequence

import numpy as np

from vgeo.errors import InputError, UsageError
from vgeo.metrics import (
    WITHIN_KM,
    discrete_frechet,
    frame_errors_km,
    percent_within,
    range_difference_deg,
    range_difference_km,
    video_error_km,
)
from vgeo.records import ErrorSummary, Floats, ScoreReport, Track, TrackScore
from vgeo.stages.alignment import Aligned, Match, align, join_clips

log = logging.getLogger(__name__)


def score(
    predictions: Sequence[Track],
    truth: Sequence[Track],
    within_km: Sequence[float] = WITHIN_KM,
    *,
    match: Match = "auto",
    max_gap_s: float = 2.0,
) -> ScoreReport:
    """Score every clip whose truth is known, over the frames that both know.

    match, max_gap_s: how frames find their truth, see `alignment.align`. Clips and frames without a counterpart are
    counted, not scored. Raises InputError if nothing matches, UsageError for a threshold that is no distance.
    """
    if not within_km or not all(math.isfinite(limit) and limit > 0 for limit in within_km):
        raise UsageError(f"thresholds {list(within_km)} km: each must be above 0; give --within-km 1")
    pairs = join_clips(predictions, truth)
    scored: list[tuple[Track, Track, Aligned]] = []
    silent: list[str] = []
    for prediction, true in pairs:
        found = align(prediction, true, match, max_gap_s)
        if len(found.truth_deg):
            scored.append((prediction, true, found))
        else:
            silent.append(_why_silent(prediction, found))
            log.warning("%s", silent[-1])
    if not scored:
        raise InputError(silent[0] if silent else _why_no_pair(predictions, truth))
    clips = _score_clips(scored)
    done, known = {p.video_id for p, _, _ in scored}, {t.video_id for _, t, _ in scored}
    return ScoreReport(
        within_km=tuple(float(limit) for limit in within_km),
        frames=_summary(np.concatenate([clip.frame_errors_km for clip in clips]), within_km),
        videos=_summary(np.array([clip.video_error_km for clip in clips]), within_km),
        clips=clips,
        unmatched_clips=tuple(track.video_id for track in predictions if track.video_id not in done),
        unmatched_truth=tuple(track.video_id for track in truth if track.video_id not in known),
    )


def _score_clips(scored: Sequence[tuple[Track, Track, Aligned]]) -> tuple[TrackScore, ...]:
    tracks = [(found.prediction_deg, found.truth_deg) for _, _, found in scored]
    dfd_deg, dfd_km = discrete_frechet(tracks, "deg"), discrete_frechet(tracks, "km")
    return tuple(
        TrackScore(
            video_id=prediction.video_id,
            truth_id=true.video_id,
            matched_by=found.matched_by,
            frame_errors_km=frame_errors_km(found.prediction_deg, found.truth_deg),
            video_error_km=video_error_km(found.prediction_deg, found.truth_deg),
            dfd_deg=float(dfd_deg[i]),
            dfd_km=float(dfd_km[i]),
            mrd_deg=range_difference_deg(found.prediction_deg, found.truth_deg),
            mrd_km=range_difference_km(found.prediction_deg, found.truth_deg),
            unmatched_frames=found.unmatched_frames,
            unmatched_truth=found.unmatched_truth,
        )
        for i, (prediction, true, found) in enumerate(scored)
    )


def _summary(errors_km: Floats, within_km: Sequence[float]) -> ErrorSummary:
    return ErrorSummary(
        count=len(errors_km),
        within_percent=percent_within(errors_km, within_km),
        median_km=float(np.median(errors_km)),
        mean_km=float(np.mean(errors_km)),
        p95_km=float(np.percentile(errors_km, 95)),
    )


def _why_silent(prediction: Track, found: Aligned) -> str:
    text = f"clip {prediction.video_id}: no predicted frame has a true position near it in time"
    if found.clock_gap_s is not None:
        text += f" (the truth's clock begins {found.clock_gap_s:+.0f} s after the clip's; --match time ignores clocks)"
    return text


def _why_no_pair(predictions: Sequence[Track], truth: Sequence[Track]) -> str:
    mine, theirs = (", ".join(track.video_id for track in tracks[:3]) or "none" for tracks in (predictions, truth))
    return f"no clip is in both: predictions of {mine}; truth of {theirs}; the ids or file names must agree"
