"""Gathering a training batch from a feature file, and preparing frames, against the usual ways.

Run: python tests/benchmarks/bench_features.py [--videos N] [--rounds N] [--json FILE]
Prints medians of interleaved rounds and ratios to a named alternative; absolute times depend on the machine.
"""

import argparse
import tempfile
from itertools import cycle
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from rows import Row, write_rows
from safetensors import safe_open
from safetensors.numpy import save_file
from timing import interleaved

from vgeo.encoders._images import IMAGENET, Preprocessing
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.features import FeatureFile, FeatureWriter

CLIPS, FRAMES, WIDTH = 128, 16, 1792  # VidTAG's batch: CLIP 768 + DINOv2 1024


def show(title: str, medians: dict[str, float], ours: str) -> None:
    print(title)
    for name, seconds in sorted(medians.items(), key=lambda pair: pair[1]):
        print(f"  {name:42s} {1e3 * seconds:9.2f} ms   {seconds / medians[ours]:7.2f} x {ours}")


def row(step: str, medians: dict[str, float], other: str, ours: str, goal: str = "", note: str = "") -> Row:
    """How much longer another way takes."""
    mine, theirs = medians[ours], medians[other]
    return Row(step, other, theirs / mine, goal, "×", f"{1e3 * mine:.3g} ms, {1e3 * theirs:.3g} ms", note)


def bench_gather(folder: Path, videos: int, rounds: int) -> list[Row]:
    """128 clips of 16 frames, 1792 wide, from a file of videos of 60 frames each."""
    spec = EncoderSpec(name="a", dim=WIDTH, weights="none", weights_hash="none", preprocessing="", settings={})
    length = 60
    table = np.random.default_rng(0).normal(size=(videos * length, WIDTH)).astype(np.float16)
    with FeatureWriter(folder / "f.h5", {"a": spec}, "1 Hz", "none") as writer:
        for v in range(videos):
            part = table[v * length : (v + 1) * length]
            writer.add(f"v{v:05d}", {"a": part}, np.arange(length), np.full((length, 2), np.nan))
        writer.finish()
    with h5py.File(folder / "auto.h5", "w") as file:
        file.create_dataset("a", data=table, chunks=True)
        file.create_dataset("contiguous", data=table)
    save_file({"a": table}, folder / "a.safetensors")
    mapped = FeatureFile.open(folder / "f.h5").features("a")
    draw = np.random.default_rng(1)

    def drawn() -> np.ndarray:
        picked = np.sort(draw.permuted(np.tile(np.arange(length), (CLIPS, 1)), axis=1)[:, :FRAMES], axis=1)
        return picked + length * draw.integers(0, videos, (CLIPS, 1))

    draws = cycle([drawn() for _ in range(8)])

    def rows() -> np.ndarray:
        return next(draws)

    def gather_h5py(name: str) -> np.ndarray:
        """As data sets for PyTorch do it: a clip's rows at a time."""
        with h5py.File(folder / "auto.h5") as file:
            return np.stack([file[name][clip] for clip in rows()])

    def gather_safetensors() -> np.ndarray:
        with safe_open(folder / "a.safetensors", framework="np") as file:
            whole = file.get_slice("a")
            return np.stack([whole[int(c[0]) : int(c[-1]) + 1][c - c[0]] for c in rows()])

    ours, limit, contiguous = "vgeo, mapped in place", "limit: gathered in memory", "h5py, contiguous, rows of a clip"
    same = rows()
    np.testing.assert_array_equal(mapped[same], table[same])
    ways = {
        ours: lambda: mapped[rows()],
        limit: lambda: table[rows()],
        "safetensors slices": gather_safetensors,
        contiguous: lambda: gather_h5py("contiguous"),
        "h5py, auto-chunked": lambda: gather_h5py("a"),
    }
    step = f"batch of {CLIPS} x {FRAMES} x {WIDTH} float16 from the feature file"
    found = interleaved(ways, rounds)
    show(step, found, ours)
    over = found[ours] / found[limit]
    figures = f"{1e3 * found[ours]:.3g} ms, {1e3 * found[limit]:.3g} ms"
    return [
        row(step, found, contiguous, ours, ">= 5"),
        Row(step, limit, over, "<= 2", "×", figures),
        row(step, found, "h5py, auto-chunked", ours),
        row(step, found, "safetensors slices", ours),
    ]


def bench_prepare(rounds: int) -> list[Row]:
    """8 frames of 720p to normalised 224 x 224, one thread each."""
    torch.set_num_threads(1)
    frames = np.random.default_rng(0).integers(0, 256, (8, 720, 1280, 3), dtype=np.uint8)
    prepare = Preprocessing(size=224, crop="center", mean_std=IMAGENET)
    cpu = torch.device("cpu")
    mean, std = (np.array(values, np.float32) for values in IMAGENET)

    def pillow() -> np.ndarray:
        out = []
        for frame in frames:
            image = Image.fromarray(frame).resize((398, 224), Image.Resampling.BICUBIC).crop((87, 0, 311, 224))
            out.append(((np.asarray(image, np.float32) / 255 - mean) / std).transpose(2, 0, 1))
        return np.stack(out)

    def floats() -> torch.Tensor:
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
        small = torch.nn.functional.interpolate(pixels, (224, 398), mode="bicubic", antialias=True)[..., 87:311]
        return (small - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    ours = "vgeo, torch uint8 antialias"
    ways = {ours: lambda: prepare(torch.from_numpy(frames), cpu), "Pillow": pillow, "torch float32 antialias": floats}
    step = "prepare 8 frames, 720p to 224"
    found = interleaved(ways, rounds)
    show(step, found, ours)
    return [row(f"{step}, 1 thread", found, other, ours) for other in ways if other != ours]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = bench_gather(Path(folder), options.videos, options.rounds)
    write_rows(options.json, rows + bench_prepare(options.rounds))


if __name__ == "__main__":
    main()
