"""How fast CityGuessr trains and answers: what its heads cost beside the backbone, whether pictures come in time, and
validation and `vgeo localize` against the published loop of one clip at a time.

    python tests/benchmarks/bench_cityguessr_step.py [--device cuda] [--clips 12] [--threads N] [--compile] [--profile]

VideoMAE ViT-S from scratch, 16 frames of 224 x 224, 166 cities in 157 states, 91 countries and 6 continents, scenes and
text; a step is of 12 clips, on a CPU of 2. Medians of interleaved runs; trust the ratios. The bare backbone is forward,
backward and Adam on pixels that lie on the device. The published loop reads each clip's pictures one after the other
(with Pillow, where it has OpenCV) and sends clips through the model one by one in float32. bench_frame_store.py says
what the wait would be beside other steps.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_frame_store import Published, ours, rates, write_clips
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from vgeo.device import Compute, seed_everything
from vgeo.formats.checkpoints import save_model
from vgeo.formats.gallery import Gallery, write_gallery
from vgeo.geo.hierarchy import Hierarchy, number_places
from vgeo.methods.base import Clips, Recipe
from vgeo.methods.cityguessr import PHASE, CityGuessr, CityGuessrConfig
from vgeo.methods.settings import to_dict
from vgeo.stages.class_places import KIND
from vgeo.stages.frame_sets import open_frames
from vgeo.stages.localize import prepare
from vgeo.stages.localize_inputs import find_tasks
from vgeo.training.data import Frames
from vgeo.training.evaluate_classes import validate_classes
from vgeo.training.frame_store import FrameStore
from vgeo.training.loop import Loop, Options, _Epoch
from vgeo.training.meter import Meter
from vgeo.training.optim import adam
from vgeo.training.sampling import Drawing, Plan
from vgeo.training.truth import ClipTruth

COUNTS = (166, 157, 91, 6)
LEVELS = ("city", "state", "country", "continent")
TRAIN_CLIPS, VAL_CLIPS, EPOCHS = 54_614, 13_655, 12  # CityGuessr68k
SIZES = ((1280, 720), (224, 224))
NOTHING = {"width": 48, "layers": 1, "heads": 1, "mlp": 48}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Job = Callable[[], object]


class OnDevice(Drawing):
    """Stands for a store whose pictures are on the device already: every batch is the same."""

    def __init__(self, clips: int, compute: Compute) -> None:
        shape = (clips, 16, 224, 224, 3)
        self.pixels = torch.randint(0, 256, shape, dtype=torch.uint8).to(compute.device)
        self.frames = Frames(np.arange(16 * clips), np.full((16 * clips, 2), np.nan), 16 * np.arange(clips + 1), ())
        self.truth, self.device = truth(clips), compute.device

    def plan(self, plan: Plan, pieces: object = ()) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(plan.frame_IT), torch.from_numpy(plan.mask_IT)

    def batch(self, frame_BT: Tensor, mask_BT: Tensor) -> Clips:
        known = self.truth.of_clips(frame_BT[:, 0] // 16, self.device)
        return Clips(frames_BTHWC=self.pixels, mask_BT=mask_BT.to(self.device), truth=known)


def truth(clips: int) -> ClipTruth:
    rng = np.random.default_rng(0)
    chains = np.stack([rng.integers(0, count, clips) for count in COUNTS], 1)
    return ClipTruth(chains, rng.dirichlet(np.ones(16), clips).astype(np.float32))


def hierarchy() -> Hierarchy:
    """As many places of each level as the data set has."""
    chains = []
    for city in range(COUNTS[0]):
        numbers = [city]
        for count in COUNTS[1:]:
            numbers.append(numbers[-1] % count)
        chains.append([f"{level}{number:03d}" for level, number in zip(LEVELS, numbers, strict=True)])
    return number_places(chains, LEVELS)


def model(device: torch.device, **shape: int) -> CityGuessr:
    torch.manual_seed(0)
    made = CityGuessr(CityGuessrConfig(init="scratch", **shape)).to(device)  # type: ignore[arg-type]
    made.adopt(tuple(torch.from_numpy(step) for step in hierarchy().up), torch.randn(COUNTS[0], 512))
    return made


def save(method: CityGuessr, folder: Path) -> None:
    """Write a model folder, as training leaves it."""
    places = hierarchy().places()
    latlon_deg = np.random.default_rng(0).uniform([-60, -180], [60, 180], (len(places), 2))
    labels = {level: np.array(names, object) for level, names in zip(LEVELS, zip(*places, strict=True), strict=True)}
    cities = Gallery(latlon_deg=latlon_deg, labels=labels, attributes={"kind": KIND})
    save_model(folder, method="cityguessr", config=to_dict(method.config), encoders={}, state=method.state_dict(),
               write_more=lambda unfinished: write_gallery(unfinished / "gallery.h5", cities))  # fmt: skip


def readied(loop: Loop) -> Recipe:
    """Prepare a loop for steps."""
    loop._requires_grad = {name: p.requires_grad for name, p in loop.method.named_parameters()}
    recipe = loop.options.recipe(loop.method, PHASE)
    loop.optimizer = loop._adam(PHASE, recipe)
    return recipe


def stepper(clips: int, compute: Compute, compiled: bool) -> Job:
    """One step as the loop does it."""
    method, store = model(compute.device), OnDevice(clips, compute)
    loop = Loop(method, store, Options(batch_size=clips), compute)  # type: ignore[arg-type]
    loop._loss = torch.compile(method.loss) if compiled else None
    method.train()
    plan = loop._plan(readied(loop), 0, 0)
    generator = torch.Generator(compute.device).manual_seed(0)
    epoch = _Epoch(PHASE, plan, *store.plan(plan), True, generator, Meter(compute.device))
    return lambda: loop._step(epoch, 0, 1e-4)


def bare(clips: int, compute: Compute, compiled: bool) -> Job:
    """The backbone alone."""
    backbone = model(compute.device).backbone
    assert backbone is not None
    backbone.train()
    recipe = CityGuessr(CityGuessrConfig(init="scratch")).recipe(PHASE)
    optimizer = adam(list(backbone.parameters()), recipe)
    pixels = torch.rand(clips, 16, 3, 224, 224, device=compute.device)
    forward = torch.compile(backbone) if compiled else backbone

    def job() -> None:
        optimizer.zero_grad(set_to_none=True)
        with compute.autocast():
            feature_BD = forward(pixels)
        feature_BD.float().square().mean().backward()
        optimizer.step()

    return job


def seconds(job: Job, device: torch.device, repeats: int = 1) -> float:
    """Mean seconds of a job; on CUDA the queue is filled before it is waited for."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        job()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


def medians(jobs: dict[str, Job], device: torch.device, turns: int, repeats: int) -> dict[str, float]:
    """Median over turns in which every job comes once, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(turns + 1):
        for name, job in jobs.items():
            took = seconds(job, device, repeats)
            if turn:
                times[name].append(took)
    return {name: statistics.median(values) for name, values in times.items()}


def flops(job: Job) -> int:
    with FlopCounterMode(display=False) as counted:
        job()
    return int(counted.get_total_flops())


def step(given: argparse.Namespace, device: torch.device) -> None:
    """Measure a step against the bare backbone."""
    jobs: dict[str, Job] = {}
    for name, dtype in TYPES.items():
        compute = Compute(device, dtype)
        jobs[f"backbone {name}"] = bare(given.clips, compute, False)
        jobs[f"step {name}"] = stepper(given.clips, compute, False)
    if given.compile:
        jobs["backbone bf16, compiled"] = bare(given.clips, Compute(device, torch.bfloat16), True)
        jobs["step bf16, compiled"] = stepper(given.clips, Compute(device, torch.bfloat16), True)
    whole, alone = flops(jobs["step bf16"]), flops(jobs["backbone bf16"])
    found = medians(jobs, device, given.turns, 20 if device.type == "cuda" else 1)
    print(f"\na step of {given.clips} clips: {whole / 1e12:.3f} TFLOP, {(whole - alone) / whole:.4%} of it the heads'")
    for name, took in found.items():
        done = whole if name.startswith("step") else alone
        print(f"  {name:24} {1e3 * took:10.1f} ms   {done / took / 1e12:8.3f} TFLOP/s")
    for kind in ("fp32", "bf16", *(["bf16, compiled"] if given.compile else [])):
        print(f"  {kind}: a step is {found[f'step {kind}'] / found[f'backbone {kind}']:.3f} x its backbone")
    print(f"  bf16 is {found['step fp32'] / found['step bf16']:.2f} x fp32")
    if given.profile:
        show_profile(jobs["step bf16"], device)


def show_profile(job: Job, device: torch.device) -> None:
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, record_shapes=True) as seen:
        seconds(job, device)
    order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    print(seen.key_averages(group_by_input_shape=True).table(sort_by=order, row_limit=30, max_shapes_column_width=60))


def opened(folders: list[Path]) -> tuple[Any, Frames]:
    one = open_frames(folders)
    return one, Frames(np.arange(len(one)), one.latlon_deg, one.first_row, tuple(one.video_ids))


def training(folders: list[Path], compute: Compute, batch: int) -> None:
    """Train an epoch from the disk: what waits for pictures."""
    one, frames = opened(folders)
    method = model(compute.device)
    with FrameStore([one], frames, (224, 224), compute, truth(len(folders)), resident=False) as store:
        loop = Loop(method, store, Options(batch_size=batch), compute)
        recipe = readied(loop)
        for epoch in range(2):  # one to warm up
            store.wait_s = 0.0
            plan = loop._plan(recipe, 0, epoch)
            began = time.perf_counter()
            loop._epoch(PHASE, recipe, plan)
            took = time.perf_counter() - began
        share = store.wait_s / took
        print(f"  an epoch of {len(folders)} clips in steps of {batch} takes {took:.2f} s, {share:.2%} of it waiting")
        rate, core_ms = rates({"": ours(store)}, len(folders), 2)[""]
    hours = took / len(folders) * TRAIN_CLIPS * EPOCHS / 3600
    print(f"  that is {len(folders) / took:.2f} clips/s, and {hours:,.1f} h for the published {EPOCHS} epochs")
    print(f"  the store alone reads {rate:.1f} clips/s, at {core_ms:.0f} ms of a core each")


def evaluation(folders: list[Path], compute: Compute, turns: int, **shape: int) -> None:
    """Validation and `vgeo localize` against the published loop."""
    one, frames = opened(folders)
    method = model(compute.device, **shape).eval()
    known = truth(len(folders)).class_VL
    published = Published(folders, as_float=True)
    fp32 = Compute(compute.device, torch.float32)

    @torch.inference_mode()
    def one_by_one() -> None:
        for number in range(len(published)):
            assert method.backbone is not None
            feature_BD = method.backbone(published[number][None].to(compute.device))
            for head in method.heads:
                head(feature_BD).softmax(-1).topk(5).indices.cpu()

    def validated(how: Compute) -> None:
        with FrameStore([one], frames, (224, 224), how, resident=False) as store:
            validate_classes(method, store, known, LEVELS, how)

    with tempfile.TemporaryDirectory() as folder:
        save(method, Path(folder) / "model")
        tasks = find_tasks(folders)
        prepared = {precision: prepare(tasks, Path(folder) / "model", places=False, device=str(compute.device),
                                       precision=precision) for precision in TYPES}  # fmt: skip
        jobs: dict[str, Job] = {
            "published": one_by_one,
            "validation, fp32": lambda: validated(fp32),
            "validation, bf16": lambda: validated(compute),
            "localize, fp32": lambda: list(prepared["fp32"].run()),
            "localize, bf16": lambda: list(prepared["bf16"].run()),
        }
        found = medians(jobs, compute.device, turns, 1)
    for name, took in found.items():
        rate = len(folders) / took
        print(f"  {name:17} {rate:8.2f} clips/s  x {found['published'] / took:5.2f}   {VAL_CLIPS / rate / 60:7.1f} min")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, help="of a step; 12, on a CPU 2")
    parser.add_argument("--folders", type=int, help="clips on disk; 192, on a CPU 8")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--turns", type=int, help="3, on a CPU 2")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    if given.threads:
        torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    on_gpu = device.type == "cuda"
    given.clips = given.clips or (12 if on_gpu else 2)
    given.folders = given.folders or (192 if on_gpu else 8)
    given.turns = given.turns or (3 if on_gpu else 2)
    seed_everything(0)
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    step(given, device)
    bf16 = Compute(device, torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            some = write_clips(Path(folder) / str(width), given.folders, (width, height))
            print(f"\npictures of {width} x {height}, {given.folders} clips on disk")
            training(some, bf16, given.clips)
            evaluation(some, bf16, given.turns)
            print("  and with a backbone that costs next to nothing, as on the fastest device")
            evaluation(some, bf16, given.turns, **NOTHING)


if __name__ == "__main__":
    main()
