"""The sphere against plain mathematics, S2 and known distances."""

import math

import numpy as np
import pytest
import s2sphere

from vgeo.geo import sphere

CITIES = {
    "London": (51.5074, -0.1278),
    "Paris": (48.8566, 2.3522),
    "Sydney": (-33.8688, 151.2093),
    "New York": (40.7128, -74.0060),
    "Suva": (-18.1416, 178.4419),
    "Apia": (-13.8333, -171.7667),
}


def random_places(count: int, seed: int = 0) -> np.ndarray:
    """Uniform on the sphere, with the poles and the antimeridian among them."""
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    places = np.stack([lat, rng.uniform(-180, 180, count)], axis=1)
    places[:6] = [(90, 0), (-90, 77), (0, -180), (0, 179.9999999), (0, 0), (45, -180)]
    return places


def arc_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance by the cross product, which is exact where the haversine is weakest."""
    (ax, ay, az), (bx, by, bz) = vector(a), vector(b)
    cross = math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return sphere.EARTH_RADIUS_KM * math.atan2(cross, ax * bx + ay * by + az * bz)


def vector(place: tuple[float, float]) -> tuple[float, float, float]:
    lat, lon = math.radians(place[0]), math.radians(place[1])
    return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [  # published great-circle distances, which differ among themselves by up to 0.5 % (ellipsoid)
        ("London", "Paris", 344),
        ("London", "New York", 5570),
        ("London", "Sydney", 16_990),
        ("Suva", "Apia", 1_150),
    ],
)
def test_distance_between_cities(a: str, b: str, km: float) -> None:
    assert float(sphere.distance_km(CITIES[a], CITIES[b])) == pytest.approx(km, rel=0.01)


def test_distance_agrees_with_vectors_and_s2() -> None:
    a, b = random_places(500, 1), random_places(500, 2)
    found = sphere.distance_km(a, b)
    assert found == pytest.approx([arc_km(p, q) for p, q in zip(a, b, strict=True)], rel=1e-9, abs=1e-6)
    for p, q, km in zip(a[:50], b[:50], found, strict=False):
        angle = s2sphere.LatLng.from_degrees(*p).get_distance(s2sphere.LatLng.from_degrees(*q)).radians
        assert km == pytest.approx(angle * 6371.0088, rel=1e-9, abs=1e-6)


def test_distance_of_a_metre_is_kept_to_a_micrometre() -> None:
    here = np.array([55.7, 13.19])
    metre_north = here + np.array([0.001 / sphere.KM_PER_DEG, 0])
    assert float(sphere.distance_km(here, metre_north)) == pytest.approx(0.001, abs=1e-9)


def test_distance_of_antipodes_and_poles() -> None:
    half = math.pi * sphere.EARTH_RADIUS_KM
    assert float(sphere.distance_km([10, 20], [-10, -160])) == pytest.approx(half, rel=1e-7)
    assert float(sphere.distance_km([90, 0], [90, 123])) == pytest.approx(0, abs=1e-9)
    assert float(sphere.distance_km([0, 179.5], [0, -179.5])) == pytest.approx(sphere.KM_PER_DEG)


def test_distance_broadcasts() -> None:
    table = sphere.distance_km(random_places(7)[:, None], random_places(9)[None])
    assert table.shape == (7, 9)
    assert table[3, 2] == pytest.approx(arc_km(random_places(7)[3], random_places(9)[2]))


def test_wrap_lon_range_and_meaning() -> None:
    lon = np.array([-540, -181, -180, -179.5, 0, 179.5, 180, 190, 360, 541.25])
    wrapped = sphere.wrap_lon(lon)
    assert wrapped.tolist() == [-180, 179, -180, -179.5, 0, 179.5, -180, -170, 0, -178.75]


def test_wrap_lon_leaves_what_is_in_range_bit_by_bit() -> None:
    lon = np.round(np.random.default_rng(0).uniform(-180, 180, 1000), 7)
    assert (((lon + 180) % 360 - 180) != lon).any()  # what plain arithmetic would do
    assert (sphere.wrap_lon(lon) == lon).all()


def test_wrap_lon_never_returns_180() -> None:
    just_below = np.nextafter(-180.0, -np.inf)
    assert float(sphere.wrap_lon(just_below)) == -180.0
    assert float(sphere.wrap_lon(180 + 1e-14)) < 180


def test_vectors_and_back() -> None:
    places = random_places(200)
    assert np.allclose(np.linalg.norm(sphere.unit_vectors(places), axis=1), 1)
    assert sphere.unit_vectors(places[10]) == pytest.approx(vector(places[10]))
    back = sphere.from_vectors(3.5 * sphere.unit_vectors(places))
    assert sphere.distance_km(places, back).max() < 1e-9
    assert ((back[:, 1] >= -180) & (back[:, 1] < 180)).all()


def test_centroid_across_the_antimeridian_and_at_a_pole() -> None:
    assert sphere.centroid([[-17, 179.5], [-17, -179.5]])[1] == pytest.approx(-180)
    assert sphere.centroid([[10, 0], [20, 0], [30, 0]]) == pytest.approx([20, 0])
    ring = [[80, lon] for lon in range(-180, 180, 60)]
    assert sphere.centroid(ring)[0] == pytest.approx(90)


def test_path_length() -> None:
    track = [[0, 0], [0, 1], [1, 1], [1, 1]]
    expected = [0, sphere.KM_PER_DEG, 2 * sphere.KM_PER_DEG, 2 * sphere.KM_PER_DEG]
    assert sphere.path_length_km(track) == pytest.approx(expected)
    assert sphere.path_length_km([[5, 5]]).tolist() == [0]
    assert sphere.path_length_km(np.zeros((0, 2))).tolist() == []


def test_interpolation_runs_on_the_great_circle() -> None:
    start, end = CITIES["Suva"], CITIES["Apia"]  # across the antimeridian
    shares = np.linspace(0, 1, 11)
    found = sphere.interpolate(shares * 60, [0, 60], [start, end], max_gap_s=60)
    total = arc_km(start, end)
    for share, place in zip(shares, found, strict=True):
        assert arc_km(start, place) == pytest.approx(share * total, abs=1e-6)
        assert arc_km(place, end) == pytest.approx((1 - share) * total, abs=1e-6)
    assert ((found[:, 1] >= -180) & (found[:, 1] < 180)).all()


def test_interpolation_of_a_short_step_is_linear() -> None:
    found = sphere.interpolate([0.25], [0, 1], [[55.7, 13.19], [55.70001, 13.19002]], max_gap_s=1)
    assert found[0] == pytest.approx([55.7000025, 13.190005], abs=1e-10)


def test_interpolation_hits_the_fixes_and_repeated_times() -> None:
    track = np.array([[0, 0], [0, 1], [0, 1.5], [0, 2]])
    found = sphere.interpolate([0, 1, 2], [0, 1, 1, 2], track, max_gap_s=1)
    assert found == pytest.approx(np.array([[0, 0], [0, 1], [0, 2]]))
    assert sphere.interpolate([1.5], [0, 1, 1, 2], track, max_gap_s=1)[0] == pytest.approx([0, 1.75])


def test_interpolation_says_nothing_far_from_a_fix() -> None:
    times, track = [0, 1, 11, 12], [[0, 0], [0, 1], [0, 11], [0, 12]]
    found = sphere.interpolate([-2.5, -1.5, 2.5, 6, 9.5, 13.5, 14.5], times, track, max_gap_s=2)
    known = ~np.isnan(found).any(axis=1)
    assert known.tolist() == [False, True, True, False, True, True, False]
    assert found[1] == pytest.approx([0, 0])  # held, not extrapolated
    assert found[5] == pytest.approx([0, 12])
    assert found[2] == pytest.approx([0, 2.5])


def test_interpolation_without_fixes_or_with_one() -> None:
    assert np.isnan(sphere.interpolate([0, 1], [], np.zeros((0, 2)), max_gap_s=1)).all()
    found = sphere.interpolate([0, 5, 9], [5], [[1, 2]], max_gap_s=2)
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == pytest.approx([1, 2])
