"""Help, completion and typing errors must be quick: they may load neither torch nor numpy."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "numpy",
    "h5py",
    "transformers",
    "open_clip",
    "av",
    "decord",
    "shapely",
    "s2sphere",
    "matplotlib",
    "PIL",
    "httpx",
)
PROBE = """
import sys
from vgeo.cli import run
code = run(sys.argv[1:])
sys.stderr.write("\\nloaded:" + ",".join(m for m in {heavy!r} if m in sys.modules) + " code:" + str(code))
"""
HELPED = ["extract-frames", "precompute-features", "build-gallery", "train", "localize", "score-trajectory"]
HELPED += ["fetch-tiles", "score-rankings", "rank", "demo", "methods", "doctor"]


def probe(*args: str, **env: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=HEAVY), *args],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **env},
    )
    return done.stderr.rsplit("\n", 1)[-1]


def test_help_loads_nothing_heavy() -> None:
    assert probe("--help") == "loaded: code:0"


@pytest.mark.parametrize("command", HELPED)
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    assert probe(command, "--help") == "loaded: code:0"


def test_unknown_method_is_told_quickly() -> None:
    assert probe("train", "--method", "nope") == "loaded: code:2"


def test_unknown_option_is_told_quickly() -> None:
    assert probe("localize", "--nope") == "loaded: code:2"


def test_import_vgeo_loads_nothing_heavy() -> None:
    code = f"import sys, vgeo; print([m for m in {HEAVY!r} + ('typer', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_probe_sees_what_is_loaded() -> None:
    """The guard itself: a run that needs numpy must show it."""
    code = f"import sys, vgeo; vgeo.read_tracks; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout
