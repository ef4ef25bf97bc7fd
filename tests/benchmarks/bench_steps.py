"""A training step of each method as the loop does it, against the bare networks, and in bf16 against fp32.

    python tests/benchmarks/bench_steps.py [--json FILE] [--device cuda] [--methods vidtag geoclip cityguessr gama]

A bare step is forward, backward and Adam (fused, as the loop's) of the same networks on a batch that lies on the
device, by a few lines of PyTorch: no plan, no loading, no masks, no noise or augmentation, and a plain cross-entropy of
what is learnt from (the mean square of the backbone's output for CityGuessr). VidTAG's phase II learns a decoder alone,
on top of networks that are frozen: they run in both. Batches are the published ones of VidTAG and GeoCLIP, of 2 clips
for CityGuessr and of one video (2 clips, 2 tiles, since each brings a hard negative) for GAMa.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_cityguessr_step import bare as bare_backbone
from bench_cityguessr_step import stepper as cityguessr_step
from bench_vidtag_step import WIDTHS, MadeUp, seconds
from bench_vidtag_step import stepper as vidtag_step
from rows import Row, write_rows
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.device import Compute, seed_everything
from vgeo.methods._cuts import middle
from vgeo.methods.base import Clips
from vgeo.methods.gama import Gama, GamaConfig, brought_to
from vgeo.methods.geoclip import GeoClip, GeoClipConfig
from vgeo.methods.vidtag import ALIGN, REFINE, VidTag
from vgeo.training.loop import Loop, Options, _Epoch
from vgeo.training.meter import Meter
from vgeo.training.optim import adam
from vgeo.training.sampling import Plan
from vgeo.training.store import FeatureStore

METHODS = ("vidtag", "geoclip", "cityguessr", "gama")
CITY_CLIPS, GAMA_VIDEOS = 2, 1
Job = Callable[[], object]


class OneBatch:
    """Stands for a store that gives the same clips at every step."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips

    def batch(self, frame_BT: Tensor, mask_BT: Tensor) -> Clips:
        return self.clips


def loop_step(method: Any, phase: str, clips: Clips, compute: Compute) -> Job:
    """A step of the loop on clips that lie on the device."""
    mask_IT = clips.mask_BT.cpu().numpy()
    count, length = mask_IT.shape
    plan = Plan(np.arange(count * length).reshape(count, length), mask_IT, np.array([0, count]))
    loop = Loop(method.train(), OneBatch(clips), Options(batch_size=count), compute)  # type: ignore[arg-type]
    loop.optimizer = adam(list(method.parameters()), loop.options.recipe(method, phase))
    frame_IT, generator = torch.from_numpy(plan.frame_IT), torch.Generator(compute.device).manual_seed(0)
    epoch = _Epoch(phase, plan, frame_IT, clips.mask_BT, False, generator, Meter(compute.device))
    return lambda: loop._step(epoch, 0, 1e-5)


def bare_step(parameters: list[torch.nn.Parameter], loss: Callable[[], Tensor], compute: Compute) -> Job:
    """Forward, backward, Adam."""
    optimizer = torch.optim.Adam(parameters, lr=1e-5, fused=True)

    def job() -> None:
        optimizer.zero_grad(set_to_none=True)
        with compute.autocast():
            total = loss()
        total.backward()
        optimizer.step()

    return job


def contrast(queries_NE: Tensor, keys_NE: Tensor) -> Tensor:
    """Each query is to find its own key."""
    return F.cross_entropy((20 * queries_NE @ keys_NE.T).float(), torch.arange(len(keys_NE), device=keys_NE.device))


def vidtag_jobs(phase: str, device: torch.device) -> dict[str, Job]:
    """The published step: 128 clips of 16 frames of 1792."""
    file, jobs = MadeUp(256, 20), {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        jobs[name], loop = vidtag_step(file, phase, Compute(device, dtype), False)
    method, clips = loop.method, first_batch(loop)
    assert isinstance(method, VidTag) and clips.latlon_deg is not None
    latlon_deg = clips.latlon_deg

    def align() -> Tensor:
        queries = method._embed(method._joined(clips), clips.mask_BT).flatten(0, 1)
        return contrast(queries, F.normalize(method.location(latlon_deg.flatten(0, 1)), dim=-1))

    def refine() -> Tensor:
        with torch.no_grad():
            gps, true = F.normalize(method.location(torch.stack([latlon_deg, latlon_deg])), dim=-1)
            context = method._context(method._joined(clips), clips.mask_BT)
        refined = method._refine(gps, context, clips.mask_BT)
        return contrast(refined.flatten(0, 1), true.flatten(0, 1)) + contrast(refined.flatten(1), true.flatten(1))

    loss = align if phase == ALIGN else refine
    jobs["bare"] = bare_step(loop._parameters(phase), loss, Compute(device, torch.bfloat16))
    return jobs


def first_batch(loop: Loop) -> Clips:
    recipe = loop.options.recipe(loop.method, loop.method.phases[0])
    items = loop.store.plan(loop._plan(recipe, 0, 0))  # type: ignore[call-arg]
    return loop.store.batch(*(values[: recipe.batch_clips] for values in items))


def geoclip_jobs(device: torch.device) -> dict[str, Job]:
    """2,048 frames a step."""
    file, jobs = MadeUp(256, 20), {}
    store = FeatureStore([file], file.positioned(), ["clip"], Compute(device, torch.float32), resident=True)  # type: ignore[list-item]
    rows = torch.arange(2048)[:, None].to(device)
    clips = store.batch(rows, torch.ones_like(rows, dtype=torch.bool))
    assert clips.latlon_deg is not None and WIDTHS["clip"] == 768
    latlon_deg = clips.latlon_deg.flatten(0, 1)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        method = GeoClip(GeoClipConfig(init="scratch")).to(device)
        jobs[name] = loop_step(method, "contrastive", clips, Compute(device, dtype))

    def loss() -> Tensor:
        return contrast(method.queries(clips).flatten(0, 1), F.normalize(method.location(latlon_deg), dim=-1))

    jobs["bare"] = bare_step(list(method.parameters()), loss, Compute(device, torch.bfloat16))
    return jobs


def cityguessr_jobs(device: torch.device) -> dict[str, Job]:
    """Clips of 16 frames of 224 x 224 through VideoMAE ViT-S."""
    bf16 = Compute(device, torch.bfloat16)
    return {
        "fp32": cityguessr_step(CITY_CLIPS, Compute(device, torch.float32), False),
        "bf16": cityguessr_step(CITY_CLIPS, bf16, False),
        "bare": bare_backbone(CITY_CLIPS, bf16, False),
    }


def gama_jobs(device: torch.device) -> dict[str, Job]:
    """Clips of 8 frames and their tiles."""
    torch.manual_seed(0)
    config, count = GamaConfig(init="scratch"), 2 * GAMA_VIDEOS
    frames = torch.randint(0, 256, (count, 8, *config.frame_px, 3), dtype=torch.uint8, device=device)
    tiles = torch.randint(0, 256, (count, config.tile_px, config.tile_px, 3), dtype=torch.uint8, device=device)
    mask = torch.ones(count, 8, dtype=torch.bool, device=device)
    jobs: dict[str, Job] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        method = Gama(config).to(device)
        clips = Clips(mask_BT=mask, frames_BTHWC=frames, tiles_BSSC=tiles)
        jobs[name] = loop_step(method, "contrastive", clips, Compute(device, dtype))

    def loss() -> Tensor:
        side = config.tile_crop_px
        seen = method._embed_clips(middle(frames, method._crop))
        return contrast(seen, method._embed_tiles(middle(brought_to(tiles, config.tile_px), (side, side))))

    jobs["bare"] = bare_step(list(method.parameters()), loss, Compute(device, torch.bfloat16))
    return jobs


def compared(title: str, jobs: dict[str, Job], device: torch.device, rounds: int, note: str = "") -> list[Row]:
    """Two rows; every job comes once in each round, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(-1, rounds):
        for name, job in jobs.items():
            took = seconds(job, device, 20 if device.type == "cuda" else 1)
            if turn >= 0:
                times[name].append(took)
    fp32, bf16, bare = (1e3 * statistics.median(times[name]) for name in ("fp32", "bf16", "bare"))
    step, against = f"training step, {title}", "bare networks in bf16"
    both = f"{bf16:,.0f} ms, {fp32:,.0f} ms"
    rows = [
        Row(step, against, bf16 / bare, "<= 1.1", "×", f"{bf16:,.0f} ms, {bare:,.0f} ms"),
        Row(f"{step}, bf16", "the same in fp32, eager", fp32 / bf16, ">= 1.9", "×", both, note),
    ]
    for row in rows:
        print(f"{row.step:45} {row.value:6.2f} x {row.against}  ({row.figures})", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    device, rows = torch.device(given.device), []
    seed_everything(0)
    if "vidtag" in given.methods:
        for phase, number in ((ALIGN, "I"), (REFINE, "II")):
            rows += compared(f"vidtag, phase {number}", vidtag_jobs(phase, device), device, given.rounds)
    if "geoclip" in given.methods:
        rows += compared("geoclip", geoclip_jobs(device), device, given.rounds)
    if "cityguessr" in given.methods:
        note = (
            "two fifths of its products are attention over 1,568 tokens, which gains less than large matrix products do"
        )
        rows += compared("cityguessr", cityguessr_jobs(device), device, given.rounds, note)
    if "gama" in given.methods:
        note = "convolutions, most of them of 64 channels, and batch norms of large maps"
        rows += compared("gama", gama_jobs(device), device, given.rounds, note)
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
