"""A finished answer, decoded once more as a whole: where the camera can have been, frame after frame.

Shapes: T frames, K candidates a frame.
"""

import logging
import math
from dataclasses import dataclass, replace

import numpy as np

from vgeo.errors import UsageError
from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import distance_km
from vgeo.records import Floats, Localization
from vgeo.search.refine import typical_spacing_km
from vgeo.search.temporal import MAX_SPEED_KMH, decode

log = logging.getLogger(__name__)

SMOOTHERS = ("viterbi",)
CANDIDATES = 50  # a frame that paths lead through; the work grows with their square
SLACK_KM = 0.05  # of places whose spacing is not known: nearly a tile's side at GAMa's zoom (section 3)
_LEAST = 1e-300  # probability; a softmax may round to 0
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """How answers are decoded; see `search.temporal`. Raises UsageError."""

    smoother: str = SMOOTHERS[0]
    max_speed_kmh: float = MAX_SPEED_KMH

    def __post_init__(self) -> None:
        if self.smoother not in SMOOTHERS:
            raise UsageError(f"--smooth {self.smoother}: not one of {', '.join(SMOOTHERS)}")
        if not (math.isfinite(self.max_speed_kmh) and self.max_speed_kmh > 0):
            raise UsageError(f"--max-speed-kmh {self.max_speed_kmh:g}: must be above 0")


def smoothed(
    said: Localization, smoothing: Smoothing = Smoothing(), *, slack_km: float = SLACK_KM, within_km: float = 1.0
) -> Localization:
    """Let the frames of a clip agree on a path through their candidates; candidates and their scores stay as they are.

    slack_km: the spacing of the places. within_km: of the confidence. Frames that move are given bounds that hold for
    their own gallery-wide probability, as far as the candidates tell: a confidence that is at most the true one (what
    the candidates have near the new position), and a radius that is at least the true one (what holds half around the
    old position lies within the old radius and the way between them). Names of places are dropped: they are of other
    positions.
    """
    if not len(said.track):
        return said
    log_p = np.log(np.maximum(said.candidate_scores, _LEAST))
    path = decode(
        said.candidates_deg, log_p, said.track.time_s, max_speed_kmh=smoothing.max_speed_kmh, slack_km=slack_km
    )
    frames = np.arange(len(said.track))
    at_deg = said.candidates_deg[frames, path.chosen_T]
    moved_km = distance_km(at_deg, said.track.latlon_deg)
    moved = moved_km > 0
    log.info(
        "%s: %d of %d frames moved, %d breaks",
        said.track.video_id, int(moved.sum()), len(frames), int(path.break_T.sum()),
    )  # fmt: skip
    if not moved.any():
        return said
    confidence, radius_km = _bounds(said, at_deg, moved_km, within_km)
    return replace(
        said,
        track=replace(said.track, latlon_deg=at_deg),
        confidence=np.where(moved, confidence, said.confidence),
        radius_km=np.where(moved, radius_km, said.radius_km),
        places=(),
    )


def slack_of(gallery: Gallery, refine_km: float | None) -> float:
    """How far apart the places of a gallery are, or those that it is refined to; in km."""
    if refine_km is not None:
        return refine_km
    said_km = gallery.attributes.get("spacing_km")
    distinct = np.unique(gallery.latlon_deg, axis=0)
    return typical_spacing_km(distinct, float(said_km) if isinstance(said_km, int | float) else None) or SLACK_KM


def first_candidates(said: Localization, top_k: int) -> Localization:
    """The same with the best `top_k` candidates of each frame only."""
    return replace(
        said, candidates_deg=said.candidates_deg[:, :top_k], candidate_scores=said.candidate_scores[:, :top_k]
    )


def _bounds(said: Localization, at_deg: Floats, moved_km: Floats, within_km: float) -> tuple[Floats, Floats]:
    """Confidence from below and radius from above, around new positions [T, 2]."""
    far_TK = distance_km(said.candidates_deg, at_deg[:, None])
    confidence = (said.candidate_scores * (far_TK <= within_km)).sum(axis=1)
    order = far_TK.argsort(axis=1, kind="stable")
    mass_TK = np.take_along_axis(said.candidate_scores, order, axis=1).cumsum(axis=1)
    enough = mass_TK >= _HALF
    nearest_km = np.take_along_axis(far_TK, order, axis=1)
    by_candidates = np.where(enough.any(axis=1), nearest_km[np.arange(len(order)), enough.argmax(axis=1)], np.inf)
    return np.minimum(confidence, 1.0), np.minimum(by_candidates, moved_km + said.radius_km)
