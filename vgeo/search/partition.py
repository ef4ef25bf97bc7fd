"""Cut positions into cells of neighbours: the leaves of a k-d tree that cuts where the places thin out.

Shapes: G positions.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vgeo.geo.sphere import unit_vectors

_CLEAR = 8.0  # a gap is one where it is so many times as wide as places would be apart, were they spread evenly


def neighbourhoods(latlon_deg: NDArray[np.float64], most: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows of positions [G, 2], cell by cell, each row in one cell, `most` of them at most.

    Each cut is across the longest side (of the three axes of space, so no pole or antimeridian is special): at the
    widest gap between the quarters where there is a clear one (so that towns stay whole), else in the middle.
    """
    points_G3 = unit_vectors(latlon_deg)
    left = [np.arange(len(points_G3))]
    while left:
        rows = left.pop()
        if len(rows) <= most:
            yield np.sort(rows)
            continue
        points = points_G3[rows]
        sides = np.ptp(points, axis=0)
        axis = int(sides.argmax())
        order = np.argsort(points[:, axis], kind="stable")
        cut = _cut(points[order, axis], float(sides[axis]))
        left += [rows[order[cut:]], rows[order[:cut]]]


def _cut(ascending: NDArray[np.float64], side: float) -> int:
    """How many of the values go to the lower part."""
    count = len(ascending)
    quarter = count // 4
    gaps = np.diff(ascending[quarter : count - quarter])
    widest = int(gaps.argmax())
    return quarter + widest + 1 if gaps[widest] > _CLEAR * side / count else count // 2
