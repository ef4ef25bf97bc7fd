"""The demo: a small world in a folder, then the very commands that a user would type, a table, a picture and a map.

What they are is in demo_kinds. A demo that was interrupted goes on where it stopped.
"""

import csv
import logging
import os
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import OutputError, SettingError
from vgeo.formats.gallery import read_gallery
from vgeo.formats.localizations import read_localizations
from vgeo.formats.streams import dump_json, make_folder, parse_json, read_text, write_output
from vgeo.formats.tracks import read_tracks
from vgeo.geo.tile_cover import around
from vgeo.geo.tiles import ZOOM, square_of
from vgeo.logs import SILENT, Progress
from vgeo.reports.map import write_map
from vgeo.reports.map_tiles import tiles_under
from vgeo.reports.plots import plot_tracks
from vgeo.world.clips import make_clips, make_tiles
from vgeo.world.demo_kinds import PICTURES, SCORE, STAGES, DemoSettings, steps
from vgeo.world.world import World

log = logging.getLogger(__name__)

Runner = Callable[[Sequence[str]], int]  # runs the words after "vgeo" and returns the exit code

STATE = "demo.json"
MADE = ("clips", "tiles", "frames", "features.h5", "features.h5.parts", "gallery.h5", "around.h5", "grid.csv", "models")
MADE_TOO = ("tracks.geojson", "found.html", *PICTURES)
CREDIT = "vgeo, a made-up world"


def run_demo(
    folder: Path,
    settings: DemoSettings,
    run: Runner,
    say: Callable[[str], None],
    *,
    overwrite: bool = False,
    world_only: bool = False,
    progress: Progress = SILENT,
) -> int:
    """Make the world, run the commands in `folder`, draw the tracks. Returns 0, or the exit code of what failed.

    say: is given each line for people. world_only: only say the commands. Raises OutputError, SettingError.
    """
    began = time.monotonic()
    done = open_folder(folder, settings, overwrite)
    if not done:
        _make_world(folder, settings, say, progress)
        done = _note(folder, settings, ["world"])
    if world_only:
        say("# the commands that the demo would run:")
        for words in (("cd", str(folder)), *(("vgeo", *step.words) for step in steps(settings)), ("vgeo", *SCORE)):
            say(f"$ {shlex.join(words)}")
        return 0
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
        _draw(settings, say)
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
        if before.get(field.name, field.default) != mine:
            raise SettingError(
                f"{folder}: holds a demo of {field.name} {before.get(field.name, field.default)}, not {mine}; "
                "--overwrite replaces it, or give another folder"
            )
    return [name for name in said.get("done", []) if isinstance(name, str)]


def _note(folder: Path, settings: DemoSettings, done: list[str]) -> list[str]:
    write_output(folder / STATE, dump_json({"settings": asdict(settings), "done": done}, indent=1))
    return done


def _clear(folder: Path) -> None:
    """Remove what a demo makes, and nothing else."""
    for name in (*MADE, *MADE_TOO):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _make_world(folder: Path, settings: DemoSettings, say: Callable[[str], None], progress: Progress) -> None:
    stage = STAGES[settings.kind]
    world = World(settings.seed, max(1, min(stage.cities, settings.clips // 2)))
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
        rate_hz=stage.rate_hz,
        size=stage.size,
        radius_m=stage.radius_m,
        workers=min(len(os.sched_getaffinity(0)), 8),
        progress=progress,
    )
    if stage.tiles:
        _make_tiles(folder, world, say)
    say(f"  ({time.monotonic() - began:.1f} s)")


def _make_tiles(folder: Path, world: World, say: Callable[[str], None]) -> None:
    """Show a rectangle of each city from above, all around the drives in it: it does not tell where they went."""
    drives: dict[str, list[NDArray[np.float64]]] = {}
    for track in (*read_tracks(folder / "clips" / "train"), *read_tracks(folder / "clips" / "val")):
        drives.setdefault(world.city_at(track.latlon_deg[0]).name, []).append(track.latlon_deg)
    squares = []
    for latlon in drives.values():
        (west, north), (east, south) = (edge(around(np.concatenate(latlon), ZOOM), axis=0) for edge in (np.min, np.max))
        squares += [square_of(x, y, ZOOM)[0] for x in range(west, east + 1) for y in range(north, south + 1)]
    say(f"# {len(squares)} tiles of these cities from above, of about 60 m on a side, in tiles/")
    make_tiles(folder / "tiles", world, np.stack(squares))
    write_output(folder / "tiles" / "tiles.json", dump_json({"tilejson": "3.0.0", "attribution": CREDIT}, indent=1))


def _draw(settings: DemoSettings, say: Callable[[str], None]) -> None:
    """Draw the predictions in tracks.geojson over the truth, and over the tiles where there are some."""
    say(f"# drawing {' and '.join(PICTURES)}")
    found, truth = read_localizations("tracks.geojson"), read_tracks("clips/val")
    reference = read_tracks("clips/train")
    plot_tracks(found, truth, PICTURES[0], reference=reference, names=_city_names())
    tiles = tiles_under(found, read_gallery("gallery.h5")) if STAGES[settings.kind].tiles else None
    write_map(PICTURES[1], found, truth, reference=reference, tiles=tiles, title="vgeo demo")


def _city_names() -> dict[str, str]:
    rows = csv.DictReader(read_text("clips/clips.csv").splitlines())
    return {row["video_id"]: f"{row['city']}, {row['country']}" for row in rows}
