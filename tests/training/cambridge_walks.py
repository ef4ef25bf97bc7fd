"""Train VidTAG on walks through real street views of Cambridge, and measure what each component brings.

As a script: `python tests/training/cambridge_walks.py [SEEDS] [ROW]... [KEY=VALUE]...` trains each row once a seed by
`vgeo train` and scores the tracks of unseen places by `vgeo localize` and `vgeo score-trajectory`.

A walk is a chain of neighbouring places, turning less than 70 degrees, seen in the heading nearest to the direction of
travel. Walks of validation go over validation places alone, which are every fifth: their steps are longer (up to 40 m)
and most chains end before 16 frames. Walks of training go over training places alone, with steps of either kind.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cambridge import DATA, ENCODER
from numpy.typing import NDArray

from vgeo.cli import run
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.features import FeatureWriter

FRAMES = 16
STEP_M = {"train": (16.0, 40.0), "val": (40.0,)}  # validation places are every fifth
WALKS_A_PLACE = {"train": 6, "val": 1}
TURN_DEG = 70.0


class Places:
    """Street views by place: positions on a plane and, for each of four headings, a descriptor."""

    def __init__(self, path: Path) -> None:
        arrays = dict(np.load(path, allow_pickle=False))
        self.numbers, first = np.unique(arrays["place"], return_index=True)
        self.latlon_deg = np.stack([arrays["lat_deg"][first], arrays["lon_deg"][first]], 1)
        north = (self.latlon_deg[:, 0] - self.latlon_deg[0, 0]) * 111_195
        east = (self.latlon_deg[:, 1] - self.latlon_deg[0, 1]) * 111_195 * np.cos(np.radians(self.latlon_deg[0, 0]))
        self.plane_m = np.stack([east, north], 1)
        self.views = np.zeros((len(first), 4, arrays["features"].shape[1]), np.float16)
        at = np.searchsorted(self.numbers, arrays["place"])
        self.views[at, arrays["heading_deg"] // 90 % 4] = arrays["features"]

    def walk(self, start: int, step_m: float, rng: np.random.Generator) -> list[int]:
        """Go on from a place to a random neighbour ahead, until there is none or the walk is long enough."""
        walk, ahead = [start], np.zeros(2)
        while len(walk) < FRAMES:
            offset = self.plane_m - self.plane_m[walk[-1]]
            distance = np.linalg.norm(offset, axis=1)
            straight = offset @ ahead > np.cos(np.radians(TURN_DEG)) * distance if len(walk) > 1 else distance >= 0
            near = (distance < step_m) & (distance > 0) & straight
            near[walk] = False
            if not near.any():
                break
            walk.append(int(rng.choice(np.flatnonzero(near))))
            ahead = offset[walk[-1]] / distance[walk[-1]]
        return walk

    def seen(self, walk: list[int], rng: np.random.Generator) -> NDArray[np.float16]:
        """Descriptors along a walk; who stands still looks anywhere."""
        if len(walk) == 1:
            return self.views[walk, [rng.integers(4)]]
        steps = np.diff(self.plane_m[walk], axis=0)
        steps = np.concatenate([steps, steps[-1:]])
        heading_deg = np.degrees(np.arctan2(steps[:, 0], steps[:, 1]))
        return self.views[walk, np.round(heading_deg / 90).astype(int) % 4]


def walks(places: Places, name: str, seed: int = 0) -> Iterator[tuple[list[int], NDArray[np.float16]]]:
    """Walks from every place; of five tries the longest one."""
    rng = np.random.default_rng([seed, len(name)])
    for start in range(len(places.numbers)):
        for step_m in STEP_M[name]:
            for _ in range(WALKS_A_PLACE[name]):
                walk = max((places.walk(start, step_m, rng) for _ in range(5)), key=len)
                yield walk, places.seen(walk, rng)


def write_walks(data: Path, folder: Path) -> tuple[Path, Path]:
    """Write a feature file of walks for training and one for validation."""
    paths = []
    for name in ("train", "val"):
        places = Places(data / f"{name}.npz")
        paths.append(folder / f"walks_{name}.h5")
        spec = EncoderSpec(
            name=ENCODER, dim=512, weights="squeezenet-imagenet", weights_hash="published",
            preprocessing="640x640, Caffe-style, GeM, L2", settings={},
        )  # fmt: skip
        with FeatureWriter(paths[-1], {ENCODER: spec}, "walks", "images") as writer:
            for number, (walk, features) in enumerate(walks(places, name)):
                latlon = places.latlon_deg[walk]
                writer.add(f"{name}{number:05d}", {ENCODER: features}, np.arange(len(walk)), latlon)
            writer.finish()
    return paths[0], paths[1]


# Chosen on these validation places (as tests/training/cambridge.py says of its own), the same for all rows.
LADDER = ("sigmas=2048,8192,32768", "target_radius_km=0.01")
COMMON = ("init=scratch", "location_width=256", "location_depth=1", "mlp_widths=2048", "batch_clips=16",
          "warmup_steps=20", "epochs=3", "decay_per_epoch=0.5")  # fmt: skip
FRAMES_ALONE = ("temp_geo=false", "geo_refiner=false", "learning_rate=1e-3")
TEMP_GEO = ("learning_rate=3e-4",)
REFINER = ("refine_epochs=3", "refine_learning_rate=3e-4", "refine_decay_per_epoch=0.5")
# Appendix A's noise is that of a data set whose median error is 1.4 km; here errors are a hundred times smaller.
SMALL_NOISE = ("jitter_deg=1e-5,3e-4", "shift_deg=1e-4")
ROWS = {
    "frames-published": (*COMMON, *FRAMES_ALONE),
    "frames": (*COMMON, *LADDER, *FRAMES_ALONE),
    "tempgeo": (*COMMON, *LADDER, *TEMP_GEO, "geo_refiner=false"),
    "georefiner-published": REFINER,  # phase II of the row before
    "georefiner": (*REFINER, *SMALL_NOISE),
}
WITHIN_KM = ("0.01", "0.025", "0.1")


def commands(folder: Path, row: str, seed: int, *settings: str) -> tuple[list[str], ...]:
    """The command lines of one row: train, localize by the last model (none is chosen on validation), score."""
    out = str(folder / f"{row}-{seed}")
    words = ["train", str(folder / "walks_train.h5"), "--method", "vidtag", "--val", str(folder / "walks_val.h5")]
    words += ["--gallery", str(folder / "grid.h5"), "--out", out, "--seed", str(seed), "--overwrite"]
    if row.startswith("georefiner"):
        words += ["--from", str(folder / f"tempgeo-{seed}" / "last"), "--phase", "refine", "--set", "geo_refiner=true"]
    train = words + [word for setting in (*ROWS[row], *settings) for word in ("--set", setting)]
    tracks = f"{out}.geojson"
    localize = [
        "-q",
        "localize",
        str(folder / "walks_val.h5"),
        "--model",
        f"{out}/last",
        "--out",
        tracks,
        "--no-places",
        "--overwrite",
    ]
    return train, localize, score_command(folder, tracks, f"{out}.json")


def score_command(folder: Path, tracks: str, out: str) -> list[str]:
    words = [
        "score-trajectory",
        tracks,
        "--truth",
        str(folder / "walks_val.h5"),
        "--out",
        out,
        "--format",
        "json",
        "--overwrite",
    ]
    return words + [word for km in WITHIN_KM for word in ("--within-km", km)]


def figures(path: Path) -> list[float]:
    """Median m, shares within 10, 25 and 100 m in percent, DFD and MRD in m."""
    report = json.loads(path.read_text())
    frame = report["frame"]
    shares = [frame[f"within_{km}_km"] for km in WITHIN_KM]
    return [1000 * frame["median_error_km"], *shares, 1000 * report["dfd_km_mean"], 1000 * report["mrd_km_mean"]]


def main(arguments: list[str]) -> None:
    """Train the rows once a seed and print a table of means and spreads."""
    seeds = int(arguments[0]) if arguments and arguments[0].isdigit() else 3
    rows = [word for word in arguments if word in ROWS] or list(ROWS)
    settings = [word for word in arguments if "=" in word]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, val = write_walks(DATA, folder)
        print("| | median m | 10 m % | 25 m % | 100 m % | DFD m | MRD m |\n|---|---|---|---|---|---|---|")
        assert run(["build-gallery", "grid", str(train), str(val), "--spacing-km", "0.01", "--margin-km", "0.02",
                    "--out", str(folder / "grid.h5")]) == 0  # fmt: skip
        for row in rows:
            found = []
            for seed in range(seeds):
                for words in commands(folder, row, seed, *settings):
                    assert run(words) == 0
                found.append(figures(folder / f"{row}-{seed}.json"))
            cells = " | ".join(
                f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(np.mean(found, 0), np.std(found, 0), strict=True)
            )
            print(f"| {row} | {cells} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
