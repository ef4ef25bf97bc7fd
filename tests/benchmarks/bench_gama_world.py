"""Does each component of GAMa do what its paper says? Its tables 3, 5 and 6 on the procedural world, from nothing.

Run as a script: `python tests/benchmarks/bench_gama_world.py FOLDER [--seeds 0,1,2] [--rows A,B] [--quick]`. Galleries
and models are made by the commands that a user would type (--verbose prints them); what FOLDER has already is not made
again, so an interrupted run goes on, and several may train different seeds in one folder once its world is made. A
seed is that of weights and batches; the world stays. The last epoch counts.

Every second of a held-out drive is a query, and the gallery is the tiles centred on these very seconds (CN) or, for
UCN, the tiles of the map under them. `known`: other drives through the streets trained on, most of whose places
training has seen; `new`: another world, no place of which it has. `train`: drives that were trained on.

Shapes: N queries, G tiles, K places of a ranking, V videos, R regions.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from gama_world_search import CPU, Figures, chance_of, figures, gallery_of, path, percent, region_figures, search
from numpy.typing import NDArray

from vgeo.cli import run
from vgeo.formats.gallery import read_gallery
from vgeo.formats.rankings import ranked, write_rankings
from vgeo.geo.mercator import map_position
from vgeo.geo.sphere import distance_km
from vgeo.geo.tiles import ZOOM, position
from vgeo.search.exact import top_k
from vgeo.search.hierarchical import top_k_within
from vgeo.stages.hierarchy import RegionRanking, Screen
from vgeo.stages.models import load_model
from vgeo.stages.regions import how_many, members
from vgeo.stages.smoothing import CANDIDATES
from vgeo.world.clips import ClipPlan, drive_of, make_clips, make_tiles, plan_clips
from vgeo.world.world import World

Floats = NDArray[np.float64]
Results = dict[str, Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the world and the budget are."""

    cities: int = 4
    drives: int = 240  # over the cities in turn; the last fifth of each city's are held out
    new_drives: int = 24  # in the other world
    val_share: float = 0.2
    seconds: float = 16.0
    radius_m: float = 300.0
    render_px: tuple[int, int] = (128, 72)
    tile_px: int = 64  # as they are made; GAMa's have 256
    seen_px: int = 48  # that the models bring them to
    across: int = 3  # tiles a side of a region: here a drive is 140 m long, GAMa's 400
    batch: int = 16  # videos
    epochs: int = 60
    screening_epochs: int = 60  # of each of its two trainings
    sequence: int = 8
    width: int = 16


QUICK = Size(cities=2, drives=12, new_drives=4, val_share=0.34, seconds=6.0, epochs=1, screening_epochs=1, batch=4)
WORLD_SEED = 0
RATE = 1e-3  # the published 8e-5 is for pretrained encoders
KEEP = ("10%", "25%", "50%")  # of the regions: of 48, 1% would be none

Settings = tuple[str, ...]
PLAIN: Settings = ("transformer=none", "augment=crop", "early_s=0", "hard_negative=false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model: what the paper calls it, and what `vgeo train` is told."""

    name: str
    settings: Settings = ()
    ucn: bool = False  # tiles as the map is cut
    longer: int = 1  # times as many epochs


ROWS: Mapping[str, Row] = {
    "image": Row(name="Image-CBn", settings=("ground=image", *PLAIN)),
    "cbn": Row(name="CBn", settings=PLAIN),
    "combined": Row(name="Combined", settings=("transformer=none",)),
    "gama": Row(name="GAMa-Net"),
    # Why: dropout after each of 8 blocks is too much for so little training.
    "cbn-dropout": Row(name="CBn, ground_dropout=0.3", settings=(*PLAIN, "ground_dropout=0.3")),
    "gama-dropout": Row(name="GAMa-Net, ground_dropout=0.3", settings=("ground_dropout=0.3",)),
    # Why: what is harder to learn needs longer.
    "cbn-long": Row(name="CBn, 4 times as long", settings=PLAIN, longer=4),
    "combined-long": Row(name="Combined, 4 times as long", settings=("transformer=none",), longer=4),
    "cbn-ucn": Row(name="CBn, UCN", settings=PLAIN, ucn=True),
    "stem": Row(name="GAMa-Net, aerial_stem=torchvision", settings=("aerial_stem=torchvision",)),
    "triplet": Row(name="Triplet-Bn", settings=("loss=triplet", *PLAIN)),
    "video": Row(name="Video-Tx", settings=("transformer=video",)),
    "dual": Row(name="Dual-Tx", settings=("transformer=both",)),
}
TABLE = ("image", "cbn", "combined", "gama", "cbn-ucn", "stem")
SEARCHED = "gama"  # the row that the screening networks and the paths continue
CITY_MI = 5.0
PARTS = ("known", "new", "train")
HEAD = ("exact", "R@1", "R@5", "R@10", "R@1%", "0.1 mi", "0.2 mi", "0.5 mi", "1.0 mi", "median m")


def common(size: Size) -> Settings:
    """What all models are told: they are small, and start from nothing."""
    late = (max(1, size.epochs * 6 // 10), max(1, size.epochs * 17 // 20))
    return (
        "init=scratch", f"width={size.width}", "embed_dim=128", "heads=2", "feedforward=128", "frame_px=18,36",
        "crop_px=16,32", "ground_dropout=0", f"tile_px={size.seen_px}", f"tile_crop_px={size.seen_px * 7 // 8}",
        f"learning_rate={RATE}", f"milestones={late[0]},{late[1]}",
    )  # fmt: skip


def command(words: Sequence[str], verbose: bool) -> None:
    """Run one command; stop where it fails."""
    if verbose:
        print("$", shlex.join(["vgeo", *words]), file=sys.stderr, flush=True)
    if code := run(["-q", *words]):
        raise SystemExit(code)


# The world


def prepare(size: Size, seed: int, verbose: bool) -> None:
    """Make drives, frames, tiles and galleries in the current folder; what is there already stays."""
    for folder, world, drives, share in (
        (Path("."), World(seed, size.cities), size.drives, size.val_share),
        (Path("new"), World(seed + 1, size.cities), size.new_drives, 0.99),
    ):
        shape = {"val_share": share, "rate_hz": 15.0, "size": size.render_px, "radius_m": size.radius_m}
        make_clips(folder / "clips", world, drives, size.seconds, workers=2, **shape)
        plans = plan_clips(world, drives, size.seconds, **shape)
        make_tiles(folder / "tiles", world, _tiles_of(plans, size.across), size_px=size.tile_px)
        if folder == Path("."):
            _extract(folder, "train", "frames-train", verbose)
        _extract(folder, "val", "frames-val", verbose)
    for part in ("train", "val"):
        _gallery("tiles", f"tiles-{part}.h5", ["--around", f"frames-{part}"], verbose)
        regions = ["--regions", "--across", str(size.across), "--step", "1", "--around", f"frames-{part}"]
        _gallery("tiles", f"regions-{part}.h5", regions, verbose)
    _gallery("new/tiles", "new/tiles-val.h5", ["--around", "new/frames-val"], verbose)
    _gallery("tiles", "map.h5", [], verbose)
    _gallery("new/tiles", "new/map.h5", [], verbose)


def _extract(folder: Path, part: str, out: str, verbose: bool) -> None:
    if not (folder / out / "frames.jsonl").exists():
        command(["extract-frames", f"{folder}/clips/{part}", "--rate-hz", "15", "--out", f"{folder}/{out}"], verbose)


def _gallery(tiles: str, out: str, more: Sequence[str], verbose: bool) -> None:
    if not Path(out).exists():
        command(["build-gallery", "aerial", tiles, *more, "--out", out], verbose)


def _tiles_of(plans: Sequence[ClipPlan], across: int) -> Floats:
    """Middles of all tiles that crops around the drives, and regions around their middles, are cut from: [N, 2]."""
    found = set()
    for plan in plans:
        at = map_position(drive_of(plan).latlon_deg, ZOOM)
        middle, half = (at.min(0) + at.max(0)) / 2, across / 2 + 0.2
        found |= {(x, y) for d in _CORNERS for x, y in np.floor(at + 0.6 * np.array(d)).astype(int).tolist()}
        low, high = np.floor(middle - half).astype(int), np.floor(middle + half).astype(int)
        found |= {(x, y) for x in range(low[0], high[0] + 1) for y in range(low[1], high[1] + 1)}
    return np.array([position(x + 0.5, y + 0.5, ZOOM) for x, y in sorted(found)])


_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


# Training


def train(key: str, size: Size, seed: int, verbose: bool) -> None:
    """Train a row's model, unless it was."""
    row = ROWS[key]
    size = replace(size, epochs=size.epochs * row.longer)
    words = ["train", "frames-train", "--method", "gama", "--gallery", "map.h5" if row.ucn else "tiles-train.h5"]
    words += _budget(size.epochs, size.batch, seed)
    _train(words, f"models/{key}-{seed}", (*common(size), *row.settings), verbose)


def train_screening(size: Size, seed: int, verbose: bool) -> None:
    """Train the screening network on true sequences, and go on with those that GAMa-Net predicts for train drives."""
    words = ["train", "frames-train", "--gallery", "regions-train.h5", "--tiles", "tiles-train.h5"]
    words += _budget(size.screening_epochs, size.batch, seed)
    late = f"{size.screening_epochs * 6 // 10 or 1},{size.screening_epochs * 17 // 20 or 1}"
    settings = (
        "init=scratch", f"width={size.width}", "embed_dim=128", f"sequence={size.sequence}", f"tile_px={size.seen_px}",
        f"tile_crop_px={size.seen_px * 7 // 8}", f"learning_rate={RATE}", f"milestones={late}",
        f"predicted_milestones={late}", "aerial_stem=torchvision",  # the published one takes four times as long
    )  # fmt: skip
    true, predicted = f"models/screening-{seed}", f"models/screening-predicted-{seed}"
    _train([*words, "--method", "screening", "--phase", "true"], true, settings, verbose)
    if not _trained(predicted):
        model, gallery = load_model(f"models/{SEARCHED}-{seed}"), read_gallery("tiles-train.h5")
        found = search(model, "frames-train", gallery)
        names = [f"{found.videos[v]}_{second:.0f}" for v, second in zip(found.video, found.time_s, strict=True)]
        best = top_k(found.queries, found.keys, 1).index_NK.numpy()
        write_rankings(f"train-{seed}.json", ranked(names, [str(name) for name in gallery.labels["tile"]], best))
    words += ["--method", "screening", "--phase", "predicted", "--from", true, "--rankings", f"train-{seed}.json"]
    _train(words, predicted, (f"learning_rate={RATE / 3:g}",), verbose)


def _budget(epochs: int, batch: int, seed: int) -> list[str]:
    return ["--val-fraction", "0", "--epochs", str(epochs), "--batch-size", str(batch), "--seed", str(seed)]


def _train(words: Sequence[str], out: str, settings: Settings, verbose: bool) -> None:
    if _trained(out):
        return
    began, cpu = time.monotonic(), time.process_time()
    told = [word for setting in settings for word in ("--set", setting)]
    command([*words, "--out", out, "--overwrite", *told], verbose)
    Path(out, "seconds.json").write_text(json.dumps([time.monotonic() - began, time.process_time() - cpu]))


def _trained(folder: str) -> bool:
    return Path(folder, "seconds.json").exists()


# Measuring


def measure(key: str, size: Size, seed: int, verbose: bool) -> Results:
    """Train a row and measure it on all parts, unless that was done."""
    kept = Path(f"{key}-{seed}.json")
    if not kept.exists():
        train(key, size, seed, verbose)
        model, said = load_model(f"models/{key}-{seed}"), {}
        for part in PARTS:
            found = search(model, *gallery_of(part, ROWS[key].ucn))
            order = top_k(found.queries, found.keys, len(found.gallery)).index_NK.numpy()
            said[part] = figures(order, found, ROWS[key].ucn)
        wall, cpu = json.loads(Path(f"models/{key}-{seed}/seconds.json").read_text())
        said["seconds"] = {"wall": wall, "cpu": cpu}
        kept.write_text(json.dumps(said))
    return json.loads(kept.read_text())


def measure_searches(size: Size, seed: int, verbose: bool) -> Results:
    """The hierarchical search and the path, on the held-out drives; by what they are called."""
    kept = Path(f"searches-{seed}.json")
    if kept.exists():
        return json.loads(kept.read_text())
    measure(SEARCHED, size, seed, verbose)
    train_screening(size, seed, verbose)
    model, regions = load_model(f"models/{SEARCHED}-{seed}"), read_gallery("regions-val.h5")
    found = search(model, *gallery_of("known", False))
    scale, count = model.retriever.scale, len(found.gallery)
    assert scale is not None
    whole = top_k(found.queries, found.keys, min(CANDIDATES, count), scale=scale)
    order = whole.index_NK.numpy()
    said = {"Viterbi": figures(path(found, order, whole.scores_NK, whole.log_total_N, scale), found)}
    inside = members(regions, found.gallery)
    for phase, folder in (("true", f"screening-{seed}"), ("predicted", f"screening-predicted-{seed}")):
        rank = RegionRanking(Screen(model=load_model(f"models/{folder}"), regions=regions), found.gallery, CPU)
        sequences = (order[found.video == v, 0] for v in range(len(found.videos)))
        regions_VR = np.stack([rank(tiles, len(regions)) for tiles in sequences])
        said[f"regions, {phase}"] = region_figures(regions_VR, found, regions)
        for keep in KEEP:
            few = regions_VR[:, : how_many(keep, len(regions))]
            top = top_k_within(found.queries, found.keys, found.video, few, inside, count, scale=scale)
            rows = top.index_NK.numpy()
            said[f"Hierarchical {keep}, {phase}"] = figures(rows, found)
            best = path(found, rows[:, :CANDIDATES], top.scores_NK[:, :CANDIDATES], top.log_total_N, scale)
            said[f"Hierarchical {keep}, {phase}, Viterbi"] = figures(best, found)
    kept.write_text(json.dumps(said))
    return said


# The table


def line(name: str, found: Sequence[Figures]) -> str:
    """A row: mean and standard deviation over the seeds."""
    cells = []
    for column in HEAD:
        values = np.array([one.get(column, np.nan) for one in found])
        digits = 0 if column == "median m" else 1
        spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 and np.isfinite(values).all() else ""
        cells.append(f"{values.mean():.{digits}f}{spread}" if np.isfinite(values).all() else "-")
    return f"| {name} | {' | '.join(cells)} |"


def describe(size: Size, seed: int) -> str:
    """The size of what was made."""
    galleries = {name: read_gallery(f"{name}.h5") for name in ("tiles-train", "tiles-val", "new/tiles-val", "map")}
    videos = {name: len(set(one.labels["video"])) for name, one in galleries.items() if name != "map"}
    near_km = distance_km(galleries["tiles-val"].latlon_deg[:, None], galleries["tiles-train"].latlon_deg).min(1)
    return (
        f"worlds {seed} and {seed + 1}: {size.cities} cities each, {2 * size.radius_m:g} m across; "
        f"{videos['tiles-train']} drives of {size.seconds:g} s ({len(galleries['tiles-train'])} clips and tiles) to "
        f"learn from; held out {videos['tiles-val']} drives ({len(galleries['tiles-val'])} clips and tiles), "
        f"{percent(near_km <= 0.01):.0f} % of whose clips are within 10 m of one trained on, and "
        f"{videos['new/tiles-val']} ({len(galleries['new/tiles-val'])}) in the other world; "
        f"{len(galleries['map'])} tiles of the map"
    )


def table(keys: Sequence[str], size: Size, seeds: Sequence[int], verbose: bool, made: bool = False) -> None:
    """Train and measure what is missing, and print all. made: leave out what is missing instead."""
    done = {
        key: [measure(key, size, seed, verbose) for seed in seeds if not made or Path(f"{key}-{seed}.json").exists()]
        for key in keys
    }
    searches = [
        measure_searches(size, seed, verbose)
        for seed in seeds
        if SEARCHED in keys and (not made or Path(f"searches-{seed}.json").exists())
    ]
    done = {key: found for key, found in done.items() if found}
    for part in PARTS:
        print(f"\n{part}\n\n| | {' | '.join(HEAD)} |\n|{'---|' * (len(HEAD) + 1)}")
        print_part(part, done, searches)
    print("\n| | seeds | wall s | CPU s |\n|---|---|---|---|")
    for key, found in done.items():
        seconds = [np.mean([one["seconds"][what] for one in found]) for what in ("wall", "cpu")]
        print(f"| {ROWS[key].name} | {len(found)} | {' | '.join(f'{value:.0f}' for value in seconds)} |")
    for name in searches[0] if searches else ():
        if name.startswith("regions"):
            shares = {k: np.mean([one[name][k] for one in searches]) for k in searches[0][name]}
            print(f"\n{name}: {', '.join(f'{k} {value:.1f}' for k, value in shares.items())}")


def print_part(part: str, done: Mapping[str, Sequence[Results]], searches: Sequence[Results]) -> None:
    """The lines of one part, the searches after the row that they continue."""
    for ucn in sorted({ROWS[key].ucn for key in done}):
        for name, within_mi in (("chance", np.inf), ("chance in the right city", CITY_MI)):
            print(line(f"{name}{', UCN' if ucn else ''}", [chance_of(part, ucn, within_mi)]))
    for key, found in done.items():
        print(line(ROWS[key].name, [one[part] for one in found]))
        if key == SEARCHED and part == "known":
            for name in searches[0] if searches else ():
                if not name.startswith("regions"):
                    print(line(f"… {name}", [one[name] for one in searches]))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("folder", type=Path, help="keep everything here, and go on from what is here")
    options.add_argument("--seeds", default="0,1,2", help="of each row's trainings")
    options.add_argument("--rows", default=",".join(TABLE), help=f"of {','.join(ROWS)}")
    options.add_argument("--world", type=int, default=WORLD_SEED, help="seed of the world")
    options.add_argument("--quick", action="store_true", help="a tiny world and one epoch")
    options.add_argument("--epochs", type=int, help="of each training of GAMa-Net")
    options.add_argument("--made", action="store_true", help="show what is there, and train nothing")
    options.add_argument("--threads", type=int, default=1, help="of PyTorch")
    options.add_argument("--verbose", action="store_true", help="print the commands")
    said = options.parse_args()
    torch.set_num_threads(said.threads)
    size, began = QUICK if said.quick else Size(), time.monotonic()
    size = replace(size, epochs=said.epochs or size.epochs)
    said.folder.mkdir(parents=True, exist_ok=True)
    with chdir(said.folder):
        prepare(size, said.world, said.verbose)
        print(f"{describe(size, said.world)}; made in {time.monotonic() - began:.0f} s", flush=True)
        seeds = [int(seed) for seed in said.seeds.split(",")]
        table(said.rows.split(","), size, seeds, said.verbose, said.made)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
