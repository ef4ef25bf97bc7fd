"""Which positions have others close by, exactly: cubes sort out who is far, a band of latitude bounds the rest.

Shapes: A positions that are asked for, B positions that they are held against.
"""

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.geo.sphere import EARTH_RADIUS_KM, KM_PER_DEG, distance_km, unit_vectors

_PAIRS = 2**21  # distances computed at a time
_SMALLEST_CUBE_KM = 0.01  # so that 21 bits number the cubes along an axis


def any_within(asked_deg: ArrayLike, others_deg: ArrayLike, within_km: float) -> NDArray[np.bool_]:
    """For each position [A, 2]: is any of the others [B, 2] at most `within_km` away on the sphere?"""
    asked = np.asarray(asked_deg, np.float64).reshape(-1, 2)
    others = np.asarray(others_deg, np.float64).reshape(-1, 2)
    found = np.zeros(len(asked), bool)
    asked_in, others_in = _cubes(asked, within_km), _cubes(others, within_km)
    maybe = np.flatnonzero(_beside(asked_in, others_in))
    found[maybe] = _in_band(asked[maybe], others[_beside(others_in, asked_in[maybe])], within_km)
    return found


def _cubes(latlon_deg: NDArray[np.float64], within_km: float) -> NDArray[np.int64]:
    """Number of the cube that each position is in; what is within reach lies in the same cube or beside it."""
    size_km = max(within_km, _SMALLEST_CUBE_KM) * (1 + 1e-9)
    x, y, z = np.floor(unit_vectors(latlon_deg) * (EARTH_RADIUS_KM / size_km)).astype(np.int64).T + 2**20
    number: NDArray[np.int64] = (x << 42) + (y << 21) + z
    return number


def _beside(cubes: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Is one of the other cubes the same, or beside it?"""
    mine, row = np.unique(cubes, return_inverse=True)
    theirs = np.unique(others)
    steps = [(x << 42) + (y << 21) + z for x, y, z in product((-1, 0, 1), repeat=3)]
    near = np.zeros(len(mine), bool)
    for step in steps:
        near |= np.isin(mine + step, theirs)
    return near[row.reshape(-1)]


def _in_band(asked: NDArray[np.float64], others: NDArray[np.float64], within_km: float) -> NDArray[np.bool_]:
    """The answer, by the distances to all others of nearly the same latitude."""
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
