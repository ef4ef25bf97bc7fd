"""How fast a training step is: bf16 against fp32, fused Adam against plain, and what loading takes of it.

Run as a script: `python tests/benchmarks/bench_train.py [--threads N] [--json FILE]`. Medians of
interleaved runs; trust the ratios.
GeoCLIP over CLIP features, 2048 frames a step (VidTAG, appendix A); features of 768 on the device and mapped.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rows import Row, write_rows

from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.features import FeatureFile, FeatureWriter
from vgeo.methods.geoclip import GeoClip, GeoClipConfig
from vgeo.training.data import usable_frames
from vgeo.training.loop import Loop, Options, _Epoch
from vgeo.training.meter import Meter
from vgeo.training.optim import adam
from vgeo.training.store import FeatureStore

BATCH, CLIPS, FRAMES, REPEATS = 2048, 100, 160, 5


def medians(**jobs: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each job, run in turns after one run to warm up."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(REPEATS + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if turn:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def write(path: Path) -> FeatureFile:
    spec = EncoderSpec(name="clip", dim=768, weights="", weights_hash="", preprocessing="", settings={})
    rng = np.random.default_rng(0)
    with FeatureWriter(path, {"clip": spec}, "bench", "none") as writer:
        for clip in range(CLIPS):
            places = rng.uniform([-60, -180], [60, 180]) + rng.normal(0, 0.01, (FRAMES, 2))
            writer.add(f"{clip:04d}", {"clip": rng.normal(size=(FRAMES, 768))}, np.arange(FRAMES), places)
        writer.finish()
    return FeatureFile.open(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "f.h5")
        frames = usable_frames([file])
        stores = {kind: FeatureStore([file], frames, ["clip"], Compute(cpu, torch.float32), kind == "device")
                  for kind in ("device", "mapped")}  # fmt: skip
        loops = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            loop = Loop(GeoClip(GeoClipConfig()), stores["device"], Options(batch_size=BATCH), Compute(cpu, dtype))
            recipe = loop.options.recipe(loop.method, "contrastive")
            loop.optimizer = adam(list(loop.method.parameters()), recipe)
            loops[name] = loop
        plan = loop._plan(recipe, 0, 0)
        epoch = _Epoch("contrastive", plan, *stores["device"].plan(plan), False, torch.Generator(), Meter(cpu))
        step = {name: lambda loop=loop: loop._step(epoch, 0, 1e-5) for name, loop in loops.items()}
        index, mask = torch.from_numpy(plan.frame_IT[:BATCH]), torch.from_numpy(plan.mask_IT[:BATCH])
        parameters = list(loops["fp32"].method.parameters())
        plain = torch.optim.Adam(parameters, lr=1e-5, foreach=False)
        found = medians(
            fp32=step["fp32"],
            bf16=step["bf16"],
            load_device=lambda: stores["device"].batch(index, mask),
            load_mapped=lambda: stores["mapped"].batch(index, mask),
            plan=lambda: loops["fp32"]._plan(recipe, 0, 0),
            adam_fused=loops["fp32"].optimizer.step,
            adam_plain=plain.step,
        )
    share = {kind: found[f"load_{kind}"] / found["bf16"] for kind in ("device", "mapped")}
    print(f"{torch.get_num_threads()} threads, batch of {BATCH} frames, {torch.__version__}")
    for name, seconds in found.items():
        print(f"{name:12} {1000 * seconds:9.2f} ms")
    print(f"bf16 is {found['fp32'] / found['bf16']:.2f} x fp32 ({1 / found['bf16']:.2f} steps/s)")
    print(f"fused Adam is {found['adam_plain'] / found['adam_fused']:.2f} x plain")
    print(f"loading takes {share['device']:.3%} of a bf16 step on the device, {share['mapped']:.3%} mapped")
    planning = found["plan"] / (plan.steps * found["bf16"])
    print(f"planning takes {planning:.3%} of an epoch")
    step = f"geoclip, {BATCH} frames a step"
    parts = {"gathering a batch in memory": share["device"], "gathering a batch, mapped": share["mapped"],
             "planning an epoch": planning}  # fmt: skip
    rows = [Row(f"{step}: {what}", "a step in bf16", 100 * part, unit="%") for what, part in parts.items()]
    rows.append(Row(f"{step}: Adam, fused", "Adam, plain", found["adam_plain"] / found["adam_fused"]))
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
