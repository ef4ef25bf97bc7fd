"""Where the truth stands in a ranking, against plain loops over made-up rankings."""

import math

import numpy as np
import pytest

from vgeo import metrics
from vgeo.metrics import distance_mi, first_hits

CITY = np.array([40.7, -74.0])


def haversine_mi(a, b):
    """As it stands in schoolbooks, with R = 3956 miles."""
    lat1, lon1, lat2, lon2 = map(math.radians, (*a, *b))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 3956 * math.asin(math.sqrt(h))


def looped(ranked, true, places=None, truth=None, within=0.05):
    """The published evaluation's loops, over one query after the other."""
    found = []
    for n, row in enumerate(ranked):
        hits = []
        for rank, place in enumerate(row):
            if place < 0:
                continue
            near = False
            if places is not None and not math.isnan(places[place][0]) and not math.isnan(truth[n][0]):
                near = haversine_mi(places[place], truth[n]) <= within
            if place in [t for t in true[n] if t >= 0] or near:
                hits.append(rank)
        found.append(hits[0] if hits else -1)
    return found


def made_up(seed, queries=60, places=80, k=25):
    """Rankings with places twice, of unequal length, ties in position, places and queries without one."""
    rng = np.random.default_rng(seed)
    deg = CITY + rng.normal(0, 0.004, (places, 2))  # 0.3 miles: some are within 0.05 of others
    deg[rng.integers(0, places, 10)] = deg[rng.integers(0, places, 10)]
    deg[rng.integers(0, places, 4)] = np.nan
    ranked = rng.integers(0, places, (queries, k))
    for n in range(queries):
        if n % 3 == 0:
            ranked[n, rng.integers(0, k) :] = -1
    true = rng.integers(-1, places, (queries, 3))
    truth = CITY + rng.normal(0, 0.004, (queries, 2))
    truth[rng.integers(0, queries, 5)] = np.nan
    return ranked, true, deg, truth


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pairs", [1, 60, 2**18])
def test_both_rules_as_loops_have_them(seed, pairs, monkeypatch):
    monkeypatch.setattr(metrics, "_PAIRS", pairs)
    ranked, true, deg, truth = made_up(seed)
    exact = first_hits(ranked, true[:, :1])
    assert exact.tolist() == looped(ranked, true[:, :1])
    assert first_hits(ranked, true).tolist() == looped(ranked, true)
    for within in (0.02, 0.05, 0.2):
        near = first_hits(ranked, true[:, :1], deg, truth, within)
        assert near.tolist() == looped(ranked, true[:, :1], deg, truth, within)
    assert (exact < 0).any() and (exact > 0).any() and (near != exact).any()


def test_nothing_ranked():
    none = np.zeros((3, 0), np.int64)
    assert first_hits(none, np.zeros((3, 1), np.int64)).tolist() == [-1, -1, -1]
    assert first_hits(np.full((2, 4), -1), np.full((2, 1), -1)).tolist() == [-1, -1]


def test_a_place_that_comes_twice_fills_two_ranks():
    assert first_hits(np.array([[4, 4, 4, 2]]), np.array([[2]])).tolist() == [3]


def test_miles_are_those_of_the_published_sphere():
    rng = np.random.default_rng(0)
    a, b = CITY + rng.normal(0, 1, (50, 2)), CITY + rng.normal(0, 1, (50, 2))
    np.testing.assert_allclose(distance_mi(a, b), [haversine_mi(*pair) for pair in zip(a, b, strict=True)], rtol=1e-12)


def test_at_the_tolerance_itself():
    """0.05 miles due north is right, a millimetre more is not."""
    step = math.degrees(0.05 / 3956)
    for factor, wanted in ((1 - 1e-8, 0), (1 + 1.3e-5, -1)):
        place = CITY + np.array([step * factor, 0])
        assert first_hits(np.array([[0]]), np.array([[-1]]), place[None], CITY[None]).tolist() == [wanted]
