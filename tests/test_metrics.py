"""Metrics against golden values, definitions written out, shapely, and values by hand."""

import json
import math
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from vgeo.metrics import (
    discrete_frechet,
    frame_errors_km,
    percent_within,
    range_difference_deg,
    range_difference_km,
    top_percent,
    video_error_km,
)

RADIUS_KM = 6371.0088


def walk(
    random: np.random.Generator, n: int, start: tuple[float, float] = (40.0, -74.0), step: float = 1e-3
) -> np.ndarray:
    return np.array(start) + np.cumsum(random.normal(0, step, (n, 2)), axis=0)


def frechet_by_definition(a: np.ndarray, b: np.ndarray, distance: Any) -> float:
    """Eiter and Mannila's recursion, word by word."""

    @cache
    def coupled(i: int, j: int) -> float:
        here = distance(a[i], b[j])
        if i == j == 0:
            return here
        ways = [coupled(*way) for way in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if min(way) >= 0]
        return max(here, min(ways))

    return coupled(len(a) - 1, len(b) - 1)


def euclidean_deg(p: np.ndarray, q: np.ndarray) -> float:
    return math.hypot(p[0] - q[0], math.remainder(p[1] - q[1], 360))


def law_of_cosines_km(p: np.ndarray, q: np.ndarray) -> float:
    a, b, turn = math.radians(p[0]), math.radians(q[0]), math.radians(p[1] - q[1])
    return RADIUS_KM * math.acos(
        max(-1.0, min(1.0, math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(turn)))
    )


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> dict[str, Any]:
    return json.loads((shared_dir / "golden/trajectory_metrics.json").read_text())


def test_golden_values(golden: dict[str, Any]) -> None:
    pairs = [(np.array(c["prediction_latlon_deg"]), np.array(c["truth_latlon_deg"])) for c in golden["cases"]]
    close = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(discrete_frechet(pairs), [c["dfd_deg"] for c in golden["cases"]], **close)
    np.testing.assert_allclose(discrete_frechet(pairs, "km"), [c["dfd_km"] for c in golden["cases"]], **close)
    for (prediction, truth), case in zip(pairs, golden["cases"], strict=True):
        np.testing.assert_allclose(frame_errors_km(prediction, truth), case["frame_error_km"], **close)
        np.testing.assert_allclose(video_error_km(prediction, truth), case["video_error_km"], **close)
        np.testing.assert_allclose(range_difference_deg(prediction, truth), case["mrd_deg"], **close)


@pytest.mark.parametrize("unit", ["deg", "km"])
def test_frechet_is_its_definition(unit: str) -> None:
    """Lengths from 1 to 30 in one call, so that batches are padded; some pairs lie across the antimeridian."""
    sys.setrecursionlimit(10_000)
    random = np.random.default_rng(1)
    starts = [(40.0, -74.0), (-18.0, 179.99), (-18.0, -180.0), (89.0, 10.0)]
    pairs = []
    for i in range(120):
        start, step = starts[i % 4], (1e-3, 0.5)[i % 2]
        lengths = random.integers(1, 31, 2)
        pairs.append(tuple(walk(random, int(n), start, step) for n in lengths))
    distance = euclidean_deg if unit == "deg" else law_of_cosines_km
    expected = [frechet_by_definition(a, b, distance) for a, b in pairs]
    np.testing.assert_allclose(discrete_frechet(pairs, unit), expected, rtol=1e-6, atol=2e-4 if unit == "km" else 1e-12)


def test_frechet_is_shapely_s_on_the_plane() -> None:
    """Equal for tracks of one length; of two lengths GEOS finds only an upper bound (too far in 12 of these 100)."""
    random = np.random.default_rng(2)

    def both(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(walk(random, int(n)), walk(random, int(m))) for n, m in lengths]
        theirs = [shapely.frechet_distance(shapely.linestrings(a), shapely.linestrings(b)) for a, b in pairs]
        return discrete_frechet(pairs), np.array(theirs)

    ours, theirs = both(np.repeat(random.integers(2, 60, (100, 1)), 2, axis=1))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    ours, theirs = both(random.integers(2, 60, (100, 2)))
    assert (ours <= theirs * (1 + 1e-12)).all() and np.isclose(ours, theirs, rtol=1e-12).mean() > 0.5


def test_frechet_does_not_depend_on_company() -> None:
    random = np.random.default_rng(3)
    pairs = [(walk(random, int(n)), walk(random, int(m))) for n, m in random.integers(1, 200, (150, 2))]
    together = discrete_frechet(pairs)
    alone = [discrete_frechet([pair])[0] for pair in pairs]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("unit", ["deg", "km"])
def test_frechet_in_many_batches_and_threads(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the table filled row by row, for all pairs at once: no antidiagonals, no batches, no vectors."""
    monkeypatch.setattr("vgeo.device.cores", lambda: 3)
    random = np.random.default_rng(5)
    a, b = np.array([52.0, 13.0]) + np.cumsum(random.normal(0, 1e-3, (2, 1200, 60, 2)), axis=2)
    apart = (lambda p, q: np.hypot(*(p - q).T)) if unit == "deg" else frame_errors_km
    row = np.full((61, 1200), np.inf)  # of the row before, shifted by one
    for i in range(60):
        corner = row[0].copy() if i else np.full(1200, -np.inf)
        for j in range(60):
            way = np.minimum(np.minimum(row[j + 1], row[j]), corner)
            corner = row[j + 1].copy()
            row[j + 1] = np.maximum(apart(a[:, i], b[:, j]), way)
    found = discrete_frechet(list(zip(a, b, strict=True)), unit)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, row[-1], rtol=0, atol=1e-9 if unit == "km" else 1e-12)


def test_frechet_by_hand() -> None:
    line = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    assert discrete_frechet([(line, line)])[0] == 0
    assert discrete_frechet([(line, line + np.array([3, 0]))])[0] == 3
    assert discrete_frechet([(line, line[::-1])])[0] == 2  # a walk and its way back
    assert discrete_frechet([(line, line[:1])])[0] == 2
    there = np.array([[0.0, 0.0], [0.0, 5.0], [0.0, 1.0], [0.0, 6.0]])  # turns back: the order matters
    straight = np.array([[0.0, 0.0], [0.0, 6.0]])
    assert discrete_frechet([(there, straight)])[0] == 5
    assert discrete_frechet([]).shape == (0,)
    with pytest.raises(ValueError, match="no Fréchet distance"):
        discrete_frechet([(line, np.zeros((0, 2)))])


def test_the_antimeridian_is_no_place_of_its_own() -> None:
    random = np.random.default_rng(4)
    a, b = walk(random, 20, (-18.0, 0.0)), walk(random, 25, (-18.0, 0.0))
    for turn in (180.0, -180.0, 360.0):
        moved = [(track + [0, turn] + 180) % 360 - 180 for track in (a - [0, 0], b)]
        moved = [
            np.stack([track[:, 0], moved_track[:, 1]], axis=1) for track, moved_track in zip((a, b), moved, strict=True)
        ]
        for unit in ("deg", "km"):
            there, here = discrete_frechet([tuple(moved)], unit), discrete_frechet([(a, b)], unit)
            np.testing.assert_allclose(there, here, rtol=1e-8)
        np.testing.assert_allclose(range_difference_deg(*moved), range_difference_deg(a, b), atol=1e-12)
        np.testing.assert_allclose(range_difference_km(*moved), range_difference_km(a, b), atol=1e-9)
        np.testing.assert_allclose(video_error_km(*moved), video_error_km(a, b), rtol=1e-8)


def test_one_degree_along_the_equator() -> None:
    km = math.pi * RADIUS_KM / 180
    np.testing.assert_allclose(frame_errors_km([[0, 0], [0, 179.5]], [[0, 1], [0, -179.5]]), [km, km])
    np.testing.assert_allclose(discrete_frechet([(np.array([[0, 0.0]]), np.array([[0, 1.0]]))], "km"), [km])


def test_a_video_is_at_the_prediction_nearest_to_the_centroid() -> None:
    predictions = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 30.0]])  # the centroid is near 10.3: one degree is nearest
    km = math.pi * RADIUS_KM / 180
    np.testing.assert_allclose(video_error_km(predictions, [[0.0, 1.0], [0.0, 3.0]]), km)
    np.testing.assert_allclose(video_error_km([[90.0, 0.0]], [[89.0, 0.0], [89.0, 180.0]]), 0, atol=1e-9)


def test_range_difference_by_hand() -> None:
    truth = np.array([[60.0, 10.0], [60.0, 10.0]])
    prediction = np.array([[60.0, 10.0], [61.0, 14.0]])
    assert range_difference_deg(prediction, truth) == 2.5
    km = math.pi * RADIUS_KM / 180
    np.testing.assert_allclose(range_difference_km(prediction, truth), (1 * km + 4 * km / 2) / 2)
    assert range_difference_deg([[5, 5]], [[-5, 80]]) == 0  # one frame covers nothing


def test_percent_within_includes_the_threshold() -> None:
    assert percent_within([0.1, 0.5, 0.6, 30], (0.5, 1, 25)) == (50.0, 75.0, 75.0)
    assert all(math.isnan(share) for share in percent_within([], (1.0,)))


def test_top_percent_counts_by_rank() -> None:
    ranks = [0, 0, 3, -1, 4, 5, 0, -1]  # three at once; five among the first five; two never
    assert top_percent(ranks, 1) == 37.5
    assert top_percent(ranks, 5) == 62.5
    assert top_percent(ranks, 99) == 75
    assert math.isnan(top_percent([], 1))
