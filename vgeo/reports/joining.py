"""Bring the truth to the moments of a prediction, and sort clips into the places they were filmed in.

Shapes: T frames of a prediction, N positions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgeo.geo import sphere
from vgeo.records import Localization, Track

Floats = NDArray[np.float64]

CLUSTER_KM = 30.0  # clips nearer than this share a panel


def truth_at(said: Localization, truth: Sequence[Track], max_gap_s: float = 2.0) -> Floats:
    """True positions [T, 2] at the frames of a prediction; NaN where the truth says nothing of them.

    Joined by the clip's name, then by absolute time where both have a clock, else by seconds from the start, else by
    index.
    """
    track = said.track
    nothing = np.full((len(track), 2), np.nan)
    known = next((one for one in truth if one.video_id == track.video_id), None)
    if known is None or len(known) == 0:
        return nothing
    if track.time_s is None or known.time_s is None:
        return known.latlon_deg.copy() if len(known) == len(track) else nothing
    shift_s = 0.0
    if track.start_utc is not None and known.start_utc is not None:
        shift_s = (track.start_utc - known.start_utc).total_seconds()
    return sphere.interpolate(track.time_s + shift_s, known.time_s, known.latlon_deg, max_gap_s)


def middle(said: Localization, truth_deg: Floats) -> Floats:
    """Where a clip is, for the purpose of sorting: the centroid of its truth, else of its prediction."""
    known = truth_deg[~np.isnan(truth_deg[:, 0])]
    return sphere.centroid(known if len(known) else said.track.latlon_deg)


def clusters(middles_deg: Floats, within_km: float = CLUSTER_KM) -> list[list[int]]:
    """Group positions [N, 2] that chains of steps shorter than `within_km` connect, in order of first appearance."""
    apart = sphere.distance_km(middles_deg[:, None], middles_deg[None])
    left, groups = list(range(len(middles_deg))), []
    while left:
        group, frontier = [], [left.pop(0)]
        while frontier:
            here = frontier.pop()
            group.append(here)
            reached = [n for n in left if apart[here, n] <= within_km]
            left = [n for n in left if n not in reached]
            frontier += reached
        groups.append(sorted(group))
    return groups
