"""Fewer points from many: the first of those that lie close together."""

from collections import defaultdict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.geo.sphere import EARTH_RADIUS_KM, unit_vectors


def distinct(latlon_deg: ArrayLike) -> NDArray[np.int64]:
    """Rows of the first occurrence of each position [N, 2], in their order."""
    _, first = np.unique(np.asarray(latlon_deg, np.float64), axis=0, return_index=True)
    return np.sort(first)


def thin(latlon_deg: ArrayLike, distance_m: float) -> NDArray[np.int64]:
    """Rows to keep so that no two of positions [N, 2] are nearer than `distance_m`, in their order.

    Each position is taken unless one taken before it is too near, so every one left out has a near one among the rest.
    """
    vectors = unit_vectors(latlon_deg)
    chord = 2 * np.sin(min(distance_m / 1000 / EARTH_RADIUS_KM, np.pi) / 2)
    voxels = np.floor(vectors / chord).astype(np.int64).tolist()  # cubes as wide as the distance: look at neighbours
    around = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    taken: dict[tuple[int, int, int], list[tuple[float, float, float]]] = defaultdict(list)
    kept = []
    for row, ((x, y, z), (i, j, k)) in enumerate(zip(vectors.tolist(), voxels, strict=True)):
        near = (other for di, dj, dk in around for other in taken.get((i + di, j + dj, k + dk), ()))
        if all((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 >= chord**2 for a, b, c in near):
            taken[i, j, k].append((x, y, z))
            kept.append(row)
    return np.array(kept, np.int64)
