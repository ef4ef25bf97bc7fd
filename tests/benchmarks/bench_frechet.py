"""Discrete Fréchet distance of 10,000 pairs of 100 positions: vgeo, shapely (planar) and loops in Python.

Run as a script. The loops are timed on a few pairs and scaled up.
"""

import time
from collections.abc import Callable

import numpy as np
import shapely

from vgeo.metrics import discrete_frechet

PAIRS, FRAMES, LOOPED, ROUNDS = 10_000, 100, 20, 3
Pair = tuple[np.ndarray, np.ndarray]


def walks(count: int) -> list[Pair]:
    random = np.random.default_rng(0)
    steps = random.normal(0, 1e-3, (count, 2, FRAMES, 2))
    return [(a, b) for a, b in np.array([40.0, -74.0]) + np.cumsum(steps, axis=2)]


def by_loops(pairs: list[Pair]) -> np.ndarray:
    found = []
    for a, b in pairs:
        table: list[list[float]] = []
        for i, p in enumerate(a.tolist()):
            row: list[float] = []
            for j, q in enumerate(b.tolist()):
                here = ((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2) ** 0.5
                ways = [table[i - 1][j]] if i else []
                ways += [row[j - 1]] if j else []
                ways += [table[i - 1][j - 1]] if i and j else []
                row.append(max(here, min(ways)) if ways else here)
            table.append(row)
        found.append(table[-1][-1])
    return np.array(found)


def by_shapely(pairs: list[Pair]) -> np.ndarray:
    return np.array(
        shapely.frechet_distance(*(shapely.linestrings(np.array(side)) for side in zip(*pairs, strict=True)))
    )


def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def main() -> None:
    pairs = walks(PAIRS)
    times: dict[str, list[float]] = {"vgeo, degrees": [], "vgeo, km": [], "shapely": [], "loops": []}
    for _ in range(ROUNDS):  # interleaved, so that a busy machine is busy for all
        took, ours = seconds(lambda: discrete_frechet(pairs))
        times["vgeo, degrees"].append(took)
        times["vgeo, km"].append(seconds(lambda: discrete_frechet(pairs, "km"))[0])
        took, theirs = seconds(lambda: by_shapely(pairs))
        times["shapely"].append(took)
        took, looped = seconds(lambda: by_loops(pairs[:LOOPED]))
        times["loops"].append(took * PAIRS / LOOPED)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
        np.testing.assert_allclose(ours[:LOOPED], looped, rtol=1e-9)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    print(f"{PAIRS} pairs of {FRAMES} x {FRAMES} positions, median of {ROUNDS} interleaved rounds")
    for name, value in medians.items():
        print(f"{name:14} {value:8.2f} s   {value / medians['vgeo, degrees']:7.1f} x vgeo's degrees")


if __name__ == "__main__":
    main()
