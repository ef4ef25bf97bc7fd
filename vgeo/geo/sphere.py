"""Distances, centroids and interpolation on the sphere.

Everything is float64: in float32 a haversine is off by up to 2.9 m. Longitudes come back in [-180, 180).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_KM = 6371.0088  # mean radius of WGS 84 (IUGG)
KM_PER_DEG = np.pi * EARTH_RADIUS_KM / 180  # along a meridian: 111.195 km
DECIMALS = 7  # on disk: 1.1 cm at the equator

Floats = NDArray[np.float64]


def distance_km(a_deg: ArrayLike, b_deg: ArrayLike) -> Floats:
    """Great-circle distance of positions [..., 2]; the leading shapes broadcast."""
    a, b = np.radians(np.asarray(a_deg, np.float64)), np.radians(np.asarray(b_deg, np.float64))
    lat_a, lat_b = a[..., 0], b[..., 0]
    h = np.sin((lat_b - lat_a) / 2) ** 2 + np.cos(lat_a) * np.cos(lat_b) * np.sin((b[..., 1] - a[..., 1]) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(h, 0, 1)))


def wrap_lon(lon_deg: ArrayLike) -> Floats:
    """Bring longitudes (or differences of longitudes) into [-180, 180); those that are there keep every bit."""
    lon = np.asarray(lon_deg, np.float64)
    wrapped = (lon + 180) % 360 - 180
    wrapped = np.where(wrapped >= 180, -180.0, wrapped)  # x % 360 rounds to 360 for x just below 0
    return np.where((lon >= -180) & (lon < 180), lon, wrapped)


def unit_vectors(latlon_deg: ArrayLike) -> Floats:
    """Positions [..., 2] as unit vectors [..., 3]."""
    lat, lon = np.moveaxis(np.radians(np.asarray(latlon_deg, np.float64)), -1, 0)
    across = np.cos(lat)
    return np.stack([across * np.cos(lon), across * np.sin(lon), np.sin(lat)], axis=-1)


def from_vectors(vectors: ArrayLike) -> Floats:
    """Vectors [..., 3] of any length as positions [..., 2]."""
    x, y, z = np.moveaxis(np.asarray(vectors, np.float64), -1, 0)
    return np.stack([np.degrees(np.arctan2(z, np.hypot(x, y))), wrap_lon(np.degrees(np.arctan2(y, x)))], axis=-1)


def centroid(latlon_deg: ArrayLike) -> Floats:
    """Mean position [2] of positions [N, 2] through unit vectors: safe at the antimeridian and the poles."""
    return from_vectors(unit_vectors(latlon_deg).mean(axis=0))


def path_length_km(latlon_deg: ArrayLike) -> Floats:
    """Distance travelled up to each position: [T, 2] -> [T], starting at 0."""
    track = np.asarray(latlon_deg, np.float64)
    steps = distance_km(track[:-1], track[1:]) if len(track) > 1 else np.zeros(0)
    return np.concatenate([np.zeros(min(1, len(track))), np.cumsum(steps)])


def interpolate(time_s: ArrayLike, track_time_s: ArrayLike, track_deg: ArrayLike, max_gap_s: float) -> Floats:
    """Positions [N, 2] at `time_s` along a track, on great circles; NaN where the track says nothing.

    Nothing further than `max_gap_s` from the nearest fix gets a position, whether before the first fix, after the
    last (where the nearest fix's own position is held) or inside a hole of the track.

    track_time_s: [T], non-decreasing. track_deg: [T, 2], finite.
    """
    times, fixes = np.atleast_1d(np.asarray(time_s, np.float64)), np.asarray(track_time_s, np.float64)
    if len(fixes) == 0:
        return np.full((len(times), 2), np.nan)
    points = unit_vectors(track_deg)
    right = np.clip(np.searchsorted(fixes, times, side="left"), 0, len(fixes) - 1)
    left = np.clip(right - 1, 0, len(fixes) - 1)
    span = fixes[right] - fixes[left]
    share = np.clip(np.where(span > 0, (times - fixes[left]) / np.where(span > 0, span, 1), 1.0), 0, 1)[:, None]
    start, end = points[left], points[right]
    angle = np.arctan2(np.linalg.norm(np.cross(start, end), axis=1), np.sum(start * end, axis=1))[:, None]
    near = angle < 1e-9  # closer than a millimetre or so: the chord is the arc
    sine = np.where(near, 1.0, np.sin(angle))
    mixed = np.where(
        near,
        (1 - share) * start + share * end,
        np.sin((1 - share) * angle) / sine * start + np.sin(share * angle) / sine * end,
    )
    found = from_vectors(mixed)
    gap = np.minimum(np.abs(times - fixes[left]), np.abs(times - fixes[right]))
    found[gap > max_gap_s] = np.nan
    return found
