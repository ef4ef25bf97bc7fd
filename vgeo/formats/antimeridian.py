"""Cutting a line at the antimeridian, as RFC 7946 (section 3.1.9) asks, and finding such cuts again."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vgeo.geo.sphere import wrap_lon
from vgeo.records import Floats

Part = tuple[Floats, Floats]  # positions [N, 2] in degrees, with a longitude of +180 at an eastern end; times [N]


def cut(latlon_deg: Floats, times: Floats) -> list[Part]:
    """Split a line (at least two positions, longitudes in [-180, 180)) where it crosses ±180°.

    Steps go the shorter way round. Each cut adds the crossing point to both parts, interpolated in latitude and time.
    A position on ±180° itself belongs to either side: it stays on the one where the line is, and is cut off by none.
    """
    lat, lon = latlon_deg[:, 0], latlon_deg[:, 1]
    turned = lon[0] + np.concatenate([[0.0], np.cumsum(wrap_lon(np.diff(lon)))])  # without jumps
    east = np.round((turned - lon) / 360).astype(int)  # how often the line went round by then
    side = _sides(lon == -180, east)
    written = np.stack([lat, np.where(side < east, 180.0, lon)], axis=1)
    parts: list[Part] = []
    begin, head_deg, head_time = 0, np.zeros((0, 2)), np.zeros(0)
    for i in np.flatnonzero(np.diff(side)).tolist():
        edge = 180.0 if side[i + 1] > side[i] else -180.0
        share = (edge + 360 * side[i] - turned[i]) / (turned[i + 1] - turned[i])
        cross_lat = lat[i] + share * (lat[i + 1] - lat[i])
        cross_time = times[i] + share * (times[i + 1] - times[i])
        own = slice(begin, i + 1)
        parts.append(
            (
                np.concatenate([head_deg, written[own], [[cross_lat, edge]]]),
                np.concatenate([head_time, times[own], [cross_time]]),
            )
        )
        begin, head_deg, head_time = i + 1, np.array([[cross_lat, -edge]]), np.array([cross_time])
    parts.append((np.concatenate([head_deg, written[begin:]]), np.concatenate([head_time, times[begin:]])))
    return parts


def _sides(on_edge: NDArray[np.bool_], east: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each position the turn that it is written in; one on ±180° is at the end of a turn and the start of the next.

    It stays in the turn of the one before it, at the line's start in that of the first which is not on ±180°.
    """
    inside = np.flatnonzero(~on_edge)
    if not len(inside):
        return east
    side = east.copy()
    side[: inside[0]] = east[inside[0]]
    for i in np.flatnonzero(on_edge).tolist():
        if i > inside[0]:
            side[i] = side[i - 1]
    return side


def seams(parts: Sequence[Sequence[tuple[float, float]]]) -> set[tuple[int, int]]:
    """Indices (part, position) of the two crossing points of each cut, in parts given as (lat, lon) positions."""
    found: set[tuple[int, int]] = set()
    for i, (part, following) in enumerate(pairwise(parts)):
        if len(part) > 1 and len(following) > 1:
            (lat_a, lon_a), (lat_b, lon_b) = part[-1], following[0]
            if abs(lon_a) == 180 and lon_b == -lon_a and abs(lat_a - lat_b) < 1e-6:
                found |= {(i, len(part) - 1), (i + 1, 0)}
    return found
