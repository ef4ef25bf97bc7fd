"""Which sequences are held out: how many, by which seed, and how far apart."""

import numpy as np
import pytest

from vgeo.datasets._splits import NEITHER, TRAIN, VAL, apart, drawn, held_count


@pytest.mark.parametrize(("groups", "held"), [(0, 0), (1, 0), (2, 1), (3, 1), (5, 1), (8, 2), (10, 2), (101, 20)])
def test_a_fifth_is_held_out(groups: int, held: int) -> None:
    assert held_count(groups) == held
    assert (drawn(groups, "x", 0).side == VAL).sum() == held


def test_the_area_around_one_sequence_is_held_out() -> None:
    """Ten sequences on a line, 1 km apart, 3 frames each."""
    lat = np.repeat(np.arange(10) * 0.009, 3) + np.tile([0, 1e-4, 2e-4], 10)
    places, group = np.stack([lat, np.full(30, 5.0)], -1), np.repeat(np.arange(10), 3)
    for seed in range(10):
        found = apart(group, places, "x", seed, 50)
        held = np.flatnonzero(found.side == VAL)
        assert len(held) == 2 and held[1] == held[0] + 1 and found.too_near == 0
        wide = apart(group, places, "x", seed, 1100)
        near = {held[0] - 1, held[1] + 1} & set(range(10))
        assert set(np.flatnonzero(wide.side == NEITHER)) == near and wide.too_near == len(near)
        assert (wide.side == VAL).sum() == 2


def test_groups_without_a_position_are_on_neither_side() -> None:
    places = np.array([[1.0, 1.0], [np.nan, np.nan], [np.nan, np.nan], [1.0, 2.0], [1.0, 3.0]])
    found = apart(np.array([0, 0, 1, 2, 3]), places, "x", 0, 50)
    assert found.side[1] == NEITHER and found.unplaced == 1
    assert sorted(found.side[[0, 2, 3]]) == [TRAIN, TRAIN, VAL]
    nowhere = apart(np.array([0, 1]), np.full((2, 2), np.nan), "x", 0, 50)
    assert (nowhere.side == NEITHER).all() and nowhere.unplaced == 2
    assert len(apart(np.zeros(0, np.int64), np.zeros((0, 2)), "x", 0, 50).side) == 0


def test_it_holds_across_the_antimeridian() -> None:
    lon = np.array([179.9999, -179.9999, 178.0, 177.0, 176.0])
    places = np.stack([np.zeros(5), lon], -1)
    for seed in range(20):
        side = apart(np.arange(5), places, "x", seed, 50).side
        assert {side[0], side[1]} != {TRAIN, VAL}
