"""Cutting a line at the antimeridian, as RFC 7946 (section 3.1.9) asks, and finding such cuts again."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vgeo.geo.sphere import wrap_lon
from vgeo.records import Floats

Part = tuple[Floats, Floats]  # positions [N, 2] in degrees, with a longitude of +180 at an eastern end; times [N]


def cut(latlon_deg: Floats, times: Floats) -> list[Part]:
    """Split a line (at least two positions, longitudes in [-180, 180)) where it crosses ±180°.

    Steps go the shorter way round. Each cut adds the crossing point to both parts, interpolated in latitude and time.
    """
    lat, lon = latlon_deg[:, 0], latlon_deg[:, 1]
    turned = lon[0] + np.concatenate([[0.0], np.cumsum(wrap_lon(np.diff(lon)))])  # without jumps
    turn = np.round((turned - lon) / 360).astype(int)
    parts: list[Part] = []
    begin, head_deg, head_time = 0, np.zeros((0, 2)), np.zeros(0)
    for i in np.flatnonzero(np.diff(turn)).tolist():
        edge = 180.0 if turn[i + 1] > turn[i] else -180.0
        share = (edge + 360 * turn[i] - turned[i]) / (turned[i + 1] - turned[i])
        cross_lat = lat[i] + share * (lat[i + 1] - lat[i])
        cross_time = times[i] + share * (times[i + 1] - times[i])
        own = slice(begin, i + 1)
        parts.append(
            (
                np.concatenate([head_deg, latlon_deg[own], [[cross_lat, edge]]]),
                np.concatenate([head_time, times[own], [cross_time]]),
            )
        )
        begin, head_deg, head_time = i + 1, np.array([[cross_lat, -edge]]), np.array([cross_time])
    parts.append((np.concatenate([head_deg, latlon_deg[begin:]]), np.concatenate([head_time, times[begin:]])))
    # A position that lies on ±180° itself is the crossing point: what would be left of it alone is no line.
    return [part for part in parts if np.ptp(part[0], axis=0).any()] or parts[:1]


def seams(parts: Sequence[Sequence[tuple[float, float]]]) -> set[tuple[int, int]]:
    """Indices (part, position) of the two crossing points of each cut, in parts given as (lat, lon) positions."""
    found: set[tuple[int, int]] = set()
    for i, (part, following) in enumerate(pairwise(parts)):
        if len(part) > 1 and len(following) > 1:
            (lat_a, lon_a), (lat_b, lon_b) = part[-1], following[0]
            if abs(lon_a) == 180 and lon_b == -lon_a and abs(lat_a - lat_b) < 1e-6:
                found |= {(i, len(part) - 1), (i + 1, 0)}
    return found
