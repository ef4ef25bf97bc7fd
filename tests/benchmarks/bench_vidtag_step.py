"""How fast VidTAG trains: bf16 against fp32 and against the machine's own rate for its matrix products, and loading.

Run as a script: `python tests/benchmarks/bench_vidtag_step.py [--device cuda] [--threads N] [--compile] [--schedule]`.
The published step: 128 clips of 16 frames of 1792 features (VidTAG, appendix A), features on the device, fused Adam.
Medians of interleaved runs; trust the ratios. `--schedule` trains the published 600 + 100 epochs on 9,049 made-up
clips, as many as MSLS has, with all that a run writes.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vgeo.device import Compute, seed_everything
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.gallery import Gallery
from vgeo.methods.vidtag import VidTag, VidTagConfig
from vgeo.stages.train import _saver
from vgeo.training.data import Frames
from vgeo.training.folder import RunFolder
from vgeo.training.loop import Loop, Options, _Epoch
from vgeo.training.meter import Meter
from vgeo.training.optim import adam
from vgeo.training.run import Run
from vgeo.training.store import FeatureStore

WIDTHS = {"clip": 768, "dinov2": 1024}
MSLS_CLIPS, MSLS_FRAMES = 9049, 46  # sequences (paper), and mean frames that 1.5 GB of features come to
STEP_CLIPS, FRAMES = 256, 20
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


@dataclass
class MadeUp:
    """Stands for a feature file: unit-variance features, walks around as many places as there are clips."""

    clips: int
    frames: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        rows = self.clips * self.frames
        places = rng.uniform([-60, -180], [60, 180], (self.clips, 1, 2)) + rng.normal(
            0, 1e-3, (self.clips, self.frames, 2)
        )
        self.latlon_deg = places.reshape(rows, 2)
        self._features = {name: np.tile(rng.normal(size=(self.frames, width)).astype(np.float16), (self.clips, 1))
                          for name, width in WIDTHS.items()}  # fmt: skip

    def features(self, name: str) -> np.ndarray:
        return self._features[name]

    def positioned(self) -> Frames:
        rows = np.arange(len(self.latlon_deg))
        ids = tuple(f"{clip:05d}" for clip in range(self.clips))
        return Frames(rows, self.latlon_deg, np.arange(self.clips + 1) * self.frames, ids)


class Products(TorchDispatchMode):
    """Notes the operands of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[Any, ...]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.seen[func is PRODUCTS[2], *((tuple(t.shape), t.stride(), t.dtype) for t in args[-2:])] += 1
        return func(*args, **(kwargs or {}))

    def replay(self, device: torch.device) -> list[tuple[Callable[[], object], int]]:
        """Each product alone, and how often a step does it."""
        jobs = []
        for (batched, a, b), times in self.seen.items():
            left, right = (
                torch.empty_strided(shape, stride, dtype=dtype, device=device).fill_(0.5)
                for shape, stride, dtype in (a, b)
            )
            product = torch.bmm if batched else torch.mm
            jobs.append(((lambda p=product, x=left, y=right: p(x, y)), times))
        return jobs


def seconds(job: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Mean seconds of a job; on CUDA the queue is filled before it is waited for."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        job()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


def medians(jobs: dict[str, Callable[[], object]], device: torch.device, turns: int, repeats: int) -> dict[str, float]:
    """Median over turns in which every job comes once, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(turns + 1):
        for name, job in jobs.items():
            took = seconds(job, device, repeats)
            if turn:
                times[name].append(took)
    return {name: statistics.median(values) for name, values in times.items()}


def stepper(file: MadeUp, phase: str, compute: Compute, compiled: bool) -> tuple[Callable[[], None], Loop]:
    """One optimiser step of a phase, as the loop does it."""
    torch.manual_seed(0)
    method = VidTag(VidTagConfig(init="scratch")).to(compute.device)
    store = FeatureStore([file], file.positioned(), list(WIDTHS), compute, resident=True)  # type: ignore[list-item]
    loop = Loop(method, store, Options(), compute)
    loop._requires_grad = {name: p.requires_grad for name, p in method.named_parameters()}
    loop._loss = torch.compile(method.loss) if compiled else None
    method.begin(phase)
    method.train()
    recipe = method.recipe(phase)
    loop.optimizer = adam(loop._parameters(phase), recipe)
    plan = loop._plan(recipe, 0, 0)
    generator = torch.Generator(compute.device).manual_seed(0)
    epoch = _Epoch(phase, plan, *store.plan(plan), False, generator, Meter(compute.device))
    return lambda: loop._step(epoch, 0, 1e-5), loop


def measure(phase: str, device: torch.device, compiled: bool, turns: int) -> None:
    file = MadeUp(STEP_CLIPS, FRAMES)
    repeats = 20 if device.type == "cuda" else 1
    jobs, loops = {}, {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        jobs[name], loops[name] = stepper(file, phase, Compute(device, dtype), compiled and name == "bf16")
    loop = loops["bf16"]
    recipe = loop.method.recipe(phase)
    items = loop.store.plan(plan := loop._plan(recipe, 0, 0))
    batch = tuple(values[: recipe.batch_clips] for values in items)
    eager, _ = stepper(file, phase, Compute(device, torch.bfloat16), False)
    with Products() as products, FlopCounterMode(display=False) as counted:
        eager()
    flops = counted.get_total_flops()
    found = medians(jobs, device, turns, repeats)
    small = medians({"load": lambda: loop.store.batch(*batch)}, device, turns, 10 * repeats)["load"]
    whole = MadeUp.positioned(MadeUp(MSLS_CLIPS, 1)).clip_first * MSLS_FRAMES
    loop.store.frames = Frames(np.zeros(0, int), np.zeros((0, 2)), whole, ())
    plan = medians({"plan": lambda: loop._plan(recipe, 0, 0)}, torch.device("cpu"), turns, 1)["plan"] / 71
    alone = sum(times * medians({"": job}, device, turns, repeats)[""] for job, times in products.replay(device))
    print(f"\nphase {phase}: {flops / 1e12:.3f} TFLOP a step, {sum(products.seen.values())} matrix products")
    for name, took in found.items():
        print(f"  {name}  {1000 * took:9.2f} ms   {flops / took / 1e12:8.3f} TFLOP/s")
    print(f"  bf16 is {found['fp32'] / found['bf16']:.2f} x fp32")
    print(
        f"  its matrix products alone take {1000 * alone:.2f} ms: {alone / found['bf16']:.0%} of their rate is reached"
    )
    print(f"  loading takes {small / found['bf16']:.3%} of a step, planning (in a thread) {plan / found['bf16']:.3%}")


def schedule(device: torch.device, compiled: bool) -> None:
    """Train all that the paper does for MSLS."""
    compute = Compute(device, torch.bfloat16)
    file = MadeUp(MSLS_CLIPS, MSLS_FRAMES)
    seed_everything(0)
    method = VidTag(VidTagConfig(init="scratch")).to(device)
    store = FeatureStore([file], file.positioned(), list(WIDTHS), compute)  # type: ignore[list-item]
    specs = {name: EncoderSpec(name=name, dim=width, weights="", weights_hash="", preprocessing="", settings={})
             for name, width in WIDTHS.items()}  # fmt: skip
    loop = Loop(method, store, Options(compile=compiled), compute)
    with tempfile.TemporaryDirectory() as folder:
        keep = RunFolder(Path(folder) / "m", _saver("vidtag", {}, specs), Gallery(latlon_deg=file.latlon_deg[:1000]))
        run = Run(loop=loop, folder=keep, validate=None, settings={})
        began = time.perf_counter()
        run.train()
        took = time.perf_counter() - began
    assert run.kept is not None
    by_phase: Counter[str] = Counter()
    for line in run.kept.metrics:
        by_phase[line["phase"]] += line["seconds"]
    said = ", ".join(f"{phase} {total:.0f} s in epochs" for phase, total in by_phase.items())
    print(f"\nthe whole schedule: {took / 60:.2f} min, with what is kept and written ({said})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--schedule", action="store_true")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    seed_everything(0)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, 128 clips of 16 frames, {'compiled' if given.compile else 'eager'}")
    for phase in VidTag.phases:
        measure(phase, device, given.compile, given.turns)
    if given.schedule:
        schedule(device, given.compile)


if __name__ == "__main__":
    main()
