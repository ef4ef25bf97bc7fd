"""The README's commands for VidTAG's tables, typed as they stand there, on a small made-up data set of the same shape.

The pictures, the weights and the paper's sizes are not at hand: feature files are made up, and training is made small
by a --config beside each command.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_readme import README
from vgeo.encoders.base import EncoderSpec
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


def section() -> str:
    text = README[README.index("## Reproduce VidTAG") :]
    return "".join(re.findall(r"```sh\n(.*?)```", text[: text.index("\n## ", 5)], re.DOTALL))


@pytest.mark.slow
def test_every_command_of_the_tables_runs(tmp_path: Path) -> None:
    for seed, (name, clips, positions) in enumerate(
        [("msls", 24, True), ("cityguessr", 20, False), ("gama", 18, True)]
    ):
        make(tmp_path / f"{name}.h5", clips, positions=positions, seed=seed)
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "geoclip.toml").write_text('init = "scratch"\nembed_dim = 16\nlocation_width = 16\nimage_width = 16\n')
    program = tmp_path / "bin" / "vgeo"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/typed
case "$*" in
  precompute-features*) exit 0;;
  localize*--method\\ geoclip*) exit 0;;
  train*--from*) set -- "$@" --epochs 1;;
  train*--method\\ vidtag*) set -- "$@" --config {tmp_path}/small.toml --epochs 1;;
  train*--method\\ geoclip*) set -- "$@" --config {tmp_path}/geoclip.toml --epochs 1;;
  build-gallery\\ grid*) set -- "$@" --max-points 100000;;
esac
exec {shlex.quote(sys.executable)} -m vgeo "$@"
"""
    )
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-e", "-c", section()], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{(tmp_path / 'typed').read_text().splitlines()[-1]}\n{done.stderr[-1500:]}"
    assert '"dfd_km_mean"' in done.stdout and '"city"' in done.stdout
    models = {path.parent.name for path in (tmp_path / "models").glob("*/config.json")}
    assert {
        "vidtag",
        "phase1",
        "alpha-100",
        "mlp-1024,1024,768,768",
        "sigmas-4,16,256",
        "frames-4",
        "unified",
    } <= models
