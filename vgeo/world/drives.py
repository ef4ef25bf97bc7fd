"""Drives: a car wanders along the streets, keeps its lane, slows down for turns.

Shapes: T moments, S points of a finely drawn path.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vgeo.world.cities import City
from vgeo.world.streets import Streets

Floats = NDArray[np.float64]
Node = tuple[int, int]

STEP_M = 0.5
TURN_SPEED_M_S = 4.0
BRAKE_M_S2 = 2.0
SPEEDS_M_S = (5.0, 12.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """Where the camera is and looks, frame by frame."""

    city: City
    time_s: Floats  # [T]
    latlon_deg: Floats  # [T, 2]
    heading_deg: Floats  # [T] clockwise from north


def wander(streets: Streets, rng: np.random.Generator, seconds: float, rate_hz: float, radius_m: float | None) -> Drive:
    """Drive at random within `radius_m` of the centre along both axes of the grid (None: all of it).

    Never turns back, except where there is no other street.
    """
    nodes = _walk(streets, rng, seconds * SPEEDS_M_S[1] + 120, radius_m)
    path, turns = _trace(streets, nodes)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    clock = np.concatenate([[0.0], np.cumsum(np.diff(length) / _speeds(length, turns, rng))])
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    uv = np.stack([np.interp(time_s, clock, path[:, k]) for k in (0, 1)], axis=-1)
    reach = 1.5  # metres; the heading is that of the chord, which rounds the corners of the path
    at = np.interp(time_s, clock, length)
    chord = np.stack(
        [np.interp(at + reach, length, path[:, k]) - np.interp(at - reach, length, path[:, k]) for k in (0, 1)], axis=-1
    )
    heading = (np.degrees(np.arctan2(chord[:, 0], chord[:, 1])) + streets.city.bearing_deg) % 360
    return Drive(city=streets.city, time_s=time_s, latlon_deg=streets.to_latlon(uv), heading_deg=heading)


def _walk(streets: Streets, rng: np.random.Generator, length_m: float, radius_m: float | None) -> list[Node]:
    """Crossings passed, in order."""
    reach_m = np.inf if radius_m is None else radius_m
    near = (np.abs(streets.u_m) <= reach_m)[:, None] & (np.abs(streets.v_m) <= reach_m)
    allowed = _without_dead_ends(near)
    starts = np.argwhere(allowed)
    here: Node = (int(starts[(pick := rng.integers(len(starts)))][0]), int(starts[pick][1]))
    nodes, before, travelled = [here], None, 0.0
    while travelled < length_m:
        options = []
        for step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            there = (here[0] + step[0], here[1] + step[1])
            inside = 0 <= there[0] < len(streets.u_m) and 0 <= there[1] < len(streets.v_m)
            if inside and allowed[there] and there != before:
                options.append((there, 2.0 if before and there[0] - here[0] == here[0] - before[0] else 1.0))
        if not options:
            if before is None:
                raise ValueError(f"no street within {radius_m} m of the centre of {streets.city.name}")
            options = [(before, 1.0)]
        weights = np.array([weight for _, weight in options])
        following = options[int(rng.choice(len(options), p=weights / weights.sum()))][0]
        travelled += abs(streets.u_m[following[0]] - streets.u_m[here[0]])
        travelled += abs(streets.v_m[following[1]] - streets.v_m[here[1]])
        before, here = here, following
        nodes.append(here)
    return nodes


def _without_dead_ends(allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Crossings [U, V] that one can always leave by another street than one came; all, if there are none such."""
    kept = allowed
    while True:
        wide = np.pad(kept, 1).astype(int)
        ways = wide[2:, 1:-1] + wide[:-2, 1:-1] + wide[1:-1, 2:] + wide[1:-1, :-2]
        fewer = kept & (ways >= 2)
        if (fewer == kept).all():
            return kept if kept.any() else allowed
        kept = fewer


def _trace(streets: Streets, nodes: list[Node]) -> tuple[Floats, Floats]:
    """Path [S, 2] in grid metres along the lanes, corners rounded; and the lengths at which it turns."""
    keep = -1.0 if streets.city.left_hand else 1.0
    points = np.array([[streets.u_m[i], streets.v_m[j]] for i, j in nodes])
    ways = np.sign(np.diff(points, axis=0))  # [n - 1, 2] direction of each street
    right = np.stack([ways[:, 1], -ways[:, 0]], axis=-1)
    half = np.array([streets.v_half_m[a[1]] if a[0] != b[0] else streets.u_half_m[a[0]] for a, b in pairwise(nodes)])
    shift = right * (keep * np.clip((half - 2.3) / 2, 1.2, 2.6))[:, None]  # beside the parking lane
    pieces, turns = [points[0] + shift[0]], []
    for k in range(1, len(ways)):
        # The two lanes meet where both shifts apply; the corner is cut by a parabola with that point as its control.
        straight = bool((ways[k] == ways[k - 1]).all())
        reach = 12.0 if straight else 7.5
        control = points[k] + (shift[k] if straight else shift[k] + shift[k - 1])
        enter = points[k] + shift[k - 1] - reach * ways[k - 1] + (0 if straight else shift[k] * abs(ways[k - 1]))
        leave = points[k] + shift[k] + reach * ways[k] + (0 if straight else shift[k - 1] * abs(ways[k]))
        if straight:
            control = (enter + leave) / 2
        _add_line(pieces, enter)
        if not straight:
            turns.append(len(pieces))
        t = np.linspace(0, 1, 32)[1:, None]
        pieces.extend((1 - t) ** 2 * enter + 2 * t * (1 - t) * control + t**2 * leave)
    path = np.array(pieces)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    return path, length[np.array(turns, int)] if turns else np.zeros(0)


def _add_line(pieces: list[Floats], end: Floats) -> None:
    start = pieces[-1]
    count = max(2, int(np.linalg.norm(end - start) / STEP_M))
    pieces.extend(start + (end - start) * t for t in np.linspace(0, 1, count)[1:])


def _speeds(length: Floats, turns: Floats, rng: np.random.Generator) -> Floats:
    """Speed over each piece of the path, [S - 1]: a cruise that drifts, and braking before turns."""
    middle = (length[1:] + length[:-1]) / 2
    knots = np.arange(0, length[-1] + 80, 80.0)
    cruise = np.interp(middle, knots, rng.uniform(*SPEEDS_M_S, len(knots)))
    if len(turns):
        away = np.maximum(np.abs(middle[:, None] - turns).min(axis=1) - 8, 0)
        cruise = np.minimum(cruise, np.sqrt(TURN_SPEED_M_S**2 + 2 * BRAKE_M_S2 * away))
    return np.clip(cruise, 1.0, SPEEDS_M_S[1])
