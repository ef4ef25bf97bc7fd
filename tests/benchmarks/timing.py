"""Medians of interleaved runs."""

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int, warm_up: bool = True) -> dict[str, float]:
    """Median seconds of each way; rounds alternate, so that a busy machine slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-int(warm_up), rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn >= 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
