"""Refined search of a coarse gallery against exact search of the full fine one: what it loses and what it saves.

`python tests/benchmarks/bench_refined_search.py [cambridge] [cities] [--models levels plain] [--beams 4 16]`

Two cases, each trained with keys at several levels and with ordinary keys alone (the same sigmas and steps; phase I of
VidTAG without TempGeo): street views of the centre of Cambridge, of which a clip is the four headings of a place; and
four made-up cities of 3 x 3 km on four continents, one across the antimeridian, whose features are smooth functions of
the position with noise, and a clip is a walk of 16 frames. The fine gallery is a grid of 10 m.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.formats.gallery import Gallery
from vgeo.geo.grid import Box, bounding_box, grid
from vgeo.geo.sphere import KM_PER_DEG, distance_km, wrap_lon
from vgeo.methods._gallery import embed_rows
from vgeo.methods.base import Clips
from vgeo.methods.vidtag import VidTag, VidTagConfig
from vgeo.search.exact import top_k
from vgeo.search.refine import RefinedSearch, plan, typical_spacing_km

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "cambridge-features"
CPU = torch.device("cpu")
FINE_KM = 0.01
ALONE = 128  # frames that are also searched for one by one
Floats = NDArray[np.float64]


class Frames(NamedTuple):
    """Features [N, D] and positions [N, 2]."""

    features: Tensor
    latlon_deg: Floats


class Case(NamedTuple):
    """What is learned, what is asked (clips of so many frames), and the regions that galleries cover."""

    name: str
    train: Frames
    test: Frames
    clip: int
    boxes: list[Box]
    coarse_km: tuple[float, ...]


def cambridge() -> Case:
    """Real street views; every fifth place is asked for."""
    parts = []
    for name in ("train", "val"):
        arrays = dict(np.load(DATA / f"{name}.npz", allow_pickle=False))
        order = np.argsort(arrays["place"], kind="stable")
        latlon = np.stack([arrays["lat_deg"], arrays["lon_deg"]], axis=1).astype(np.float64)
        parts.append(Frames(torch.from_numpy(arrays["features"].astype(np.float32))[order], latlon[order]))
    box = bounding_box(np.concatenate([part.latlon_deg for part in parts])).padded(0.02)
    return Case("Cambridge", *parts, 4, [box], (1.0, 0.2, 0.1))


class City:
    """A square, and what is seen in it: waves of three lengths over the plane, and a style of its own."""

    def __init__(self, number: int, south_deg: float, west_deg: float, side_km: float) -> None:
        rng = np.random.default_rng([1, number])
        self.side_km, self.shrink = side_km, np.cos(np.radians(south_deg))
        height = side_km / KM_PER_DEG
        self.box = Box(
            south_deg=south_deg, north_deg=south_deg + height, west_deg=west_deg, width_deg=height / self.shrink
        )
        self.rates = np.concatenate([rng.normal(size=(2, 64)) / km for km in (0.15, 0.6, 2.5)], axis=1)
        self.style = rng.normal(size=64) * 0.5

    def frames(self, plane_km: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Features and positions of points [N, 2] north and east of the corner."""
        phase = plane_km @ self.rates
        seen = np.concatenate([np.cos(phase), np.sin(phase), np.tile(self.style, (len(phase), 1))], axis=1)
        lat = self.box.south_deg + plane_km[:, 0] / KM_PER_DEG
        lon = wrap_lon(self.box.west_deg + plane_km[:, 1] / KM_PER_DEG / self.shrink)
        return seen + rng.normal(size=seen.shape) * 0.1, np.stack([lat, lon], axis=1)


def cities(side_km: float = 3.0, per_city: int = 12_000, walks: int = 8, length: int = 16) -> Case:
    """Four cities; frames to learn from are scattered over them, those asked for are walks of 15 m a step."""
    rng = np.random.default_rng(0)
    corners = ((-33.9, 151.2), (69.65, 18.95), (-17.5, 179.99), (40.7, -74.0))
    made = [City(number, lat, lon, side_km) for number, (lat, lon) in enumerate(corners)]
    angle = rng.uniform(0, 2 * np.pi, (len(made), walks, 1))
    ahead = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * 0.015
    starts = rng.uniform(0.1 * side_km, 0.9 * side_km, (len(made), walks, 1, 2))
    walked = starts + ahead * np.arange(length)[:, None]
    scattered = rng.uniform(0, side_km, (len(made), per_city, 2))
    parts = []
    for points in (scattered, walked.reshape(len(made), -1, 2)):
        seen, latlon = zip(*(city.frames(p, rng) for city, p in zip(made, points, strict=True)), strict=True)
        parts.append(Frames(torch.from_numpy(np.concatenate(seen).astype(np.float32)), np.concatenate(latlon)))
    return Case("cities", *parts, length, [city.box for city in made], (1.0, 0.2))


def trained(case: Case, sigmas: Sequence[float], radii_km: Sequence[float], levels: bool, steps: int) -> VidTag:
    """A frame encoder and a location encoder, phase I without TempGeo."""
    torch.manual_seed(0)
    config = VidTagConfig(
        init="scratch", encoders=("seen",), feature_dims=(case.train.features.shape[1],), temp_geo=False,
        geo_refiner=False, mlp_widths=(1024,), embed_dim=256, sigmas=tuple(sigmas), fourier=128, location_width=256,
        location_depth=1, level_radii_km=tuple(radii_km) if levels else (),
        target_radius_km=0.0 if levels else radii_km[-1],
    )  # fmt: skip
    method = VidTag(config).train()
    optimizer = torch.optim.AdamW(method.trainable("align"), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.05)
    generator = torch.Generator().manual_seed(0)
    latlon = torch.from_numpy(case.train.latlon_deg)
    for _ in range(steps):
        rows = torch.randint(len(latlon), (512,), generator=generator)
        clips = Clips(
            features={"seen": case.train.features[rows][:, None]},
            mask_BT=torch.ones(len(rows), 1, dtype=torch.bool),
            latlon_deg=latlon[rows][:, None],
        )
        optimizer.zero_grad()
        method.loss(clips, "align", generator)["total"].backward()
        optimizer.step()
        schedule.step()
    return method.eval()


class Way(NamedTuple):
    """One search: seconds to prepare and to answer, places embedded for either, and the answers [N, 2]."""

    prepare_s: float
    answer_s: float
    prepared: int
    embedded: int
    answers: Floats


def embed(method: VidTag, latlon: Floats, level: int | None = None) -> Tensor:
    """Keys of positions."""
    with torch.inference_mode():
        return torch.cat(list(embed_rows(method, Gallery(latlon_deg=latlon), CPU, 4096, level)))


def full(method: VidTag, boxes: list[Box], queries: Tensor) -> Way:
    """Exact search of the whole fine gallery."""
    start = time.perf_counter()
    fine = np.concatenate([grid(box, FINE_KM) for box in boxes])
    keys = embed(method, fine)
    middle = time.perf_counter()
    found = fine[top_k(queries, keys, 1).index_NK[:, 0].numpy()]
    return Way(middle - start, time.perf_counter() - middle, len(fine), 0, found)


def refined(method: VidTag, boxes: list[Box], coarse_km: float, queries: Tensor, beam: int, clip: int) -> Way:
    """Refined search of a coarse gallery, a clip of so many frames at a time; without levels by the ordinary keys."""
    start = time.perf_counter()
    coarse = np.concatenate([grid(box, coarse_km) for box in boxes])
    levels = len(method.level_radii_km)
    spacing = typical_spacing_km(coarse, coarse_km)
    assert spacing is not None
    steps = plan(spacing, FINE_KM, method.level_radii_km or (FINE_KM,))
    counted = []

    def count(latlon: Floats, level: int) -> Tensor:
        counted.append(len(latlon))
        return embed(method, latlon, level if levels else None)

    keys = embed(method, coarse, steps.level if levels else None)
    scales = [method.level_scale(level) for level in range(levels)] or [method.scale]
    search = RefinedSearch(keys, coarse, count, scales, steps, beam)
    middle = time.perf_counter()
    found = np.concatenate([search.best(part) for part in queries.split(clip)])
    return Way(middle - start, time.perf_counter() - middle, len(coarse), sum(counted), found)


def report(name: str, way: Way, truth: Floats, exact: Floats | None = None, clips: int = 1) -> None:
    """One line of the table."""
    errors_m = 1000 * distance_km(way.answers, truth)
    within = " ".join(f"{100 * (errors_m <= m).mean():5.1f}" for m in (10, 25, 100))
    same = "" if exact is None else f"{100 * (distance_km(way.answers, exact) < 2 * FINE_KM).mean():.1f}"
    print(
        f"  {name:40s} {np.median(errors_m):9.1f} {within} {same:>6s} {way.prepared:8d} {way.prepare_s:7.2f} "
        f"{way.embedded // clips:8d} {1000 * way.answer_s / clips:8.1f}",
        flush=True,
    )


def measure(case: Case, method: VidTag, name: str, beams: Sequence[int]) -> None:
    """The rows of one model."""
    truth = case.test.latlon_deg
    with torch.inference_mode():
        clips = Clips(features={"seen": case.test.features[:, None]}, mask_BT=torch.ones(len(truth), 1).bool())
        queries = method.queries(clips)[:, 0]
    exact = full(method, case.boxes, queries)
    count = len(truth) // case.clip
    report(f"{name}: full gallery, clips", exact, truth, clips=count)
    for coarse_km in case.coarse_km:
        for beam in beams:
            way = refined(method, case.boxes, coarse_km, queries, beam, case.clip)
            report(f"{name}: from {coarse_km:g} km, beam {beam}, clips", way, truth, exact.answers, count)
    some = np.random.default_rng(0).permutation(len(truth))[:ALONE]
    few = queries[torch.from_numpy(some)]
    for beam in beams:
        way = refined(method, case.boxes, case.coarse_km[0], few, beam, 1)
        report(
            f"{name}: from {case.coarse_km[0]:g} km, beam {beam}, frames",
            way,
            truth[some],
            exact.answers[some],
            len(few),
        )


def main() -> None:
    """Train and measure the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["cambridge", "cities"])
    parser.add_argument("--models", nargs="+", default=["levels", "plain"])
    parser.add_argument("--beams", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[512.0, 2048.0, 8192.0, 32768.0])
    parser.add_argument("--radii", type=float, nargs="+", default=[0.5, 0.15, 0.05, 0.015])
    arguments = parser.parse_args()
    known: dict[str, Callable[[], Case]] = {"cambridge": cambridge, "cities": cities}
    for name in arguments.cases:
        case = known[name]()
        print(f"{case.name}: {len(case.train.latlon_deg)} frames to learn from, {len(case.test.latlon_deg)} asked for")
        print(f"  {'':40s}  median m  <10m  <25m <100m   same   points  prep s   points a clip, ms")
        for model in arguments.models:
            start = time.perf_counter()
            method = trained(case, arguments.sigmas, arguments.radii, model == "levels", arguments.steps)
            print(f"  {model} keys trained in {time.perf_counter() - start:.0f} s")
            measure(case, method, model, arguments.beams)


if __name__ == "__main__":
    main()
