"""Tiles under squares around positions, against mercantile one position at a time."""

import mercantile
import numpy as np
import pytest

from vgeo.errors import UsageError
from vgeo.geo.mercator import latitudes, on_map
from vgeo.geo.tile_cover import around, reach

ZOOM = 19


def crop_tiles(lat: float, lon: float, half_px: int, zoom: int) -> set[tuple[int, int]]:
    """The tiles that hold any of the pixels of a crop whose middle is at the position, rounded to a pixel."""
    x, y = mercantile.xy(lon, lat)
    pixels = 256 * 2**zoom
    column = round((x / mercantile.CE + 0.5) * pixels)
    row = round((0.5 - y / mercantile.CE) * pixels)
    columns = range(column - half_px, column + half_px)
    rows = range(row - half_px, row + half_px)
    return {(i, j) for i in {c // 256 for c in columns} for j in {r // 256 for r in rows}}


def test_a_crop_around_any_position_is_covered_and_little_more() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        lat, lon = rng.uniform(-75, 75), rng.uniform(-179, 179)
        found = {tuple(tile) for tile in around([(lat, lon)], ZOOM).tolist()}
        needed = crop_tiles(lat, lon, 128, ZOOM)
        assert needed <= found and len(found) <= 9
    many = rng.uniform((-75, -179), (75, 179), (300, 2))
    assert len(around(many, ZOOM)) < 4.2 * 300


def test_positions_alone_are_in_the_tiles_that_mercantile_names() -> None:
    rng = np.random.default_rng(1)
    latlon = rng.uniform((-85, -180), (85, 180), (500, 2))
    expected = {mercantile.tile(lon, lat, 12)[:2] for lat, lon in latlon}
    assert {tuple(tile) for tile in around(latlon, 12, across=0).tolist()} == expected


def test_regions_of_seven() -> None:
    at = mercantile.ul(154_000, 197_000, ZOOM)
    middle = mercantile.ul(154_001, 197_001, ZOOM)
    lat, lon = (at.lat + middle.lat) / 2, (at.lng + middle.lng) / 2
    found = around([(lat, lon)], ZOOM, across=7)
    assert {tuple(tile) for tile in found.tolist()} >= {
        (x, y) for x in range(153_997, 154_004) for y in range(196_997, 197_004)
    }
    assert len(found) <= 81


def test_margin_is_in_metres_on_the_ground() -> None:
    """A tile of zoom 19 is 58 m at 40.7 degrees (GAMa) and half of the equator's 76 m at 60."""
    assert reach(40.7, ZOOM, 0, 57.95) == pytest.approx(1.0, abs=0.002)
    assert reach(60, ZOOM, 1, 38.22) == pytest.approx(1.5 + 1 / 256, abs=0.002)


def test_across_the_antimeridian_and_at_the_edge_of_the_map() -> None:
    last = 2**ZOOM - 1
    columns = {x for x, _ in around([(10.0, 180.0)], ZOOM).tolist()}
    assert columns == {0, last}
    assert {y for _, y in around([(85.0511, 0.0)], ZOOM, across=5).tolist()} == {0, 1, 2}
    assert len(around([(0.0, 0.0)], 0, across=7)) == 1  # the whole Earth is one tile
    assert len(around([(0.0, 0.0)], 2, across=7)) == 16


def test_rows_and_latitudes_are_each_other_s_inverse() -> None:
    lat = np.linspace(-85, 85, 41)
    at = on_map(np.stack([lat, np.zeros(41)], axis=1), 10)
    assert np.allclose(latitudes(at[:, 1], 10), lat, atol=1e-9) and np.allclose(at[:, 0], 512)


def test_too_many_are_refused_quickly() -> None:
    with pytest.raises(UsageError, match="tiles would cover that"):
        around([(0.0, 0.0)], ZOOM, margin_m=500_000)
