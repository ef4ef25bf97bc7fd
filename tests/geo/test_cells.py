"""S2 cells against Google's library as ported by s2sphere, and regions against a slow flood fill."""

import numpy as np
import pytest
import s2sphere

from vgeo.geo import cells
from vgeo.geo.sphere import distance_km


def s2_cell(place: np.ndarray, level: int) -> s2sphere.CellId:
    return s2sphere.CellId.from_lat_lng(s2sphere.LatLng.from_degrees(*map(float, place))).parent(level)


def world(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([np.degrees(np.arcsin(rng.uniform(-1, 1, count))), rng.uniform(-180, 180, count)], axis=1)


@pytest.mark.parametrize("level", [0, 1, 5, 8, 10, 13, 20, 30])
def test_ids_are_those_of_s2(level: int) -> None:
    places = np.concatenate([world(300), [[90, 0], [-90, 0], [0, 0], [35.3, 45.0], [0, -180], [-0.0, 179.99]]])
    expected = [s2_cell(place, level).id() for place in places]
    assert cells.cell_ids(places, level).tolist() == expected


def test_ids_keep_the_shape() -> None:
    assert cells.cell_ids(np.zeros((3, 4, 2)), 10).shape == (3, 4)
    assert cells.cell_ids([10.0, 20.0], 10).shape == ()


@pytest.mark.parametrize("level", [2, 6, 10])
def test_neighbours_are_those_of_s2(level: int) -> None:
    corners = [[35.2644, 45.0], [35.2643, 135.0], [-35.2644, -45.0], [45, 0], [0, 45]]  # of the cube, and its edges
    places = np.concatenate([world(200), corners])
    found = cells._neighbours(*cells._face_ij(cells.unit_vectors(places), level), level)
    for place, ids in zip(places, found, strict=True):
        expected = {cell.id() for cell in s2_cell(place, level).get_all_neighbors(level)}
        assert set(ids.tolist()) == expected


def slow_regions(places: np.ndarray, level: int) -> list[set[int]]:
    home: dict[int, set[int]] = {}
    for row, place in enumerate(places):
        home.setdefault(s2_cell(place, level).id(), set()).add(row)
    regions, waiting = [], set(home)
    while waiting:
        border, region = [waiting.pop()], set()
        while border:
            cell = border.pop()
            region |= home[cell]
            near = {n.id() for n in s2sphere.CellId(cell).get_all_neighbors(level)} & waiting
            waiting -= near
            border += near
        regions.append(region)
    return regions


@pytest.mark.parametrize("level", [3, 4, 5])
def test_groups_are_those_of_a_flood_fill(level: int) -> None:
    places = world(250)
    found = cells.group(places, level)
    groups = [set(np.flatnonzero(found == number).tolist()) for number in range(found.max() + 1)]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, slow_regions(places, level)))
    sizes = [len(group) for group in groups]
    assert sizes == sorted(sizes, reverse=True)


def test_groups_of_cities_and_across_the_antimeridian() -> None:
    rng = np.random.default_rng(0)
    fiji = np.array([-17.0, 180.0]) + rng.uniform(-0.2, 0.2, (300, 2))
    paris = np.array([48.86, 2.35]) + rng.uniform(-0.05, 0.05, (100, 2))
    places = np.concatenate([paris, fiji])
    found = cells.group(places)
    assert found.tolist() == [1] * 100 + [0] * 300
    assert distance_km(fiji[0], paris[0]) > 10_000
