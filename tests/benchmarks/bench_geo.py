"""How fast the geography is, each figure against a plain alternative in the same run.

    python tests/benchmarks/bench_geo.py

Medians of interleaved rounds; trust the ratios, not the times.
"""

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import s2sphere

from vgeo.geo import places
from vgeo.geo.cells import cell_ids
from vgeo.geo.grid import Box, grid, grid_shape
from vgeo.geo.sphere import EARTH_RADIUS_KM, distance_km

ROUNDS = 5


def medians(*runs: Callable[[], object]) -> list[float]:
    """Median seconds of each run, one after the other in every round."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for run, times in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


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


def bench_distance() -> None:
    """Pairs of positions."""
    a, b = world(200_000), world(200_000)[::-1]
    few = 20_000
    pairs = [tuple(p) for p in a[:few].tolist()], [tuple(p) for p in b[:few].tolist()]
    ours, loop = medians(lambda: distance_km(a, b), lambda: loop_distance_km(*pairs))
    mine, plain = ours / len(a) * 1e9, loop / few * 1e9
    print(f"haversine        {mine:8.0f} ns/pair    loop over math {plain:8.0f} ns/pair   {plain / mine:6.1f} x")


def list_grid(box: Box, spacing_km: float) -> list[tuple[float, float]]:
    """The same grid as a list of tuples."""
    rows, columns = grid_shape(box, spacing_km)
    lats = [box.south_deg + i * (box.north_deg - box.south_deg) / (rows - 1) for i in range(rows)]
    lons = [box.west_deg + i * box.width_deg / (columns - 1) for i in range(columns)]
    return [(lat, lon) for lat in lats for lon in lons]


def bench_grid() -> None:
    """A grid of 10 million points."""
    box = Box(south_deg=48, north_deg=49, west_deg=2, width_deg=1.5)
    spacing_km = 0.0352
    count = math.prod(grid_shape(box, spacing_km))
    ours, plain = medians(lambda: grid(box, spacing_km), lambda: list_grid(box, spacing_km))
    mine, theirs = ours * 1e3, plain * 1e3
    print(f"grid, {count:,} {mine:6.1f} ms        list of tuples {theirs:8.0f} ms        {theirs / mine:6.1f} x")


def bench_cells() -> None:
    """S2 cells of level 13."""
    points, few = world(200_000), 2_000

    def s2() -> list[int]:
        cells = (s2sphere.CellId.from_lat_lng(s2sphere.LatLng.from_degrees(*p)) for p in points[:few].tolist())
        return [cell.parent(13).id() for cell in cells]

    ours, plain = medians(lambda: cell_ids(points, 13), s2)
    mine, theirs = ours / len(points) * 1e9, plain / few * 1e9
    print(f"S2 cell          {mine:8.0f} ns/point   s2sphere       {theirs:8.0f} ns/point  {theirs / mine:6.1f} x")


def bench_places() -> None:
    """Names of 1,000 positions: the table loaded at first use, then the search alone."""
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

    ours, plain = medians(lambda: places.nearest_places(points), loop)
    mine, theirs = ours / len(points) * 1e6, plain / few * 1e6
    print(f"nearest place    {mine:8.0f} µs/point   loop over math {theirs:8.0f} µs/point  {theirs / mine:6.1f} x")
    print(f"first use        {cold * 1e3:8.0f} ms (reads {len(cities):,} cities)")


if __name__ == "__main__":
    bench_distance()
    bench_grid()
    bench_cells()
    bench_places()
