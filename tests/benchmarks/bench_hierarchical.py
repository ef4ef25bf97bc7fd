"""Hierarchical search of a whole test set, without the networks, against the published way of narrowing rankings.

`python tests/benchmarks/bench_hierarchical.py [--videos 3000] [--clips 37] [--keys 116000] [--keep 1%] [--json FILE]`

Made-up embeddings of GAMa's numbers: each video's clips and tiles lie around a direction of the video, with noise, so
that a clip's own tile is first in some 15 % of cases. Four steps: the first 32 clips of each video, which is what the
screening network sees, search all keys for their best tile; each video's tiles (their mean, in place of that network's
output) search all regions; the tiles of the best 1 % are collected; all clips search these for the best ten.

The published way, measured on a sample of clips and multiplied: the distances to all keys, sorted; a loop in Python
over the sorted ids that keeps those whose video is among the best. Its answers must be the same. Both in seconds of a
clock and of the processor, which are those of a clock and one thread on a machine with nothing else to do.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from rows import Row, write_rows
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.search.exact import top_k
from vgeo.search.hierarchical import top_k_within
from vgeo.search.members import Members
from vgeo.stages.regions import how_many

E = 512
TOP = 10
SEEN = 32  # clips of a video
T = TypeVar("T")


class Set(NamedTuple):
    """Embeddings of N clips, G tiles and R regions, one for each video."""

    queries: Tensor  # [N, E]
    keys: Tensor  # [G, E]
    regions: Tensor  # [R, E]
    video: np.ndarray  # [N]
    members: Members


def made_up(videos: int, clips: int, keys: int) -> Set:
    generator = torch.Generator().manual_seed(0)

    def noise(n: int) -> Tensor:
        return torch.randn(n, E, generator=generator)

    tile_video = torch.arange(keys) * videos // keys
    first = np.searchsorted(tile_video.numpy(), np.arange(videos + 1))
    centre = noise(videos)
    tiles = centre[tile_video] + 0.7 * noise(keys)
    own = np.concatenate([np.linspace(a, b - 1, clips).round() for a, b in pairwise(first)])
    seen = tiles[torch.from_numpy(own.astype(np.int64))] + 4.5 * noise(videos * clips)
    members = Members(first=first.astype(np.int64), row=np.arange(keys))
    video = np.repeat(np.arange(videos), clips)
    return Set(F.normalize(seen), F.normalize(tiles), F.normalize(centre + 2 * noise(videos)), video, members)


def now() -> np.ndarray:
    """Seconds of the clock and of the processor, all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(times: dict[str, np.ndarray], name: str, work: Callable[[], T]) -> T:
    start = now()
    found = work()
    times[name] = now() - start
    print(f"  {name}: {times[name][0]:.1f} s, {times[name][1]:.1f} s of the processor", flush=True)
    return found


def ours(data: Set, keep: int, times: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Best tile of each clip in all, and the best ten in its video's regions."""
    videos = len(data.regions)
    first = data.queries.view(videos, -1, E)[:, :SEEN].flatten(0, 1)
    best = timed(times, "1 clips search all tiles", lambda: top_k(first, data.keys, 1).index_NK[:, 0])

    def regions() -> np.ndarray:
        means = F.normalize(data.keys[best].view(videos, -1, E).mean(1))
        return top_k(means, data.regions, keep).index_NK.numpy()

    kept = timed(times, "2 videos search regions", regions)
    within = timed(
        times,
        "3 and 4 clips search the tiles of these",
        lambda: top_k_within(data.queries, data.keys, data.video, kept, data.members, TOP).index_NK,
    )
    return torch.from_numpy(kept), within


def published(data: Set, kept: Tensor, sample: np.ndarray) -> tuple[list[list[int]], np.ndarray]:
    """The loop; returns rows of the ten best for the clips of the sample, and seconds a clip."""
    tile_video = np.repeat(np.arange(len(data.members)), np.diff(data.members.first))
    names = [f"video{v:05d}_{row}" for row, v in enumerate(tile_video.tolist())]
    found = []
    start = now()
    for clip in sample.tolist():
        distance = (2 - 2 * (data.keys @ data.queries[clip])).numpy()
        ranked = [names[row] for row in np.argsort(distance, kind="stable")]
        regions = [f"video{v:05d}" for v in kept[data.video[clip]].tolist()]
        left = []
        for name in ranked:
            if name.split("_")[0] in regions:
                left.append(name)
        found.append([int(name.split("_")[1]) for name in left[:TOP]])
    return found, (now() - start) / len(sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("videos", 3000), ("clips", 37), ("keys", 116_000), ("sample", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--keep", default="1%")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    data = made_up(given.videos, given.clips, given.keys)
    keep = how_many(given.keep, given.videos)
    n = len(data.queries)
    print(f"{n} clips of {given.videos} videos, {given.keys} tiles, {keep} regions; {torch.get_num_threads()} threads")
    times: dict[str, np.ndarray] = {}
    kept, within = ours(data, keep, times)
    total = sum(times.values(), np.zeros(2))
    sample = np.random.default_rng(0).choice(n, min(n, given.sample), replace=False)
    looped, each = published(data, kept, sample)
    same = sum(row == within[clip].tolist() for row, clip in zip(looped, sample.tolist(), strict=True))
    print(f"  all: {total[0]:.1f} s, {total[1]:.1f} s of the processor")
    print(f"published way, {len(sample)} clips: {each[0] * 1e3:.1f} ms, {each[1] * 1e3:.1f} ms of the processor each; "
          f"for all {each[0] * n:.0f} s and {each[1] * n:.0f} s: {each[0] * n / total[0]:.0f} and "
          f"{each[1] * n / total[1]:.0f} times as long; {same} rankings of ten the same")  # fmt: skip
    figures = f"{total[0]:.1f} s, {each[0] * n:,.0f} s ({len(sample)} clips, scaled up)"
    note = f"{same} of {len(sample)} rankings of ten the same; by the processor {each[1] * n / total[1]:.0f} ×"
    step = f"hierarchical search of {n:,} clips in {given.keys:,} tiles, without the networks"
    write_rows(given.json, [Row(step, "the published loop", each[0] * n / total[0], figures=figures, note=note)])


if __name__ == "__main__":
    main()
