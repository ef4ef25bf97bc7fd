"""The demo: a small world in a folder, then the very commands that a user would type, a table, a picture and a map.

What is shown is honest: the model is trained on the drives in clips/train and localizes those in clips/val, which it
has never seen; their tracks serve for the scores alone. A demo that was interrupted goes on where it stopped.
"""

import csv
import logging
import os
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vgeo.errors import OutputError, SettingError
from vgeo.formats.localizations import read_localizations
from vgeo.formats.streams import dump_json, make_folder, parse_json, read_text, write_output
from vgeo.formats.tracks import read_tracks
from vgeo.logs import SILENT, Progress
from vgeo.reports.map import write_map
from vgeo.reports.plots import plot_tracks
from vgeo.world.clips import make_clips
from vgeo.world.world import World

log = logging.getLogger(__name__)

Runner = Callable[[Sequence[str]], int]  # runs the words after "vgeo" and returns the exit code

CITIES = 4
RADIUS_M = 170.0  # small enough for the training drives to cover most streets
RATE_HZ = 8.0
STATE = "demo.json"
MADE = ("clips", "frames", "features.h5", "features.h5.parts", "gallery.h5", "models", "tracks.geojson")
PICTURES = ("tracks.png", "map.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """What makes one demo differ from another."""

    seed: int = 0
    clips: int = 36
    seconds: float = 25.0
    epochs: int = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and what it makes; again=(): it goes on by itself where it stopped."""

    words: tuple[str, ...]
    makes: str
    again: tuple[str, ...] = ()


def steps(settings: DemoSettings) -> list[Step]:
    """The commands in order. Settings of the method are chosen for places tens of metres apart."""
    method = (
        *("init=scratch", "sigmas=512,4096,32768", "target_radius_km=0.015"),
        *("image_width=512", "location_width=256", "location_depth=1"),
        *("batch_frames=512", "learning_rate=1e-3", "decay_per_epoch=0.97", "warmup_steps=10"),
    )
    chosen = tuple(word for pair in method for word in ("--set", pair))
    return [
        Step(("-q", "extract-frames", "clips/train", "--rate-hz", "2"), "frames"),
        Step(("-q", "precompute-features", "--encoder", "gist"), "features.h5"),
        Step(("build-gallery", "points", "features.h5", "--thin-m", "5"), "gallery.h5", ("--overwrite",)),
        Step(
            ("train", "--method", "geoclip", "--val-fraction", "0", "--epochs", str(settings.epochs), *chosen),
            "models/geoclip",
            ("--overwrite",),
        ),
        Step(
            ("localize", "clips/val", "--model", "models/geoclip", "--out", "tracks.geojson"),
            "tracks.geojson",
            ("--overwrite",),
        ),
    ]


SCORE = ("score-trajectory", "tracks.geojson", "--truth", "clips/val", "--format", "table")


def run_demo(
    folder: Path,
    settings: DemoSettings,
    run: Runner,
    say: Callable[[str], None],
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> int:
    """Make the world, run the commands in `folder`, draw the tracks. Returns 0, or the exit code of what failed.

    say: is given each line for people. Raises OutputError, SettingError.
    """
    began = time.monotonic()
    done = open_folder(folder, settings, overwrite)
    if not done:
        _make_world(folder, settings, say, progress)
        done = _note(folder, settings, ["world"])
    with chdir(folder):
        say(f"$ cd {shlex.quote(str(folder))}")
        for step in steps(settings):
            if step.makes in done:
                say(f"$ {command_line(step.words)}    # done before")
                continue
            words = step.words + (step.again if Path(step.makes).exists() else ())
            if code := _run(words, run, say):
                return code
            done = _note(Path(), settings, [*done, step.makes])
        _draw(say)
        if code := _run(SCORE, run, say):
            return code
    picture, page = (folder / name for name in PICTURES)
    say(f"Done in {time.monotonic() - began:.0f} s. Look at {picture}, and open {page} in a browser.")
    return 0


def command_line(words: Sequence[str]) -> str:
    """As a user would type it."""
    return shlex.join(["vgeo", *words])


def _run(words: Sequence[str], run: Runner, say: Callable[[str], None]) -> int:
    say(f"$ {command_line(words)}")
    began = time.monotonic()
    code = run(words)
    if code == 0:
        say(f"  ({time.monotonic() - began:.1f} s)")
    return code


def open_folder(folder: Path, settings: DemoSettings, overwrite: bool) -> list[str]:
    """Check or clear the folder; return what a demo of the same settings has finished in it.

    Raises OutputError for a folder of something else, SettingError for a demo of other settings.
    """
    state = folder / STATE
    if not state.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder}: exists and holds no demo; give another folder: vgeo demo FOLDER")
        make_folder(folder)
        return _note(folder, settings, [])
    if overwrite:
        _clear(folder)
        return _note(folder, settings, [])
    said = parse_json(read_text(state), state)
    before = said.get("settings", {}) if isinstance(said, dict) else {}
    for field in fields(DemoSettings):
        mine = getattr(settings, field.name)
        if before.get(field.name) != mine:
            raise SettingError(
                f"{folder}: holds a demo of {field.name} {before.get(field.name)}, not {mine}; "
                "--overwrite replaces it, or give another folder"
            )
    return [name for name in said.get("done", []) if isinstance(name, str)]


def _note(folder: Path, settings: DemoSettings, done: list[str]) -> list[str]:
    write_output(folder / STATE, dump_json({"settings": asdict(settings), "done": done}, indent=1))
    return done


def _clear(folder: Path) -> None:
    """Remove what a demo makes, and nothing else."""
    for name in (*MADE, *PICTURES):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _make_world(folder: Path, settings: DemoSettings, say: Callable[[str], None], progress: Progress) -> None:
    world = World(settings.seed, max(1, min(CITIES, settings.clips // 2)))
    names = ", ".join(city.name for city in world.cities)
    say(
        f"# {settings.clips} drives of {settings.seconds:g} s through {names}, as a made-up world shows them, in clips/"
    )
    began = time.monotonic()
    make_clips(
        folder / "clips",
        world,
        settings.clips,
        settings.seconds,
        rate_hz=RATE_HZ,
        radius_m=RADIUS_M,
        workers=min(len(os.sched_getaffinity(0)), 8),
        progress=progress,
    )
    say(f"  ({time.monotonic() - began:.1f} s)")


def _draw(say: Callable[[str], None]) -> None:
    """Draw the predictions in tracks.geojson over the truth."""
    say(f"# drawing {' and '.join(PICTURES)}")
    found, truth = read_localizations("tracks.geojson"), read_tracks("clips/val")
    reference = read_tracks("clips/train")
    plot_tracks(found, truth, PICTURES[0], reference=reference, names=_city_names())
    write_map(PICTURES[1], found, truth, reference=reference, title="vgeo demo")


def _city_names() -> dict[str, str]:
    rows = csv.DictReader(read_text("clips/clips.csv").splitlines())
    return {row["video_id"]: f"{row['city']}, {row['country']}" for row in rows}
