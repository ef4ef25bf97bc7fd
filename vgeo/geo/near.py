"""Which positions have others close by, exactly and without an index: a band of latitude bounds the distance.

Shapes: A positions that are asked for, B positions that they are held against.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.geo.sphere import KM_PER_DEG, distance_km

_PAIRS = 2**21  # distances computed at a time


def any_within(asked_deg: ArrayLike, others_deg: ArrayLike, within_km: float) -> NDArray[np.bool_]:
    """For each position [A, 2]: is any of the others [B, 2] at most `within_km` away on the sphere?"""
    asked = np.asarray(asked_deg, np.float64).reshape(-1, 2)
    others = np.asarray(others_deg, np.float64).reshape(-1, 2)
    others = others[np.argsort(others[:, 0], kind="stable")]
    band_deg = within_km / KM_PER_DEG * (1 + 1e-9)  # two positions are no nearer than their parallels
    start = np.searchsorted(others[:, 0], asked[:, 0] - band_deg, side="left")
    count = np.searchsorted(others[:, 0], asked[:, 0] + band_deg, side="right") - start
    found = np.zeros(len(asked), bool)
    total = np.cumsum(count)
    row = 0
    while row < len(asked):
        before = total[row - 1] if row else 0
        stop = max(row + 1, int(np.searchsorted(total, before + _PAIRS, side="right")))
        found[row:stop] = _any_of(asked[row:stop], others, start[row:stop], count[row:stop], within_km)
        row = stop
    return found


def _any_of(
    asked: NDArray[np.float64],
    others: NDArray[np.float64],
    start: NDArray[np.intp],
    count: NDArray[np.intp],
    within_km: float,
) -> NDArray[np.bool_]:
    """The same for a few rows, each held against `count` of the others from `start` on."""
    owner = np.repeat(np.arange(len(asked)), count)
    first = np.cumsum(count) - count
    other = np.arange(len(owner)) - np.repeat(first - start, count)
    near = distance_km(asked[owner], others[other]) <= within_km
    return np.bincount(owner[near], minlength=len(asked)) > 0
