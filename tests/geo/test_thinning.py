"""Thinning against its own definition, by a slow loop over all pairs."""

import numpy as np
import pytest

from vgeo.geo.sphere import distance_km
from vgeo.geo.thinning import distinct, thin


@pytest.mark.parametrize("centre", [(48.8, 2.3), (-17.0, 180.0), (89.9999, 0.0)])
@pytest.mark.parametrize("distance_m", [1.0, 20.0, 150.0])
def test_thin_is_the_greedy_choice(centre: tuple[float, float], distance_m: float) -> None:
    rng = np.random.default_rng(0)
    points = np.array(centre) + rng.normal(0, 0.001, (300, 2)) * [0.1, 1]
    points[:, 0] = np.clip(points[:, 0], -90, 90)
    kept: list[int] = []
    for row, point in enumerate(points):
        if not kept or distance_km(points[kept], point).min() * 1000 >= distance_m:
            kept.append(row)
    assert thin(points, distance_m).tolist() == kept


def test_distinct_keeps_the_first_and_the_order() -> None:
    assert distinct([[3, 3], [1, 1], [3, 3], [2, 2], [1, 1]]).tolist() == [0, 1, 3]
