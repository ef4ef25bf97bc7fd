"""A folder in which every command has what it needs, small enough that each takes a fraction of a second.

clips/ (three videos), frames/, clips.csv, features.h5 (gist, with positions and labels), near.h5 (features), grid.h5,
cities.h5, models/geoclip, tracks.geojson. All of it is made by the program itself, in forks.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import forks

sys.path.append(str(Path(__file__).resolve().parents[1]))

from clipmaker import make_video

TRAIN = (
    "--set", "init=scratch", "--set", "sigmas=1,1024", "--set", "fourier=8", "--set", "location_width=16",
    "--set", "location_depth=1", "--set", "embed_dim=16", "--set", "image_width=16", "--set", "batch_frames=8",
    "--set", "warmup_steps=0", "--device", "cpu", "--gallery", "grid.h5",
)  # fmt: skip
CITIES = (("Lund", "Sweden", 55.70, 13.19), ("Ghent", "Belgium", 51.05, 3.72), ("Graz", "Austria", 47.07, 15.44))
STEPS: tuple[tuple[str, ...], ...] = (
    ("extract-frames", "clips", "--rate-hz", "2", "-o", "frames", "--labels", "clips.csv"),
    ("precompute-features", "frames", "-e", "gist", "--device", "cpu", "-o", "features.h5"),
    ("build-gallery", "grid", "features.h5", "--spacing-km", "0.4", "-o", "grid.h5"),
    ("build-gallery", "points", "features.h5", "--keep-features", "-o", "near.h5"),
    ("build-gallery", "cities", "clips.csv", "-o", "cities.h5"),
    ("train", "features.h5", *TRAIN, "--epochs", "1", "-o", "models/geoclip"),
    ("localize", "features.h5", "-m", "nearest", "-g", "near.h5", "-o", "tracks.geojson"),
)

# What commands take of small honest files: their libraries, beside which the memory of others is held.
HONEST: tuple[tuple[str, ...], ...] = (
    ("train", "features.h5", *TRAIN, "--epochs", "1", "-o", "out"),
    ("localize", "features.h5", "-m", "nearest", "-g", "near.h5", "-o", "out.csv"),
    ("precompute-features", "frames", "-e", "gist", "--device", "cpu", "-o", "out.h5"),
    ("score-trajectory", "tracks.geojson", "--truth", "features.h5"),
    ("extract-frames", "clips/v0.mp4", "--count", "1", "-o", "out"),
    ("build-gallery", "points", "features.h5", "-o", "out.csv"),
)


def make_world(here: Path, steps: Sequence[Sequence[str]] = STEPS) -> None:
    """Fill the folder by these steps."""
    (here / "clips").mkdir(parents=True)
    table = ["path,city,country,split"]
    for number, (city, country, lat, lon) in enumerate(CITIES):
        make_video(here / "clips" / f"v{number}.mp4", frames=45, rate=15, size=(160, 128))
        fixes = [f"{t},{lat + t * 1e-3:.6f},{lon + t * 1e-3:.6f}" for t in range(4)]
        (here / "clips" / f"v{number}.csv").write_text("\n".join(["time_s,lat,lon", *fixes]) + "\n")
        table.append(f"v{number}.mp4,{city},{country},{('train', 'test')[number == 0]}")
    (here / "clips.csv").write_text("\n".join(table) + "\n")
    for step in steps:
        ran = forks.fork(step, here, env={"XDG_CACHE_HOME": str(here / "cache")})
        if ran.code != 0:
            raise RuntimeError(f"vgeo {' '.join(step)} ended with {ran.code}: {ran.stderr}")
