"""Exact search and gallery embedding against the plain ways, in one run: `python tests/benchmarks/bench_search.py`.

Prints ratios of the best of interleaved runs; on a busy machine only the ratios mean something.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.layers.location_encoder import LocationEncoder
from vgeo.search.exact import probability_mass, top_k

K = 5


def best_of(runs: int, ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Least seconds of each way, taking turns."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(runs):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            least[name] = min(least[name], time.perf_counter() - start)
    return least


def search(keys: int, queries: int, runs: int) -> None:
    """Queries a second of exact.top_k, of one big product with torch.topk, and of the product alone."""
    generator = torch.Generator().manual_seed(0)
    keys_GE = F.normalize(torch.randn(keys, 512, generator=generator), dim=1)
    queries_NE = F.normalize(torch.randn(queries, 512, generator=generator), dim=1)
    latlon = np.random.default_rng(0).uniform(-80, 80, (keys, 2))
    found = top_k(queries_NE, keys_GE, K, scale=40.0)
    plain = (queries_NE @ keys_GE.T).topk(K)
    assert torch.equal(found.index_NK, plain.indices)
    log_total = found.log_total_N
    assert log_total is not None

    def spread() -> object:
        return probability_mass(queries_NE, keys_GE, latlon, found.index_NK[:, 0], log_total, scale=40.0)

    times = best_of(
        runs,
        {
            "product alone": lambda: queries_NE @ keys_GE.T,
            "product + torch.topk": lambda: (queries_NE @ keys_GE.T).topk(K),
            "exact.top_k": lambda: top_k(queries_NE, keys_GE, K),
            "exact.top_k with log-sum-exp": lambda: top_k(queries_NE, keys_GE, K, scale=40.0),
            "probability_mass": spread,
        },
    )
    print(f"{queries} queries against {keys} keys of 512, {torch.get_num_threads()} threads; indices identical")
    for name, seconds in times.items():
        ratio = times["product + torch.topk"] / seconds
        print(f"  {name:30s} {queries / seconds:8.0f} queries/s   {ratio:5.2f} x product + torch.topk")


def embedding(points: int, runs: int) -> None:
    """Points a second of the location encoder in float32 and with its MLPs in bf16, and whether answers change."""
    encoder = LocationEncoder().eval()
    latlon = torch.from_numpy(grid(points))

    def embed(bf16: bool) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return torch.cat([F.normalize(encoder(part), dim=1) for part in latlon.split(4096)])

    times = best_of(runs, {"float32": lambda: embed(False), "bf16 MLPs": lambda: embed(True)})
    exact, rounded = embed(False), embed(True)
    some = torch.randperm(points, generator=torch.Generator().manual_seed(1))[:500]
    # Queries as a trained image encoder gives them: near the key of their place, half a step of the grid away.
    moved = latlon[some] + 0.5 * (latlon[1] - latlon[0])
    with torch.inference_mode():
        queries = F.normalize(encoder(moved), dim=1)
    same = (top_k(queries, exact, 1).index_NK == top_k(queries, rounded, 1).index_NK).double().mean()
    print(f"location encoder, {points} points of a 100 m grid")
    for name, seconds in times.items():
        print(f"  {name:30s} {points / seconds:8.0f} points/s    {times['float32'] / seconds:5.2f} x float32")
    cosine = float((exact * rounded).sum(1).mean())
    print(f"  cosine of both {cosine:.6f}; same answer for {float(same):.3f} of 500 queries")


def grid(points: int) -> np.ndarray:
    """A square grid of about 100 m steps: [points, 2]."""
    side = int(points**0.5) + 1
    lat, lon = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    return np.stack([48 + lat * 9e-4, 11 + lon * 1.35e-3], -1).reshape(-1, 2)[:points]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=300_000)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    search(given.keys, given.queries, given.runs)
    embedding(given.points, given.runs)
