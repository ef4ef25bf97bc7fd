"""Tile arithmetic, against the formula of the slippy map written out, and figures of GAMa's tiles."""

import math

import numpy as np
import pytest

from vgeo.errors import FormatError, UsageError
from vgeo.geo import sphere, tiles

EDGE = 85.0511287798


def by_formula(lat: float, lon: float, zoom: int) -> tuple[float, float]:
    """https://wiki.openstreetmap.org/wiki/Slippy_map_tilenames"""
    n = 2**zoom
    x = (lon + 180) / 360 * n
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * n
    return x, y


def places(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([rng.uniform(-85, 85, count), rng.uniform(-180, 180, count)], axis=1)


@pytest.mark.parametrize("zoom", [0, 1, 7, 19, 24])
def test_tile_and_pixel_of_a_position(zoom: int) -> None:
    for lat, lon in places(200):
        x, y = by_formula(lat, lon, zoom)
        assert tiles.tile_of((lat, lon), zoom) == (int(x), int(y))
        assert tiles.pixel_of((lat, lon), zoom, 256) == pytest.approx((256 * x, 256 * y), abs=1e-4)
        assert tiles.position(x, y, zoom) == pytest.approx((lat, lon), abs=1e-9)


def test_square_and_bounds_of_a_tile() -> None:
    x, y = tiles.tile_of((40.7, -74.0))
    (south, west), (north, east) = tiles.bounds(x, y, tiles.ZOOM)
    assert south < 40.7 < north and west < -74.0 < east
    middle, side_m = tiles.square_of(x, y)
    assert south < middle[0] < north and middle[1] == pytest.approx((west + east) / 2)
    assert side_m == pytest.approx(57.9, abs=0.1)  # "about 58 m" at latitude 40.7
    across_m = sphere.distance_km((middle[0], west), (middle[0], east)) * 1000
    assert side_m == pytest.approx(float(across_m), rel=1e-6)
    assert 7 * tiles.side_m(40.7, 19) == pytest.approx(406, abs=2)  # a region of 7 x 7
    assert tiles.bounds(x, y + 1, 19)[1][0] == pytest.approx(south, abs=1e-12)


def test_the_ends_of_the_map() -> None:
    assert pytest.approx(EDGE, abs=1e-10) == tiles.MAX_LAT_DEG
    assert tiles.tile_of((EDGE, -180), 5) == (0, 0)
    assert tiles.tile_of((-EDGE, 179.999999), 5) == (31, 31)
    assert tiles.tile_of((0, 180), 5) == tiles.tile_of((0, -180), 5) == (0, 16)
    assert tiles.tile_of((0, 190), 5) == tiles.tile_of((0, -170), 5)
    for lat in (85.06, -85.06, 90, math.nan):
        with pytest.raises(FormatError, match=r"outside the tiles of Web Mercator, which end at 85\.0511"):
            tiles.tile_of((lat, 0), 19)
        with pytest.raises(FormatError, match="outside"):
            tiles.pixel_of((lat, 0), 19, 256)
    tiles.check_range([[EDGE, 0], [0, 0]], "x")
    with pytest.raises(FormatError, match="row 5: latitude -86"):
        tiles.check_range([[1, 0], [-86, 0]], "row 5")


def test_zooms_and_blocks() -> None:
    assert tiles.check_zoom(0) == 0
    for zoom in (-1, 25):
        with pytest.raises(UsageError, match=f"zoom {zoom}"):
            tiles.check_zoom(zoom)
    assert tiles.block(10, 20, 2) == [(10, 20), (11, 20), (10, 21), (11, 21)]
    assert len(set(tiles.block(3, 4, 7))) == 49
