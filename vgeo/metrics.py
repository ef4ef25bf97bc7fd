"""How far predictions are off: accuracy within km or by name or rank, the rule for videos, VidTAG's trajectory metrics.

Distances are great-circle km. The discrete Fréchet distance and the range difference are in degrees, as VidTAG prints
them (its tables cannot be km: on GAMa the Fréchet distance would be below what its own video errors force), and in km
under other names. Longitudes are unwrapped along a track and differences of them wrapped, so the antimeridian is no
place of its own.

Shapes: T, U frames of two tracks, P pairs of tracks; N rankings, K their length, M right answers, I places that are
ranked. Positions are (lat, lon) in degrees.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.device import in_threads
from vgeo.geo.sphere import EARTH_RADIUS_KM, KM_PER_DEG, centroid, distance_km, unit_vectors, wrap_lon
from vgeo.records import Floats

WITHIN_KM = (0.5, 1.0, 5.0, 25.0)  # sub-street, street, locality, city: VidTAG, section 4.3 and table 1
WITHIN_MI = (0.1, 0.2, 0.5, 1.0)  # GAMa, table 6
TOLERANCE_MI = 0.05  # GAMa, section 5: so near to the truth, a centred tile counts as it
KM_PER_MILE = 1.609344
EARTH_RADIUS_MI = 3956.0  # of GAMa's evaluation (code); 0.07 % less than the mean radius

Pair = tuple[Floats, Floats]  # positions [T, 2] and [U, 2]

# Frames of the tracks on one side that are worked on at a time: less, and calls take the time; more, and memory does.
_BATCH = 32_768
_PAIRS = 2**18  # ranked places that are worked on at a time


def frame_errors_km(prediction_deg: ArrayLike, truth_deg: ArrayLike) -> Floats:
    """Great-circle distance of each frame's prediction from its truth: [T, 2], [T, 2] -> [T]."""
    return distance_km(prediction_deg, truth_deg)


def video_error_km(prediction_deg: ArrayLike, truth_deg: ArrayLike) -> float:
    """Error of a whole video (VidTAG, appendix E.1): [T, 2], [U, 2] -> km.

    The video is said to be at the prediction nearest to the centroid of all predictions, and is at the centroid of its
    truth. Centroids go through unit vectors, where the paper averages degrees: the same but for the antimeridian.
    """
    predictions = np.asarray(prediction_deg, np.float64)
    chosen = predictions[np.argmin(distance_km(predictions, centroid(predictions)))]
    return float(distance_km(chosen, centroid(truth_deg)))


def percent_within(errors_km: ArrayLike, within_km: Sequence[float]) -> tuple[float, ...]:
    """Share of errors that do not exceed each threshold, in percent; NaN without errors."""
    errors = np.asarray(errors_km, np.float64)
    if not errors.size:
        return tuple(float("nan") for _ in within_km)
    return tuple(float(100 * np.mean(errors <= limit)) for limit in within_km)


def top_percent(ranks: ArrayLike, k: int) -> float:
    """Share of clips whose truth is among the first `k` places named (CityGuessr's top-k accuracy), in percent.

    ranks: of the truth among the places that are named, from 0; -1 where it is not. NaN without clips.
    """
    found = np.asarray(ranks, np.int64)
    return float(100 * np.mean((found >= 0) & (found < k))) if found.size else float("nan")


def distance_mi(a_deg: ArrayLike, b_deg: ArrayLike) -> Floats:
    """Great-circle miles between positions [..., 2], on the sphere of GAMa's evaluation."""
    return distance_km(a_deg, b_deg) * (EARTH_RADIUS_MI / EARTH_RADIUS_KM)


def first_hits(
    ranked_NK: NDArray[np.int64],
    true_NM: NDArray[np.int64],
    places_deg: Floats | None = None,
    truth_deg: Floats | None = None,
    within_mi: float = TOLERANCE_MI,
) -> NDArray[np.int64]:
    """Where in its ranking each query's truth comes first, from 0: [N]; -1 where it does not.

    ranked_NK: numbers of places, best first, negative where a ranking has ended. true_NM: which of them are right,
    negative where there are no more. places_deg [I, 2] and truth_deg [N, 2]: what lies within `within_mi` is right as
    well (GAMa's rule for centred tiles); NaN is near to nothing. A place that comes twice fills two ranks.
    """
    found = np.empty(len(ranked_NK), np.int64)
    rows = max(1, _PAIRS * len(ranked_NK) // max(1, ranked_NK.size))
    chord2 = (2 * np.sin(min(within_mi / EARTH_RADIUS_MI, np.pi) / 2)) ** 2
    vectors = None if places_deg is None else unit_vectors(places_deg)
    for begin in range(0, len(ranked_NK), rows):
        part = slice(begin, begin + rows)
        ranked = ranked_NK[part]
        hit = np.zeros(ranked.shape, bool)
        for true in true_NM[part].T:
            hit |= (ranked == true[:, None]) & (ranked >= 0)
        if vectors is not None and truth_deg is not None:
            gap = vectors[ranked] - unit_vectors(truth_deg[part])[:, None, :]
            hit |= (np.einsum("nkx,nkx->nk", gap, gap) <= chord2) & (ranked >= 0)
        found[part] = np.where(hit.any(1), hit.argmax(1), -1) if hit.size else -1
    return found


def range_difference_deg(prediction_deg: ArrayLike, truth_deg: ArrayLike) -> float:
    """Difference of the ranges that two tracks cover (VidTAG, appendix E.3), mean of latitude and longitude."""
    return float(np.abs(_ranges_deg(prediction_deg) - _ranges_deg(truth_deg)).mean())


def range_difference_km(prediction_deg: ArrayLike, truth_deg: ArrayLike) -> float:
    """The same in km: degrees of longitude count as long as they are at the truth's centroid."""
    shrink = np.cos(np.radians(centroid(truth_deg)[0]))
    scale = KM_PER_DEG * np.array([1.0, shrink])
    return float((scale * np.abs(_ranges_deg(prediction_deg) - _ranges_deg(truth_deg))).mean())


def _ranges_deg(latlon_deg: ArrayLike) -> Floats:
    lat, lon = np.moveaxis(np.asarray(latlon_deg, np.float64), -1, 0)
    ranges: Floats = np.array([np.ptp(lat), np.ptp(np.unwrap(lon, period=360))])
    return ranges


def discrete_frechet(pairs: Sequence[Pair], unit: Literal["deg", "km"] = "deg") -> Floats:
    """Discrete Fréchet distance of each pair of tracks: P pairs -> [P].

    deg: Euclidean on (lat, lon), as VidTAG (appendix E.2). km: great-circle. Pairs are done in batches by
    antidiagonals of the coupling table, batches in threads. Tracks of a batch are brought to one length by repeating
    their last position, which changes no Fréchet distance: the other track may wait there.

    A compiled loop (numba) is 1.5 times as fast on a thread, and twice for one long pair; but it takes 0.8 s to import
    and compile, in which two threads of numpy do fifty thousand pairs of 100 positions, one seven pairs of 5,000.
    """
    sizes = np.array([[len(a), len(b)] for a, b in pairs], int).reshape(-1, 2)
    if (sizes == 0).any():
        raise ValueError("a track without positions has no Fréchet distance")
    found = np.empty(len(pairs))
    order = np.lexsort((sizes[:, 1], sizes[:, 0]))[::-1]  # alike beside alike, so that little is repeated
    batches = []
    while len(order):
        width = max(1, _BATCH // int(sizes[order[0], 0]))
        batches.append(order[:width])
        order = order[width:]

    def work(batch: NDArray[np.intp]) -> None:
        axes_a = _coordinates([pairs[i][0] for i in batch], unit)
        axes_b = _coordinates([pairs[i][1] for i in batch], unit)
        squared = _coupled(axes_a, axes_b, wraps=unit == "deg")
        found[batch] = np.sqrt(squared) if unit == "deg" else _chord_to_km(squared)

    in_threads(work, batches)
    return found


def _coordinates(tracks: Sequence[Floats], unit: str) -> list[Floats]:
    """The coordinates of a batch, each [T, P]: degrees in [-180, 180), or those of unit vectors."""
    sizes = np.array([len(track) for track in tracks])
    first = np.cumsum(sizes) - sizes
    frame_TP = np.minimum(np.arange(sizes.max())[:, None], sizes - 1) + first
    together = np.concatenate(tracks).astype(np.float64, copy=False)
    axes = unit_vectors(together) if unit == "km" else np.stack([together[:, 0], wrap_lon(together[:, 1])], axis=1)
    return [np.ascontiguousarray(axis)[frame_TP] for axis in axes.T]


def _chord_to_km(squared: Floats) -> Floats:
    """Great-circle km of squared chords between unit vectors; the one grows with the other."""
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.clip(np.sqrt(squared) / 2, 0, 1))


def _coupled(axes_a: list[Floats], axes_b: list[Floats], wraps: bool) -> Floats:
    """Squared discrete Fréchet distances [P] of tracks given as coordinates [T, P] and [U, P].

    c[i, j] = max(d[i, j], min(c[i-1, j], c[i, j-1], c[i-1, j-1])), computed for all i + j = k at once. `before` and
    `last` hold diagonals k-2 and k-1 by row i, shifted by one so that row -1 exists and is infinite.
    """
    n, m, width = len(axes_a[0]), len(axes_b[0]), axes_a[0].shape[1]
    # Column j lies at m - 1 - j: a diagonal is a slice, and one piece of memory.
    backwards = [np.ascontiguousarray(axis[::-1]) for axis in axes_b]
    turns = wraps and _may_wrap(axes_a[1], axes_b[1])
    before, last, now = (np.full((n + 1, width), np.inf) for _ in range(3))
    before[0] = -np.inf  # lets c[0, 0] = d[0, 0]
    room = np.empty((3, n, width))  # of a diagonal: new arrays for each would cost as much as filling them
    for k in range(n + m - 1):
        low, high = max(0, k - m + 1), min(n, k + 1)
        rows, columns = slice(low, high), slice(m - 1 - k + low, m - 1 - k + high)
        own = now[low + 1 : high + 1]
        np.minimum(last[low:high], last[low + 1 : high + 1], out=own)
        np.minimum(own, before[low:high], out=own)
        squared = _squared(axes_a, backwards, rows, columns, turns, room[:, rows])
        np.maximum(own, squared, out=own)
        now[low] = np.inf
        before, last, now = last, now, before
        if k == 0:
            now[0] = np.inf
        if high < n:
            last[high + 1] = np.inf
    result: Floats = last[n]
    return result


def _squared(a: list[Floats], b: list[Floats], rows: slice, columns: slice, turns: bool, room: Floats) -> Floats:
    """Squared distances of a diagonal, in the first of three parts of `room`."""
    total, gap, other_way = room
    for axis, (own, other) in enumerate(zip(a, b, strict=True)):
        into = gap if axis else total
        np.subtract(own[rows], other[columns], out=into)
        if turns and axis == 1:
            np.abs(into, out=into)
            np.subtract(360, into, out=other_way)
            np.minimum(into, other_way, out=into)
        np.multiply(into, into, out=into)
        if axis:
            np.add(total, into, out=total)
    return total


def _may_wrap(lon_a: Floats, lon_b: Floats) -> bool:
    """True unless all longitudes of a batch differ by less than half a turn."""
    return bool(max(lon_a.max() - lon_b.min(), lon_b.max() - lon_a.min()) > 180)
