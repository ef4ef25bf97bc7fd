"""Batches of 12 clips of 16 pictures at 224 x 224: vgeo's store of frames against a DataLoader of the published kind.

    python tests/benchmarks/bench_frame_store.py [--rounds 3] [--clips 96] [--threads N] [--json FILE]

The DataLoader's data set does what CityGuessr's published loader does (every fifth picture of a folder, read, PIL,
`Resize((224, 224))`, `ToTensor`), but with Pillow where that has OpenCV: both decode with libjpeg-turbo. Its workers
live from epoch to epoch. An epoch is measured from its plan to its last batch, in interleaved rounds: medians, and
ratios to the DataLoader without workers, which is what is published. Then the wait of a step, while a model that keeps
no core busy (`sleep`) works x ms: on a busy CPU it is longer.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rows import Row, write_rows
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, PILToTensor, Resize, ToTensor

from vgeo.device import Compute
from vgeo.encoders._windows import Windows
from vgeo.stages.frame_sets import open_frames
from vgeo.training.data import Frames
from vgeo.training.frame_store import FrameStore
from vgeo.training.sampling import plan_epoch

BATCH, WINDOW, SIDE, LENGTH = 12, Windows(length=16, rule="first76"), 224, 76
STEPS_MS = (100, 300, 1000)
CPU = Compute(torch.device("cpu"), torch.float32)
Epoch = Callable[[int], Iterator[object]]


class Published(Dataset[Tensor]):
    """A folder of pictures a clip, as the published loader reads it."""

    def __init__(self, folders: list[Path], as_float: bool) -> None:
        self.folders = folders
        self.transform = Compose([Resize((SIDE, SIDE)), ToTensor() if as_float else PILToTensor()])

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> Tensor:
        names = sorted(os.listdir(self.folders[index]))[::5][:16]
        pictures = (Image.open(self.folders[index] / name).convert("RGB") for name in names)
        return torch.stack([self.transform(picture) for picture in pictures])


def write_clips(root: Path, clips: int, size: tuple[int, int]) -> list[Path]:
    """Folders of 76 pictures; 32 different ones, linked to, as detailed as street views are (300 kB at 720p)."""
    rng = np.random.default_rng(0)
    (root / "pictures").mkdir(parents=True)
    for i in range(32):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        grain = rng.normal(0, 9, (size[1], size[0], 1))
        pixels = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "pictures" / f"{i}.jpg", quality=88)
    folders = [root / "clips" / f"{clip:03d}" for clip in range(clips)]
    for clip, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for i in range(LENGTH):
            os.link(root / "pictures" / f"{(7 * clip + i) % 32}.jpg", folder / f"{i:06d}.jpg")
    return folders


def loader(folders: list[Path], workers: int, as_float: bool = True) -> Epoch:
    """Epochs of a DataLoader."""
    batches = DataLoader(
        Published(folders, as_float), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda epoch: iter(batches)


def ours(store: FrameStore) -> Epoch:
    """Epochs of the store, as the loop asks for them."""

    def epoch(number: int) -> Iterator[object]:
        frames = store.frames
        plan = plan_epoch(frames.clip_first, 16, BATCH, np.random.default_rng(number), windows=WINDOW)
        pieces = [piece for step in range(plan.steps) for piece in plan.pieces(step, 1)]
        frame_IT, mask_IT = store.plan(plan, pieces)
        for piece in pieces:
            yield store.batch(frame_IT[piece], mask_IT[piece])

    return epoch


def rates(epochs: dict[str, Epoch], clips: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Clips a second, after an epoch to warm up, and ms of this process's cores a clip, which others disturb less."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in epochs}
    for turn in range(rounds + 1):
        for name, epoch in epochs.items():
            began, cores = time.perf_counter(), time.process_time()
            for _ in epoch(turn):
                pass
            if turn:
                seconds[name].append((time.perf_counter() - began, time.process_time() - cores))
    medians = {
        name: [statistics.median(column) for column in zip(*some, strict=True)] for name, some in seconds.items()
    }
    return {name: (clips / wall, 1e3 * cores / clips) for name, (wall, cores) in medians.items()}


def wait_ms(epoch: Epoch, step_ms: float) -> float:
    """Mean wait for a batch, after the first, while a model works so long on each."""
    waits = []
    batches = epoch(0)
    while True:
        began = time.perf_counter()
        if next(batches, None) is None:
            break
        waits.append(time.perf_counter() - began)
        time.sleep(step_ms / 1e3)
    return 1e3 * statistics.mean(waits[1:])


def measure(folders: list[Path], rounds: int, threads: int | None) -> list[Row]:
    one = open_frames([folders[0].parent])
    frames = Frames(np.arange(len(one)), one.latlon_deg, one.first_row, tuple(one.video_ids))
    options = {"shape": (SIDE, SIDE), "compute": CPU, "workers": threads}
    with (
        FrameStore([one], frames, resident=False, **options) as anew,  # type: ignore[arg-type]
        FrameStore([one], frames, resident=True, **options) as kept,  # type: ignore[arg-type]
    ):
        epochs = {
            "DataLoader, published": loader(folders, 0),
            "DataLoader, 2 workers": loader(folders, 2),
            "DataLoader, 2 workers, uint8": loader(folders, 2, as_float=False),
            "FrameStore": ours(anew),
            "FrameStore, in memory": ours(kept),
        }
        found = rates(epochs, len(folders), rounds)
        for name, (rate, core_ms) in found.items():
            ratio = rate / found["DataLoader, published"][0]
            cores = "" if "workers" in name else f"  {core_ms:7.1f} core ms a clip"
            print(f"  {name:30} {rate:8.1f} clips/s  x {ratio:6.2f}{cores}")
        for step_ms in STEPS_MS:
            waits = {name: wait_ms(epoch, step_ms) for name, epoch in epochs.items()}
            said = ", ".join(f"{name} {wait:.0f}" for name, wait in waits.items())
            print(f"  wait in ms beside a step of {step_ms} ms: {said}")
    with Image.open(next(folders[0].iterdir())) as picture:
        step = f"{BATCH} x 16 pictures of {picture.width} x {picture.height} for CityGuessr"
    mine = found["FrameStore"][0]
    return [
        Row(step, name, mine / found[name][0], figures=f"{mine:.1f} clips/s, {found[name][0]:.1f} clips/s")
        for name in found if name.startswith("DataLoader")
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, {given.clips} clips, load {os.getloadavg()[0]:.1f}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in ((1280, 720), (SIDE, SIDE)):
            folders = write_clips(Path(folder) / str(size[0]), given.clips, size)
            bytes_each = statistics.mean(path.stat().st_size for path in folders[0].iterdir())
            print(f"pictures of {size[0]} x {size[1]}, {bytes_each / 1e3:.0f} kB")
            rows += measure(folders, given.rounds, given.threads)
            sys.stdout.flush()
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
