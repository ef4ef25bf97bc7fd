"""The README's commands for the papers' tables, typed as they stand there, on small made-up data of the same shape.

The pictures, the weights and the papers' sizes are not at hand: pictures, feature files and weights are made up, and
training is made small by a --config beside each command.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cityguessrmaker
import mslsmaker
import numpy as np
import pytest
import scenemaker
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
