"""Discrete Fréchet distance of 10,000 pairs of 100 positions and of one of 5,000: vgeo, shapely, loops in Python.

    python tests/benchmarks/bench_frechet.py [--json FILE]

shapely's is planar. The loops are timed on a few pairs, and shapely's long pair is a shorter one, and scaled up.
"""

import argparse
from pathlib import Path

import numpy as np
import shapely
from rows import Row, write_rows
from timing import interleaved

from vgeo.metrics import discrete_frechet

PAIRS, FRAMES, LOOPED, ROUNDS = 10_000, 100, 20, 3
LONG, SHORT = 5_000, 500
Pair = tuple[np.ndarray, np.ndarray]


def walks(count: int, frames: int) -> list[Pair]:
    random = np.random.default_rng(0)
    steps = random.normal(0, 1e-3, (count, 2, frames, 2))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    pairs, long = walks(PAIRS, FRAMES), walks(1, LONG)
    same = [(a[:SHORT], b[:SHORT]) for a, b in long]
    np.testing.assert_allclose(discrete_frechet(pairs), by_shapely(pairs), rtol=1e-9)
    np.testing.assert_allclose(discrete_frechet(same), by_shapely(same), rtol=1e-9)
    np.testing.assert_allclose(discrete_frechet(pairs[:LOOPED]), by_loops(pairs[:LOOPED]), rtol=1e-9)
    ways = {
        "vgeo, degrees": lambda: discrete_frechet(pairs),
        "vgeo, km": lambda: discrete_frechet(pairs, "km"),
        "shapely": lambda: by_shapely(pairs),
        "loops": lambda: by_loops(pairs[:LOOPED]),
        "vgeo, long": lambda: discrete_frechet(long),
        "vgeo, long, km": lambda: discrete_frechet(long, "km"),
        "shapely, long": lambda: by_shapely(same),
    }
    found = interleaved(ways, ROUNDS)
    found["loops"] *= PAIRS / LOOPED
    found["shapely, long"] *= (LONG / SHORT) ** 2
    for name, value in found.items():
        print(f"{name:16} {value:8.3f} s")
    many, one = f"discrete Fréchet distance, {PAIRS:,} pairs of {FRAMES} x {FRAMES}", f"one pair of {LONG:,} x {LONG:,}"
    scaled = (
        f"shapely's time is {(LONG / SHORT) ** 2:.0f} times that of {SHORT} x {SHORT}; the whole takes it many minutes"
    )
    plans = [
        (f"{many}, degrees", "shapely, planar", "shapely", "vgeo, degrees", ">= 50", ""),
        (f"{many}, km", "shapely, planar", "shapely", "vgeo, km", ">= 50", "great circles, against the plane"),
        (f"{many}, degrees", f"loops in Python, {LOOPED} pairs scaled up", "loops", "vgeo, degrees", "", ""),
        (f"{one}, degrees", "shapely, planar", "shapely, long", "vgeo, long", ">= 50", scaled),
        (f"{one}, km", "shapely, planar", "shapely, long", "vgeo, long, km", ">= 50", ""),
    ]
    rows = [
        Row(step, against, found[theirs] / found[ours], goal, "×", f"{found[ours]:.3g} s, {found[theirs]:.3g} s", note)
        for step, against, theirs, ours, goal, note in plans
    ]
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
