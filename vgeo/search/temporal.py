"""Decode a sequence: the likeliest path of a camera through the candidates of its frames (Viterbi).

The published systems answer frame by frame (VidTAG smooths features, GAMa narrows the gallery); this bounds the speed
instead, and works on any answers that come with probabilities. A path costs, in nats,

    sum over frames of -log p(candidate)
    + sum over steps of  1 * distance / reach   where distance <= reach = speed limit * time + slack,
                         break_nats             where it is longer.

Within reach, how far a camera goes follows the law that presumes least, an exponential of scale `reach`: to stand
still is e times as likely as to go as fast as is allowed. What is beyond reach is possible at a price, because true
places are missing among candidates and videos are cut. One false frame would have to pay it twice, out and back; the
scene after a cut pays once. The sum is a minimum over all K^T paths, found in T K^2 steps.

Shapes: T frames, K candidates a frame.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgeo.geo.sphere import distance_km
from vgeo.records import Floats

MAX_SPEED_KMH = 120.0  # of a car on a motorway: most videos of both papers are taken from cars
MOVE_NATS = 1.0
BREAK_NATS = 20.0  # a jump needs e^20, half a billion, times the evidence: one frame hardly ever has it, ten may
_ALMOST_0 = 1e-12


class Path(NamedTuple):
    """The best path."""

    chosen_T: NDArray[np.int64]  # which candidate of each frame
    break_T: NDArray[np.bool_]  # the frame cannot be reached from the one before
    cost: float  # nats


def decode(
    latlon_TK2: Floats,
    log_p_TK: Floats,
    time_s: Floats | None = None,
    *,
    max_speed_kmh: float = MAX_SPEED_KMH,
    slack_km: float = 0.0,
    move_nats: float = MOVE_NATS,
    break_nats: float = BREAK_NATS,
) -> Path:
    """Return the cheapest path; of equal ones that of the candidates that stand first, later frames deciding first.

    log_p_TK: log-probability of each candidate, -inf for none. time_s: [T], non-decreasing; None: a second between
    frames, as elsewhere. slack_km: how far apart a camera's two true places may come out although it hardly moved: the
    spacing of the places. Raises ValueError for a frame without candidates.
    """
    steps, _ = log_p_TK.shape
    if steps and not np.isfinite(log_p_TK).any(axis=1).all():
        raise ValueError("a frame without candidates")
    gap_s = np.ones(max(0, steps - 1)) if time_s is None else np.diff(time_s)
    reach_km = max_speed_kmh / 3600 * gap_s + slack_km
    came_from = np.zeros(log_p_TK.shape, np.int64)
    cost_K = -log_p_TK[0] if steps else np.zeros(0)
    for t in range(1, steps):
        far_KK = distance_km(latlon_TK2[t - 1, :, None], latlon_TK2[t, None, :])
        step_KK = _step_cost(far_KK, reach_km[t - 1], move_nats, break_nats)
        total_KK = cost_K[:, None] + step_KK
        came_from[t] = total_KK.argmin(axis=0)
        cost_K = np.take_along_axis(total_KK, came_from[t][None], axis=0)[0] - log_p_TK[t]
    chosen = np.zeros(steps, np.int64)
    if steps:
        chosen[-1] = cost_K.argmin()
    for t in range(steps - 1, 0, -1):
        chosen[t - 1] = came_from[t, chosen[t]]
    path = latlon_TK2[np.arange(steps), chosen]
    broken = np.zeros(steps, bool)
    broken[1:] = distance_km(path[:-1], path[1:]) > reach_km if steps > 1 else False
    return Path(chosen, broken, float(cost_K.min()) if steps else 0.0)


def _step_cost(far_km: Floats, reach_km: float, move_nats: float, break_nats: float) -> Floats:
    return np.where(far_km <= reach_km, move_nats * far_km / max(reach_km, _ALMOST_0), break_nats)
