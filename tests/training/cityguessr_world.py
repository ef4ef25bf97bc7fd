"""CityGuessr's ablations (tables 3 and 4) on the procedural world, end to end from a backbone without pretraining.

As a script: `python tests/training/cityguessr_world.py FOLDER [--seeds N] [--rows A,B] [--verbose]`. Every row goes
through the commands that a user would type; models that are in FOLDER already are not trained again. The last epoch is
scored on drives that nothing was chosen on. A seed is that of weights and batches; the world stays.

Its ten real cities lie in 8 states, 7 countries and 6 continents. What a continent shares can be seen (sky,
vegetation, paint and asphalt of roads, paving); cities of one state or country share that and no more.

Scenes are not Places365's. Each frame is one of 16 kinds of street, by two things that it shows: how much of the view
buildings close off (the mean elevation of walls and open sky over the columns, in 4 steps) and how many trees stand
along it (the sum of the elevations of those in front of the walls, in 4 steps). The steps are the quartiles over the
drives to learn from. Both differ between cities (storeys, greenery) and along a street; the columns of scenes.csv that
bear the names of Places365's groups are used as 16 numbers.

Text is not CLIP's: a name is the sum of random vectors of 512 numbers, one for each of its three-letter pieces. So
names that share letters lie near each other, and the mean over all levels brings cities of one state, country or
continent together, which is what the published strategy lives on.
"""

import argparse
import csv
import json
import shlex
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vgeo.cli import run
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.gallery import read_gallery, write_gallery
from vgeo.formats.scenes import GROUPS, ClipScenes, write_scenes
from vgeo.stages.city_text import with_text
from vgeo.world import rays, street_view
from vgeo.world.clips import ClipPlan, drive_of, make_clips, plan_clips
from vgeo.world.conditions import draw_conditions
from vgeo.world.world import World

Floats = NDArray[np.float64]

LEVELS = ("city", "state", "country", "continent")
TREES_SEEN_M = 60.0
TEXT_DIM = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the world and the budget are."""

    cities: int = 10
    clips: int = 800  # over the cities in turn
    val_share: float = 0.375  # of each city's, the last ones
    seconds: float = 16.0  # a frame a second
    frame_px: int = 96
    epochs: int = 30


QUICK = Size(cities=3, clips=12, val_share=0.5, frame_px=64, epochs=1)
WORLD_SEED = 0  # that the heads learn at the published rate was seen on world 100; nothing was chosen

# Trained from nothing on 500 drives, so a small VideoMAE that sees 8 of their 16 frames. The rest is as published.
COMMON = ("init=scratch", "image_px=64", "frames=8", "width=96", "layers=4", "heads=4", "mlp=192")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model: what it is called in the paper, and what `vgeo train` is told."""

    name: str
    settings: tuple[str, ...]


ROWS: Mapping[str, Row] = {
    "heads": Row(name="heads alone", settings=("scenes=none", "text=none")),
    "majority": Row(name="scenes by majority", settings=("scenes=majority", "text=none")),
    "soft": Row(name="soft scenes", settings=("scenes=soft", "text=none")),
    "city": Row(name="soft scenes, text of the city", settings=("scenes=soft", "text=city")),
    "all": Row(name="soft scenes, text of all levels", settings=("scenes=soft", "text=all")),
    # Why: the sum over the batch weighs alignment twelve times; and what it does without scenes.
    "all-mean": Row(name="… alignment averaged", settings=("scenes=soft", "text=all", "tla_reduction=mean")),
    "text-alone": Row(name="text of all levels alone", settings=("scenes=none", "text=all")),
}
TABLE = ("heads", "majority", "soft", "city", "all")
EVALUATIONS = {
    "codependent": ("evaluation=codependent", "multiply=true"),
    "independent": ("evaluation=independent", "multiply=true"),
    "traced": ("evaluation=codependent", "multiply=false"),  # what the published code does
    "none": ("evaluation=independent", "multiply=false"),
}


class NameHash:
    """The stand-in for CLIP's text tower: names as sums of vectors of their pieces."""

    spec = EncoderSpec(
        name="pieces", dim=TEXT_DIM, weights="none", weights_hash="none", preprocessing="three letters", settings={}
    )

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.from_numpy(np.stack([self._vector(text) for text in texts]).astype(np.float32))

    @staticmethod
    def _vector(text: str) -> Floats:
        padded = f"  {text.lower()} "
        pieces = {padded[at : at + 3] for at in range(len(padded) - 2)}
        return np.sum([np.random.default_rng(zlib.crc32(p.encode())).normal(size=TEXT_DIM) for p in pieces], axis=0)


def looks(world: World, plan: ClipPlan) -> Floats:
    """How closed off and how green the view of each frame of a drive is, degrees: [T, 2]."""
    drive, scene = drive_of(plan), world.scene(plan.city)
    conditions = draw_conditions(np.random.default_rng([plan.world_seed, 6, plan.number]))
    found = []
    for time_s, latlon_deg, heading_deg in zip(drive.time_s, drive.latlon_deg, drive.heading_deg, strict=True):
        camera = street_view.place_camera(scene, latlon_deg, float(heading_deg), conditions, float(time_s), plan.size)
        hits = rays.cast(scene, camera.uv_m, camera.ahead + camera.columns()[:, None] * camera.aside)
        above_m = scene.lots.height_m[hits.lot] - street_view.CAMERA_M
        closed = np.degrees(np.arctan2(above_m, hits.depth_m)) * hits.found
        offset = scene.trees.uv_m - camera.uv_m
        depth, aside = offset @ camera.ahead, offset @ camera.aside
        seen = (depth > 1.5) & (depth < TREES_SEEN_M) & (np.abs(aside) < depth * camera.width / 2 / camera.focal_px)
        column = (camera.width / 2 + camera.focal_px * aside[seen] / depth[seen]).astype(int)
        clear = depth[seen] < hits.depth_m[column.clip(0, camera.width - 1)]
        green = np.degrees(np.arctan2(scene.trees.height_m[seen], depth[seen]))[clear].sum()
        found.append((float(closed.mean()), float(green)))
    return np.array(found)


def shares(looks_T2: Floats, steps: Floats) -> Floats:
    """Of a clip's frames, the shares [16] that are of each kind; steps: three bounds of each look, [2, 3]."""
    closed, green = (np.searchsorted(steps[k], looks_T2[:, k]) for k in (0, 1))
    return np.bincount(4 * closed + green, minlength=len(GROUPS)) / len(looks_T2)


def write_world_scenes(path: Path, world: World, plans: Sequence[ClipPlan]) -> None:
    """Write scenes.csv of all drives, in steps that divide those to learn from evenly."""
    seen = {plan.video_id: looks(world, plan) for plan in plans}
    learnt = np.concatenate([seen[plan.video_id] for plan in plans if plan.split == "train"])
    steps = np.quantile(learnt, (0.25, 0.5, 0.75), axis=0).T
    rows = [ClipScenes(video_id=name, frames=len(one), shares=shares(one, steps)) for name, one in seen.items()]
    write_scenes(path, rows)


def command(words: Sequence[str], verbose: bool) -> None:
    """Run one command; stop where it fails."""
    if verbose:
        print("$", shlex.join(["vgeo", *words]), file=sys.stderr, flush=True)
    if code := run(["-q", *words]):
        raise SystemExit(code)


def prepare(size: Size, seed: int, verbose: bool) -> None:
    """Make frames, scenes and the cities with their text, in the current folder; what is there already stays."""
    world, shape = World(seed, size.cities), (size.frame_px, size.frame_px)
    planned = {"val_share": size.val_share, "rate_hz": 1.0, "size": shape}
    make_clips(Path("clips"), world, size.clips, size.seconds, workers=2, **planned)
    for part in ("train", "val"):
        words = ["extract-frames", f"clips/{part}", "--rate-hz", "1", "--out", f"frames-{part}"]
        if not Path(f"frames-{part}/frames.jsonl").exists():
            command([*words, "--labels", "clips/clips.csv"], verbose)
    if not Path("scenes.csv").exists():
        write_world_scenes(Path("scenes.csv"), world, plan_clips(world, size.clips, size.seconds, **planned))
    if not Path("cities.h5").exists():
        command(["build-gallery", "cities", "clips/clips.csv", "--out", "centres.h5"], verbose)
        write_gallery("cities.h5", with_text(read_gallery("centres.h5"), NameHash()))


def train_words(key: str, size: Size, seed: int, more: Sequence[str]) -> list[str]:
    """The command that trains a row."""
    words = ["train", "frames-train", "--method", "cityguessr", "--gallery", "cities.h5", "--scenes", "scenes.csv"]
    words += ["--val-fraction", "0", "--seed", str(seed), "--epochs", str(size.epochs), "--out", f"models/{key}-{seed}"]
    settings = (*COMMON, *ROWS[key].settings, *more)
    return [*words, "--overwrite", *(word for setting in settings for word in ("--set", setting))]


def localize_words(key: str, seed: int, evaluation: str) -> list[str]:
    """The command that places the held-out drives."""
    words = ["localize", "frames-val", "--model", f"models/{key}-{seed}", "--out", f"{key}-{seed}-{evaluation}.geojson"]
    return [*words, "--overwrite", *(word for setting in EVALUATIONS[evaluation] for word in ("--set", setting))]


def score_words(name: str) -> list[str]:
    words = ["score-places", f"{name}.geojson", "--truth", "clips/clips.csv", "--format", "json"]
    return [*words, "--out", f"{name}.json", "--overwrite"]


def measure(
    key: str, size: Size, seed: int, evaluation: str = "codependent", more: Sequence[str] = (), verbose: bool = False
) -> list[float]:
    """Train a row, unless it was, and return the share of held-out drives that it names rightly at each level."""
    name = f"{key}-{seed}-{evaluation}"
    if not Path(f"{name}.json").exists():
        if not Path(f"models/{key}-{seed}/model.safetensors").exists():
            command(train_words(key, size, seed, more), verbose)
        command(localize_words(key, seed, evaluation), verbose)
        command(score_words(name), verbose)
    report = json.loads(Path(f"{name}.json").read_text())
    return [report[level]["top1_percent"] for level in LEVELS]


def line(name: str, found: Sequence[Sequence[float]]) -> str:
    """A row of the table: mean and standard deviation over the seeds."""
    values = np.array(found)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    cells = [f"{mean:.1f} ± {one:.1f}" for mean, one in zip(values.mean(axis=0), spread, strict=True)]
    return f"| {name} | " + " | ".join(cells) + " |"


def describe() -> str:
    """The size of what was made."""
    with Path("clips/clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    counted = {level: len({row[level] for row in rows}) for level in LEVELS}
    held = sum(row["split"] == "val" for row in rows)
    return f"{len(rows) - held} drives to learn from, {held} held out; {counted}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("folder", type=Path, help="keep everything here, and go on from what is here")
    options.add_argument("--seeds", type=int, default=3, help="trainings of each row")
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--rows", default=",".join(TABLE), help=f"of {','.join(ROWS)}")
    options.add_argument("--world", type=int, default=WORLD_SEED, help="seed of the world")
    options.add_argument("--quick", action="store_true", help="a tiny world and one epoch")
    options.add_argument("--epochs", type=int, help="of each training; else 30")
    options.add_argument("--set", action="append", default=[], dest="more", help="another setting, for all rows")
    options.add_argument("--verbose", action="store_true", help="print the commands")
    said = options.parse_args()
    size, began = QUICK if said.quick else Size(), time.monotonic()
    size = replace(size, epochs=said.epochs or size.epochs)
    seeds = range(said.first_seed, said.first_seed + said.seeds)
    keys = said.rows.split(",")
    said.folder.mkdir(parents=True, exist_ok=True)
    with chdir(said.folder):
        prepare(size, said.world, said.verbose)
        print(f"world {said.world}: {describe()}; made in {time.monotonic() - began:.0f} s", flush=True)
        print(f"| | {' | '.join(LEVELS)} |\n|---|---|---|---|---|")
        for key in keys:
            found = [measure(key, size, seed, more=said.more, verbose=said.verbose) for seed in seeds]
            print(line(ROWS[key].name, found), flush=True)
        for evaluation in EVALUATIONS:
            found = [measure(keys[-1], size, seed, evaluation, said.more, said.verbose) for seed in seeds]
            print(line(f"{ROWS[keys[-1]].name}: {evaluation}", found), flush=True)
        last = f"{keys[-1]}-{said.first_seed}-codependent"
        command(["score-places", f"{last}.geojson", "--truth", "clips/clips.csv", "--out", f"{last}.txt",
                 "--confusion", "confusion.png", "--overwrite"], said.verbose)  # fmt: skip
    print(f"{said.folder / 'confusion.png'}; {time.monotonic() - began:.0f} s, {said.seeds} seeds")


if __name__ == "__main__":
    main()
