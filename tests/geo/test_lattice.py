"""Lattices against all of their cells, made and measured one by one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vgeo.geo.lattice import Lattice
from vgeo.geo.sphere import KM_PER_DEG, distance_km


def all_cells(lattice: Lattice) -> NDArray[np.int64]:
    """Every cell of the Earth, in order."""
    rows = np.arange(lattice.rows)
    return np.array([(r, c) for r, n in zip(rows, lattice.columns(rows), strict=True) for c in range(n)])


def test_cells_are_even_and_tile_the_earth() -> None:
    lattice = Lattice(400.0)
    cells = all_cells(lattice)
    latlon = lattice.latlon_deg(cells)
    assert lattice.rows == 51  # 20015 km from pole to pole, never larger than asked for
    height_deg = 180 / lattice.rows
    assert np.allclose(latlon[0, 0], -90 + height_deg / 2)
    assert np.allclose(latlon[-1, 0], 90 - height_deg / 2)
    width_km = 360 / lattice.columns(cells[:, 0]) * KM_PER_DEG * np.cos(np.radians(latlon[:, 0]))
    assert width_km.max() <= height_deg * KM_PER_DEG * (1 + 1e-12)
    assert width_km.min() > 0.75 * height_deg * KM_PER_DEG  # four wedges around a pole
    assert ((latlon[:, 1] > -180) & (latlon[:, 1] < 180)).all()


PLACES = [(0, 0), (89.9, 20), (-90, 0), (90, -180), (10, 179.99), (-88, -179.9), (50, 3), (-17.5, 180.0)]


@pytest.mark.parametrize("radius_km", [300, 1000, 5000, 25000])
@pytest.mark.parametrize("place", PLACES)
def test_what_lies_around_a_place(place: tuple[float, float], radius_km: float) -> None:
    """Also over a pole, across the antimeridian, and around the whole Earth."""
    lattice = Lattice(333.0)
    cells = all_cells(lattice)
    near = distance_km(lattice.latlon_deg(cells), np.array(place)) <= radius_km
    assert np.array_equal(lattice.around(np.array([place], np.float64), radius_km), cells[near])


def test_around_several_places_each_cell_once() -> None:
    lattice, places = Lattice(333.0), np.array([(0.0, 179.0), (2.0, -179.0), (89.0, 0.0)])
    cells = all_cells(lattice)
    middles = lattice.latlon_deg(cells)
    near = np.any([distance_km(middles, place) <= 900 for place in places], axis=0)
    assert np.array_equal(lattice.around(places, 900), cells[near])


@pytest.mark.parametrize("ratio", [2.0, 3.7, 8.0])
def test_the_finer_cells_are_shared_out_among_the_coarser_ones(ratio: float) -> None:
    coarse, fine = Lattice(700.0), Lattice(700.0 / ratio)
    children = [fine.within(coarse, cell[None]) for cell in all_cells(coarse)]
    assert min(map(len, children)) >= 1
    joined = np.concatenate(children)
    assert len(joined) == len(all_cells(fine))
    assert np.array_equal(np.unique(joined, axis=0), all_cells(fine))
    for cell, own in zip(all_cells(coarse), children, strict=True):
        latlon = fine.latlon_deg(own)
        south, west = cell[0] * 180 / coarse.rows - 90, cell[1] * 360 / coarse.columns(cell[:1])[0] - 180
        assert (latlon[:, 0] >= south - 1e-9).all()
        assert (latlon[:, 0] <= south + 180 / coarse.rows + 1e-9).all()
        assert (latlon[:, 1] >= west - 1e-9).all()
        assert (latlon[:, 1] <= west + 360 / coarse.columns(cell[:1])[0] + 1e-9).all()


def test_a_metre_is_the_least() -> None:
    around = Lattice(0.001).around(np.array([(52.2, 0.1), (89.9999999, 0.0), (0.0, -180.0)]), 0.003)
    nearest = distance_km(
        Lattice(0.001).latlon_deg(around)[:, None], np.array([(52.2, 0.1), (90.0, 0.0), (0.0, 180.0)])
    )
    assert nearest.min(1).max() < 0.0031
    assert len(around) == pytest.approx(3 * np.pi * 9, rel=0.1)
    with pytest.raises(ValueError, match=r"at least 0\.001"):
        Lattice(0.0009)
    with pytest.raises(ValueError, match=r"at least 0\.001"):
        Lattice(float("nan"))
