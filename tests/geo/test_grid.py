"""Boxes and grids: the paper's arithmetic by hand, by a slow loop, and at the edges of the map."""

import math

import numpy as np
import pytest

from vgeo.geo import grid as g
from vgeo.geo.sphere import EARTH_RADIUS_KM, distance_km

KM = 2 * math.pi * EARTH_RADIUS_KM / 360


def box(south: float, north: float, west: float, width: float) -> g.Box:
    return g.Box(south_deg=south, north_deg=north, west_deg=west, width_deg=width)


def haversine_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    a, b = math.radians(lat1), math.radians(lat2)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(h))


def slow_grid(south: float, north: float, west: float, east: float, spacing_km: float) -> list[tuple[float, float]]:
    """VidTAG, appendix D.1, word for word, for boxes that do not cross the antimeridian."""
    rows = round(haversine_km(south, west, north, west) / spacing_km)
    columns = round(haversine_km(south, west, south, east) / spacing_km)
    lats = [south + i * (north - south) / (rows - 1) for i in range(rows)]
    lons = [west + i * (east - west) / (columns - 1) for i in range(columns)]
    return [(lat, lon) for lat in lats for lon in lons]


def test_shape_by_hand() -> None:
    # 0.09 deg of latitude are 10.0075 km; 0.18 deg along the 60th parallel are 0.18 * 111.195 / 2 = 10.0075 km.
    assert g.grid_shape(box(60, 60.09, 18, 0.18), 1.0) == (10, 10)
    assert g.grid_shape(box(60, 60.09, 18, 0.18), 0.1) == (100, 100)
    # On the southern half the southern edge is the short one: 0.18 * 111.195 * cos(60.09) = 9.9802 km.
    assert g.grid_shape(box(-60.09, -60, 18, 0.18), 0.01) == (1001, 998)


@pytest.mark.parametrize(
    ("south", "north", "west", "east"),
    [
        (37.7, 37.81, -122.51, -122.36),
        (-33.95, -33.8, 151.1, 151.3),
        (55.6, 55.75, 12.4, 12.65),
        (-0.1, 0.1, -0.1, 0.1),
    ],
)
@pytest.mark.parametrize("spacing_km", [0.5, 0.73, 2.0])
def test_equals_the_slow_loop(south: float, north: float, west: float, east: float, spacing_km: float) -> None:
    expected = np.array(slow_grid(south, north, west, east, spacing_km))
    found = g.grid(box(south, north, west, east - west), spacing_km)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 0.51e-7  # rounded to what is kept on disk


def test_neighbours_are_about_the_spacing_apart() -> None:
    city = box(48.8, 48.9, 2.25, 0.17)
    rows, columns = g.grid_shape(city, 0.1)
    points = g.grid(city, 0.1).reshape(rows, columns, 2)
    north = distance_km(points[:-1], points[1:])
    east = distance_km(points[:, :-1], points[:, 1:])
    assert north == pytest.approx(np.full(north.shape, 0.1), rel=0.02)
    assert east == pytest.approx(np.full(east.shape, 0.1), rel=0.02)


def test_box_of_fiji_crosses_the_antimeridian() -> None:
    islands = np.array([[-18.14, 178.44], [-16.8, 179.95], [-17.2, -179.9], [-16.85, -179.97]])
    found = g.bounding_box(islands)
    assert (found.south_deg, found.north_deg, found.west_deg) == (-18.14, -16.8, 178.44)
    assert found.width_deg == pytest.approx(1.66)
    points = g.grid(found.padded(5), 5)
    assert ((points[:, 1] >= -180) & (points[:, 1] < 180)).all()
    assert (points[:, 1] > 178).any() and (points[:, 1] < -179).any()
    assert len(np.unique(points, axis=0)) == len(points)
    assert distance_km(points, [-17.5, 179.3]).max() < 200  # nothing on the other side of the Earth
    for island in islands:
        assert distance_km(points, island).min() < 5 * 2**0.5 / 2 * 1.05


def test_box_of_the_whole_circle_names_no_meridian_twice() -> None:
    ring = box(-10, 10, -180, 360)
    points = g.grid(ring, 500)
    assert len(np.unique(points, axis=0)) == len(points)
    assert g.bounding_box([[0, lon] for lon in range(-180, 180, 10)]).width_deg == 350
    assert g.bounding_box([[0, lon] for lon in range(-180, 180, 10)]).padded(600).width_deg == 360


def test_box_of_one_position_and_its_margin() -> None:
    padded = g.bounding_box([[59.3, 18.1]]).padded(2.0)
    assert padded.north_deg - padded.south_deg == pytest.approx(4 / KM)
    points = g.grid(padded, 0.5)
    assert points.mean(axis=0) == pytest.approx([59.3, 18.1])
    assert g.grid(g.bounding_box([[59.3, 18.1]]), 0.5).tolist() == [[59.3, 18.1]]


def test_margin_is_nowhere_less_than_asked() -> None:
    inner = box(69, 71, 20, 3)
    outer = inner.padded(10)
    for lat in (69, 70, 71):
        assert haversine_km(lat, inner.west_deg, lat, outer.west_deg) >= 10 * (1 - 1e-4)
    assert haversine_km(71, 20, outer.north_deg, 20) == pytest.approx(10)


def test_margin_at_a_pole_takes_the_full_circle() -> None:
    polar = g.bounding_box([[89.99, 10], [89.98, 40]]).padded(50)
    assert (polar.north_deg, polar.west_deg, polar.width_deg) == (90, -180, 360)
    points = g.grid(polar, 10)
    assert np.isfinite(points).all() and (points[:, 0] <= 90).all()


def test_trimming_drops_outliers_only() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([47.3, -180.05], [47.4, -179.95], (10_000, 2))
    points[:5] = [(10, 100)] * 5
    points[:, 1] = (points[:, 1] + 180) % 360 - 180
    assert g.bounding_box(points).south_deg == 10
    trimmed = g.bounding_box(points, trim_percent=0.1)
    assert trimmed.south_deg == pytest.approx(47.3, abs=0.001)
    assert trimmed.width_deg == pytest.approx(0.1, abs=0.001)
    assert trimmed.west_deg == pytest.approx(179.95, abs=0.001)


def test_area_of_the_earth_and_of_a_small_box() -> None:
    assert box(-90, 90, -180, 360).area_km2 == pytest.approx(4 * math.pi * EARTH_RADIUS_KM**2)
    assert box(60, 60.01, 0, 0.01).area_km2 == pytest.approx(
        (0.01 * KM) ** 2 * math.cos(math.radians(60.005)), rel=1e-6
    )


@pytest.mark.parametrize("tall", [box(-55, -22, -73, 20), box(-90, -60, -180, 360), box(55, 69, 11, 13)])
def test_even_rows_keep_their_spacing_at_every_latitude(tall: g.Box) -> None:
    lat = np.linspace(tall.south_deg, tall.north_deg, 30)
    points = g.even_rows(tall, lat, 25.0)
    for row in lat:
        lons = points[points[:, 0] == row, 1]
        around = KM * math.cos(math.radians(row)) * tall.width_deg
        if len(lons) > 2:
            assert around / len(lons) == pytest.approx(25, rel=0.5 / len(lons) + 1e-6)
        offset = (lons - tall.west_deg) % 360
        assert (offset >= 0).all() and (offset <= tall.width_deg).all()
    assert len(np.unique(points, axis=0)) == len(points)


def test_fitting_spacing_fits_and_is_not_wasteful() -> None:
    city = box(48, 49, 2, 1.5)

    def count(km: float) -> int:
        return math.prod(g.grid_shape(city, km))

    found = g.fitting_spacing_km(count, 0.01, 1_000_000)
    assert 500_000 < count(found) <= 1_000_000
    assert g.fitting_spacing_km(count, 1.0, 1_000_000) == 1.0
