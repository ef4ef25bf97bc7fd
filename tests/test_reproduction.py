"""The README's commands for the papers' tables, typed as they stand there, on small made-up data of the same shape.

The pictures, the weights and the papers' sizes are not at hand: pictures, feature files and weights are made up, and
training is made small by a --config beside each command.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cityguessrmaker
import gamamaker
import mslsmaker
import numpy as np
import pytest
import scenemaker
from PIL import Image
from textmaker import make_clip

from tests.test_readme import README
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.checkpoints import read_model
from vgeo.formats.features import FeatureWriter

SMALL = """
heads = 2
feedforward = 16
embed_dim = 16
fourier = 8
location_width = 16
location_depth = 1
batch_clips = 8
init = "scratch"
"""
SMALL_BACKBONE = """
init = "scratch"
frames = 4
image_px = 32
width = 16
layers = 1
heads = 2
mlp = 16
scene_widths = [16]
"""
SMALL_GAMA = """
init = "scratch"
width = 4
heads = 2
feedforward = 16
aerial_stem = "torchvision"
frame_px = [18, 34]
crop_px = [16, 32]
tile_px = 36
tile_crop_px = 32
tokens = 2
embed_dim = 16
"""
SMALL_SCREENING = """
init = "scratch"
width = 4
aerial_stem = "torchvision"
tile_px = 36
tile_crop_px = 32
embed_dim = 16
"""
CITIES = [
    ("Copenhagen", "Denmark", 55.68, 12.57),
    ("Zurich", "Switzerland", 47.37, 8.55),
    ("Agra", "India", 27.2, 78.0),
]
DIMS = {"clip": 12, "dinov2": 16, "siglip": 16}


def make(path: Path, clips: int, *, positions: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(2, max(DIMS.values())))
    specs = {
        name: EncoderSpec(name=name, dim=dim, weights="w", weights_hash="h", preprocessing="-", settings={})
        for name, dim in DIMS.items()
    }
    with FeatureWriter(path, specs, "1 Hz", "pyav") as writer:
        for number in range(clips):
            city, country, lat, lon = CITIES[number % len(CITIES)]
            track = np.array([lat, lon]) + rng.normal(0, 0.003, 2) + np.cumsum(rng.normal(0, 1e-4, (20, 2)), 0)
            features = {n: np.sin(track @ mixing[:, :dim]) + rng.normal(0, 0.1, (20, dim)) for n, dim in DIMS.items()}
            labels = {"city": city, "country": country, "split": "val" if number % 5 == 4 else "train"}
            where = track if positions else np.full_like(track, np.nan)
            writer.add(f"{path.stem}{number}", features, np.arange(20.0), where, labels=labels)
        writer.finish()


def section(paper: str) -> str:
    text = README[README.index(f"## Reproduce {paper}\n") :]
    return "".join(re.findall(r"```sh\n(.*?)```", text[: text.index("\n## ", 5)], re.DOTALL))


def type_all(paper: str, folder: Path, cases: str) -> str:
    """Run a section's commands in a folder, and return what they print. cases: of the shell, what to do otherwise."""
    program = folder / "bin" / "vgeo"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {folder}/typed
case "$*" in
{cases}
esac
exec {shlex.quote(sys.executable)} -m vgeo "$@"
"""
    )
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-e", "-c", section(paper)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{(folder / 'typed').read_text().splitlines()[-1]}\n{done.stderr[-1500:]}"
    return done.stdout


def trained(folder: Path) -> set[str]:
    return {path.parent.name for path in (folder / "models").glob("*/config.json")}


@pytest.mark.slow
def test_every_command_of_vidtag_runs(tmp_path: Path) -> None:
    for seed, (name, clips, positions) in enumerate(
        [("msls", 24, True), ("cityguessr", 20, False), ("gama", 18, True)]
    ):
        make(tmp_path / f"{name}.h5", clips, positions=positions, seed=seed)
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "geoclip.toml").write_text('init = "scratch"\nembed_dim = 16\nlocation_width = 16\nimage_width = 16\n')
    out = type_all(
        "VidTAG",
        tmp_path,
        f"""
  precompute-features*) exit 0;;
  localize*--method\\ geoclip*) exit 0;;
  train*--from*) set -- "$@" --epochs 1;;
  train*--method\\ vidtag*) set -- "$@" --config {tmp_path}/small.toml --epochs 1;;
  train*--method\\ geoclip*) set -- "$@" --config {tmp_path}/geoclip.toml --epochs 1;;
  build-gallery\\ grid*) set -- "$@" --max-points 100000;;
""",
    )
    assert '"dfd_km_mean"' in out and '"city"' in out
    assert {
        "vidtag",
        "phase1",
        "alpha-100",
        "mlp-1024,1024,768,768",
        "sigmas-4,16,256",
        "frames-4",
        "unified",
    } <= trained(tmp_path)


@pytest.mark.slow
def test_every_command_of_cityguessr_runs(tmp_path: Path) -> None:
    data = cityguessrmaker.make_tree(tmp_path / "CityGuessr68k", jpeg=True)
    cityguessrmaker.write_table(data / "labels.csv", cityguessrmaker.HEADER, cityguessrmaker.rows())
    mslsmaker.make_tree(tmp_path / "MSLS", jpeg=True)
    scenemaker.save(scenemaker.network(), tmp_path / "resnet50_places365.pth.tar")
    scenemaker.write_groups(tmp_path / "scene_hierarchy_places365.csv", scenemaker.memberships())
    (tmp_path / "text").mkdir()
    make_clip(tmp_path / "text")
    (tmp_path / "small.toml").write_text(SMALL_BACKBONE)
    out = type_all(
        "CityGuessr",
        tmp_path,
        f"""
  label-scenes*) set -- "$@" --count 2;;
  build-gallery*--text*) set -- "$@" --weights {tmp_path}/text;;
  train*) set -- "$@" --config {tmp_path}/small.toml --epochs 1;;
""",
    )
    (tmp_path / "out").write_text(out)
    scores = [line for line in out.splitlines() if line.startswith('  "matched_clips"')]
    assert scores == ['  "matched_clips": 6,'] * 3 + ['  "matched_clips": 4,'] * 2
    settings = {}
    for name in trained(tmp_path):
        model = read_model(tmp_path / "models" / name)
        settings[name] = tuple(model.config[key] for key in ("backbone", "scenes", "text"))
        assert model.config["init"] == "scratch" and len(model.config["classes"]) == 4
    ladder = {f"scenes-{scenes}": ("videomae", scenes, "none") for scenes in ("majority", "soft")}
    images = {f"mae-{frame}": ("mae", "none", "none") for frame in ("first", "middle", "last", "random")}
    assert settings == {
        "cityguessr": ("videomae", "soft", "all"),
        "text-city": ("videomae", "soft", "city"),
        "videomae": ("videomae", "none", "none"),
        "timesformer": ("timesformer", "none", "none"),
        "msls": ("videomae", "soft", "all"),
        "msls-videomae": ("videomae", "none", "none"),
        **ladder,
        **images,
    }


@pytest.mark.slow
def test_every_command_of_gama_runs(tmp_path: Path) -> None:
    """Four videos to train on, two of them by day, and three to find; the published lists name them."""
    root = tmp_path / "GAMa"
    rides = {split: [gamamaker.drive(f"{split[0]}{i}", 25, 40.7 + i / 50, -73.95 if split == "train" else -122.4,
                                     split=split) for i in range(4 if split == "train" else 3)]
             for split in ("train", "val")}  # fmt: skip
    for ride in (*rides["train"], *rides["val"]):
        gamamaker.write_ride(root, ride)
    for number, path in enumerate(sorted(root.glob("video_data/*/*/*.png"))):
        Image.new("RGB", (34, 18), (number % 256, 7 * number % 256, 13 * number % 256)).save(path)
    pictures = {ride.name: len(list((root / "video_data" / "train" / f"{ride.name}.mov").iterdir()))
                for ride in rides["train"]}  # fmt: skip
    videos = [f"{name} {count}" for name, count in pictures.items()]
    clips, tiles = _clips_and_tiles(root, [ride.name for ride in rides["val"]])
    gamamaker.write_lists(root / "list", {"train.list": videos, "train_day.list": videos[:2],
                                          "val_gps_day.list": clips, "gallery_gps.list": tiles})  # fmt: skip
    (tmp_path / "gama.toml").write_text(SMALL_GAMA)
    (tmp_path / "screening.toml").write_text(SMALL_SCREENING)
    out = type_all(
        "GAMa",
        tmp_path,
        f"""
  train*--method\\ gama*) set -- "$@" --config {tmp_path}/gama.toml --epochs 1;;
  train*--method\\ screening*) set -- "$@" --config {tmp_path}/screening.toml --epochs 1;;
""",
    )
    settings = {}
    for name in trained(tmp_path):
        model = read_model(tmp_path / "models" / name)
        names = ("transformer", "augment", "ground", "loss") if model.method == "gama" else ("small", "sequence")
        settings[name] = tuple(model.config[key] for key in names)
    cbn = ("none", "crop", "video", "ntxent")
    assert settings == {
        "gama": ("aerial", "full", "video", "ntxent"),
        "gama-all": ("aerial", "full", "video", "ntxent"),
        "combined": ("none", "full", "video", "ntxent"),
        "combined-all": ("none", "full", "video", "ntxent"),
        "video-tx": ("video", "full", "video", "ntxent"),
        "dual-tx": ("both", "full", "video", "ntxent"),
        **dict.fromkeys(("cbn", "cbn-ucn"), cbn),
        **dict.fromkeys(("triplet-bn", "triplet-bn-ucn"), (*cbn[:3], "triplet")),
        **dict.fromkeys(("image-cbn", "image-cbn-ucn"), (*cbn[:2], "image", "ntxent")),
        "screening": ("2d", 32),
        "2d-8": ("2d", 8),
        "3d-8": ("3d", 8),
        "3d-32": ("3d", 32),
    }
    assert out.count('"rule": "ucn"') == 3 and out.count('"rule": "regions"') == 4 and out.count('"rule": "cn"') == 13


def _clips_and_tiles(root: Path, videos: list[str]) -> tuple[list[str], list[str]]:
    """Lines of val_gps_day.list (video, second, tile) and of gallery_gps.list (tile, video)."""
    clips, tiles = [], []
    for video in videos:
        info = json.loads((root / "info" / "val" / f"{video}.json").read_text())
        for location in info["locations"]:
            second = round((location["timestamp"] - info["startTime"]) / 1000)
            tile = gamamaker.tile_name(location["latitude"], location["longitude"])
            if 0 <= second <= 23:
                clips.append(f"{video} {second} {tile}")
                tiles.append(f"{tile} {video}")
    return clips, list(dict.fromkeys(tiles))
