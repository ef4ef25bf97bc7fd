"""How fast the geography is, each figure against a plain alternative in the same run.

    python tests/benchmarks/bench_geo.py [--json FILE]

Medians of interleaved rounds; trust the ratios, not the times.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import s2sphere
from rows import Row, write_rows
from timing import interleaved

from vgeo.geo import places
from vgeo.geo.cells import cell_ids
from vgeo.geo.grid import Box, grid, grid_shape
from vgeo.geo.sphere import EARTH_RADIUS_KM, distance_km

ROUNDS = 5


def compared(
    step: str, against: str, ours: Callable[[], object], theirs: Callable[[], object], each: tuple[int, int],
    goal: str = "", note: str = "",
) -> Row:  # fmt: skip
    """A row of both, timed in turns; `each` says how many items either does."""
    found = interleaved({"ours": ours, "theirs": theirs}, ROUNDS)
    mine, plain = found["ours"] / each[0] * 1e9, found["theirs"] / each[1] * 1e9
    print(f"{step:28} {mine:10.1f} ns    {against:20} {plain:12.0f} ns   {plain / mine:7.1f} x")
    return Row(step, against, plain / mine, goal, "×", f"{mine:,.3g} ns, {plain:,.0f} ns each", note)


def world(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([np.degrees(np.arcsin(rng.uniform(-1, 1, count))), rng.uniform(-180, 180, count)], axis=1)


def loop_distance_km(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> list[float]:
    """Haversines by a loop over `math`."""
    found = []
    for (lat1, lon1), (lat2, lon2) in zip(a, b, strict=True):
        p, q = math.radians(lat1), math.radians(lat2)
        h = math.sin((q - p) / 2) ** 2 + math.cos(p) * math.cos(q) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
        found.append(2 * EARTH_RADIUS_KM * math.asin(math.sqrt(h)))
    return found


def bench_distance() -> Row:
    """Pairs of positions."""
    a, b = world(200_000), world(200_000)[::-1]
    few = 20_000
    pairs = [tuple(p) for p in a[:few].tolist()], [tuple(p) for p in b[:few].tolist()]
    return compared("haversine of a pair", "loop over math", lambda: distance_km(a, b),
                    lambda: loop_distance_km(*pairs), (len(a), few))  # fmt: skip


def list_grid(box: Box, spacing_km: float) -> list[tuple[float, float]]:
    """The same grid as a list of tuples."""
    rows, columns = grid_shape(box, spacing_km)
    lats = [box.south_deg + i * (box.north_deg - box.south_deg) / (rows - 1) for i in range(rows)]
    lons = [box.west_deg + i * box.width_deg / (columns - 1) for i in range(columns)]
    return [(lat, lon) for lat in lats for lon in lons]


def bench_grid() -> Row:
    """A grid of 10 million points."""
    box = Box(south_deg=48, north_deg=49, west_deg=2, width_deg=1.5)
    spacing_km = 0.0352
    count = math.prod(grid_shape(box, spacing_km))
    return compared(f"grid, a point of {count:,}", "list of tuples", lambda: grid(box, spacing_km),
                    lambda: list_grid(box, spacing_km), (count, count))  # fmt: skip


def bench_cells() -> Row:
    """S2 cells of level 13 of a million points; s2sphere's are timed on a sample, and all of that compared."""
    points, few = world(1_000_000), 20_000

    def s2() -> list[int]:
        cells = (s2sphere.CellId.from_lat_lng(s2sphere.LatLng.from_degrees(*p)) for p in points[:few].tolist())
        return [cell.parent(13).id() for cell in cells]

    same = sum(a == b for a, b in zip(cell_ids(points[:few], 13).tolist(), s2(), strict=True))
    return compared("S2 id of a point, 1,000,000", "s2sphere", lambda: cell_ids(points, 13), s2, (len(points), few),
                    ">= 35", f"{same:,} of {few:,} ids identical")  # fmt: skip


def bench_places() -> Row:
    """Names of 1,000 positions, with the table loaded."""
    points, few = world(1_000), 10
    start = time.perf_counter()
    places.nearest_places(points[:1])
    cold = time.perf_counter() - start
    cities = places.load_cities(15000)
    table = [tuple(p) for p in cities.latlon_deg.tolist()]

    def loop() -> list[int]:
        found = []
        for point in points[:few].tolist():
            away = loop_distance_km([tuple(point)] * len(table), table)
            found.append(away.index(min(away)))
        return found

    note = f"the first use takes {cold * 1e3:.0f} ms: it reads the cities"
    return compared(f"nearest of {len(table):,} cities", "loop over math", lambda: places.nearest_places(points), loop,
                    (len(points), few), "", note)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    write_rows(given.json, [bench() for bench in (bench_cells, bench_distance, bench_grid, bench_places)])


if __name__ == "__main__":
    main()
