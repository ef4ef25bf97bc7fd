"""The commands that write, each with small inputs: what is typed, which items there are, and what must be the same.

inputs/ is made once, in forks: clips/ (5 videos of 64 x 48 with positions beside them), frames/, features.h5 (gist),
first.h5 (of two of the clips), learn.h5 and held.h5 (made-up features that a small network learns from), grid.h5,
near.h5, tiles/, models/geoclip, models/gama. A run sees it as links in its folder.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forks
import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "training")]

from cityguessrmaker import PLACES  # noqa: E402
from clipmaker import make_video  # noqa: E402
from tilemaker import square, write_tiles  # noqa: E402

CPU = ("--device", "cpu", "--precision", "fp32")
GEOCLIP = (
    "--set", "init=scratch", "--set", "sigmas=1,1024", "--set", "fourier=8", "--set", "location_width=16",
    "--set", "location_depth=1", "--set", "embed_dim=16", "--set", "image_width=16", "--set", "batch_frames=20",
    "--set", "warmup_steps=1", "--set", "learning_rate=3e-3", *CPU,
)  # fmt: skip
VIDTAG = (
    "--method", "vidtag", "--set", "init=scratch", "--set", "encoders=gist", "--set", "feature_dims=8",
    "--set", "sigmas=1,1024", "--set", "fourier=8", "--set", "location_width=16", "--set", "location_depth=1",
    "--set", "embed_dim=16", "--set", "heads=2", "--set", "feedforward=16", "--set", "layers=1",
    "--set", "mlp_widths=16", "--set", "clip_frames=4", "--set", "batch_clips=4", "--set", "refine_epochs=2",
    "--set", "warmup_steps=0", *CPU,
)  # fmt: skip
GAMA = (
    "--method", "gama", "--gallery", "tiles.h5", "--epochs", "1", "--batch-size", "2", "--set", "init=scratch",
    "--set", "width=4", "--set", "heads=2", "--set", "feedforward=16", "--set", "aerial_stem=torchvision",
    "--set", "frame_px=18,34", "--set", "crop_px=16,32", "--set", "tile_px=36", "--set", "tile_crop_px=32",
    "--set", "tokens=2", "--set", "embed_dim=16", "--set", "milestones=1000", *CPU,
)  # fmt: skip
CITYGUESSR = ("--method", "cityguessr", "--set", "layers=1", "--set", "heads=2", "--set", "mlp=16", *CPU)
SCREENING = (
    "--method", "screening", "--gallery", "regions.h5", "--tiles", "tiles.h5", "--batch-size", "2",
    "--set", "init=scratch", "--set", "width=4", "--set", "aerial_stem=torchvision", "--set", "tile_px=36",
    "--set", "tile_crop_px=32", "--set", "embed_dim=16", "--set", "sequence=4", *CPU,
)  # fmt: skip
TRAININGS = {  # of six epochs each, to be stopped after any of the first five
    "geoclip": ("train", "learn.h5", "--val", "held.h5", "--epochs", "6", *GEOCLIP),
    "vidtag": ("train", "learn.h5", "--val", "held.h5", "--epochs", "4", *VIDTAG),
    "cityguessr": ("train", "learn.h5", "--val", "held.h5", "--epochs", "6", *CITYGUESSR),
    "gama": ("train", "views", "--val-fraction", "0.5", *GAMA, "--epochs", "6"),
    "screening": ("train", "views", "--val-fraction", "0", "--epochs", "6", *SCREENING),
}
X, Y, ZOOM = 154_000, 197_000, 19
CLIPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A command that writes.

    group: what it is counted under. start: files that are copied into the folder first. again: what is typed besides
    when it is run again, by what the first run has put there. dear: left out of the short cut.
    """

    name: str
    group: str
    args: tuple[str, ...]
    outputs: tuple[str, ...]
    start: Mapping[str, str] = field(default_factory=dict)
    items: str = "none"  # "report": those of --report; "steps": what killing.watch notes; "none": the file is one
    again: Callable[[Path], tuple[str, ...]] = lambda folder: ()
    finished_before: str = ""  # a pattern of what, once it is there, is not made again
    before: Callable[[], None] | None = None
    dear: bool = False


def keep_each_epoch() -> None:
    """Epochs of milliseconds would be written together, to be lost together."""
    from vgeo.training import run

    run._WRITE_EVERY_S, run._REST = -1.0, 0


def keys_in_small_parts() -> None:
    """Parts of two batches, as the real ones are of several."""
    from vgeo.methods import _gallery
    from vgeo.stages import key_parts, keys

    key_parts.PART_ROWS = keys.PART_ROWS = 4
    _gallery._TILES_ON_CPU = 2


def _resume(out: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda folder: ("--resume",) if (folder / out / "state" / "state.safetensors").is_file() else ()


WRITERS = (
    Writer(
        name="extract-frames", group="extract-frames", items="report", outputs=("frames",),
        args=("extract-frames", "clips", "--rate-hz", "1", "--size", "32", "--out", "frames"),
        finished_before="frames/[!.]*/clip.json",
    ),
    Writer(
        name="precompute-features of frames", dear=True, group="precompute-features", items="report",
        outputs=("out.h5",),
        args=("precompute-features", "frames", "--out", "out.h5", *CPU),
    ),
    Writer(
        name="precompute-features into a file that has some", group="precompute-features", items="report",
        outputs=("out.h5",), start={"first.h5": "out.h5"},
        args=("precompute-features", "frames", "--out", "out.h5", *CPU),
    ),
    Writer(
        name="build-gallery grid", group="build-gallery", outputs=("out.h5",),
        args=("build-gallery", "grid", "learn.h5", "--spacing-km", "0.5", "--out", "out.h5"),
    ),
    Writer(
        name="build-gallery aerial with keys", group="build-gallery", items="steps", outputs=("out.h5",), dear=True,
        args=("build-gallery", "aerial", "tiles", "--model", "models/gama", "--out", "out.h5", "--device", "cpu"),
        before=keys_in_small_parts,
    ),
    Writer(
        name="train geoclip", dear=True, group="train", items="steps", outputs=("new",), again=_resume("new"),
        before=keep_each_epoch,
        args=("train", "learn.h5", "--out", "new", "--val", "held.h5", "--epochs", "4", *GEOCLIP),
    ),
    Writer(
        name="train vidtag", group="train", items="steps", outputs=("new",), again=_resume("new"),
        before=keep_each_epoch, dear=True,
        args=("train", "learn.h5", "--out", "new", "--val", "held.h5", "--epochs", "2", *VIDTAG),
    ),
    Writer(
        name="localize into a folder", group="localize", items="report", outputs=("results",),
        args=("localize", "frames", "--method", "nearest", "--gallery", "near.h5", "--no-places",
              "--out", "results/", *CPU),
        finished_before="results/*.geojson",
    ),
    Writer(
        name="localize into one file", dear=True, group="localize", outputs=("tracks.geojson",),
        args=("localize", "frames", "--method", "nearest", "--gallery", "near.h5", "--no-places",
              "--out", "tracks.geojson", *CPU),
    ),
    Writer(
        name="score-trajectory", dear=True, group="score-trajectory", outputs=("score.json",),
        args=("score-trajectory", "tracks.csv", "--truth", "features.h5", "--out", "score.json", "--format", "json"),
    ),
)  # fmt: skip


def make_inputs(here: Path, dear: bool) -> None:
    """Fill the folder of inputs; `dear`: also what the dear writers need."""
    (here / "clips").mkdir(parents=True)
    for number in range(CLIPS):
        make_video(here / "clips" / f"c{number}.mp4", frames=4, rate=1, size=(64, 48), codec="mpeg4")
        lat, lon = 52.0 + number / 100, 4.0 + number / 50
        fixes = [f"{t},{lat + t * 1e-3:.6f},{lon + t * 1e-3:.6f}" for t in range(5)]
        (here / "clips" / f"c{number}.csv").write_text("\n".join(["time_s,lat,lon", *fixes]) + "\n")
    made_up(here / "learn.h5", seed=0, clips=6)
    made_up(here / "held.h5", seed=1, clips=2)
    steps: list[tuple[str, ...]] = [
        ("extract-frames", "clips", "--rate-hz", "1", "--out", "frames"),
        ("precompute-features", "frames", "--out", "features.h5", *CPU),
        ("precompute-features", "two", "--out", "first.h5", *CPU),
        ("build-gallery", "grid", "features.h5", "--spacing-km", "0.3", "--out", "grid.h5"),
        ("build-gallery", "points", "features.h5", "--keep-features", "--out", "near.h5"),
        ("localize", "features.h5", "-m", "nearest", "-g", "near.h5", "--no-places", "-o", "tracks.csv"),
    ]
    if dear:
        _seen_from_above(here)
        steps += [
            ("train", "features.h5", "--epochs", "1", "--out", "models/geoclip", "--val-fraction", "0", *GEOCLIP),
            ("build-gallery", "aerial", "tiles", "--out", "tiles.h5"),
            ("build-gallery", "aerial", "tiles", "--regions", "--across", "3", "--step", "3", "--out", "regions.h5"),
            ("train", "views", "--out", "models/gama", "--val-fraction", "0", *GAMA),
        ]
    for step in steps:
        if step[1] == "two":
            _two_of(here / "frames", here / "two")
        done(forks.fork(step, here, env=places(here)), step)


def link_inputs(inputs: Path, here: Path, outputs: Sequence[str]) -> None:
    """Let a folder see the inputs, but for those that are named like what is to be made in it."""
    for item in inputs.iterdir():
        if item.name not in (*outputs, "home", "tmp"):
            (here / item.name).symlink_to(item)


def copy_start(writer: Writer, inputs: Path, here: Path) -> None:
    """Give a writer what it starts with."""
    for source, target in writer.start.items():
        shutil.copyfile(inputs / source, here / target)


def content(path: Path) -> bytes:
    """What must be the same in two runs: a file, of metrics all but the seconds."""
    data = path.read_bytes()
    if path.name != "metrics.jsonl":
        return data
    lines = [json.loads(line) for line in data.splitlines()]
    return json.dumps([{k: v for k, v in line.items() if k not in ("seconds", "waited_s")} for line in lines]).encode()


def places(here: Path) -> dict[str, str]:
    """Where a run of this folder may write besides: folders of its own, so that what stays in them is seen."""
    found = {"HOME": here / "home", "XDG_CACHE_HOME": here / "home" / "cache", "TMPDIR": here / "tmp"}
    for folder in found.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {name: str(folder) for name, folder in found.items()} | {"OMP_NUM_THREADS": "1"}


def done(ran: forks.Ran, args: Sequence[str]) -> None:
    """Raise unless a run went well."""
    if ran.code != 0:
        raise RuntimeError(f"vgeo {' '.join(args)} ended with {ran.code}: {ran.stderr}")


def made_up(path: Path, seed: int, clips: int) -> None:
    """Features that are smooth in position, of clips around 52 N, 0 E, and labels that have nothing to do with them."""
    from worlds import spec

    from vgeo.formats.features import FeatureWriter

    rng, basis = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(2, 8)) * 40
    with FeatureWriter(path, {"gist": spec()}, "1 Hz", "pyav") as writer:
        for clip in range(clips):
            steps = rng.normal(0, 1e-4, (5 + clip % 2, 2))
            positions = np.array([52.0, 0.0]) + rng.normal(0, 0.02, 2) + np.cumsum(steps, 0)
            said = np.sin((positions - [52.0, 0.0]) @ basis) + rng.normal(0, 0.02, (len(steps), 8))
            labels = dict(zip(("city", "state", "country", "continent"), PLACES[clip % 3], strict=True))
            writer.add(f"s{seed}c{clip}", {"gist": said}, np.arange(len(steps)), positions, labels=labels)
        writer.finish()


def _two_of(frames: Path, folder: Path) -> None:
    """A folder of two of the clips, as links."""
    folder.mkdir()
    for name in ("c1", "c3"):
        (folder / name).symlink_to(frames / name)
    lines = (frames / "frames.jsonl").read_text().splitlines()
    chosen = [line for line in lines if json.loads(line)["video_id"] in ("c1", "c3")]
    (folder / "frames.jsonl").write_text("\n".join(chosen) + "\n")


def _seen_from_above(here: Path) -> None:
    """tiles/ of one colour each, and views/: pictures of these colours, taken there."""
    from vgeo.geo.tiles import position

    write_tiles(here / "tiles", square(X, Y, 3), size=36)
    lines: list[dict[str, Any]] = []
    for clip in range(2):
        lat, lon = position(X + clip + 0.5, Y + 0.5, ZOOM)
        (here / "views" / f"v{clip}").mkdir(parents=True)
        for number in range(30):
            path = f"v{clip}/{number:03d}.png"
            Image.new("RGB", (34, 18), (90 * clip, 3 * number, 50)).save(here / "views" / path)
            lines.append({"video_id": f"v{clip}", "frame_index": number, "time_s": round(number / 15, 6), "path": path,
                          "lat_deg": float(lat), "lon_deg": float(lon)})  # fmt: skip
    (here / "views" / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_networks(here: Path) -> None:
    """clip/ and resnet18.safetensors: networks that have learned nothing, made by a child, since it uses torch."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _make_networks(here)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("networks could not be made")


def _make_networks(here: Path) -> None:
    import torch
    import transformers
    from safetensors.torch import save_file
    from torchvision import models

    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 4}
    text = {**small, "num_hidden_layers": 1, "vocab_size": 64, "max_position_embeddings": 8}
    text |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    vision = {**small, "image_size": 64, "patch_size": 16}
    clip = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    transformers.CLIPModel(clip).save_pretrained(here / "clip")
    save_file(models.resnet18(weights=None).state_dict(), here / "resnet18.safetensors")
