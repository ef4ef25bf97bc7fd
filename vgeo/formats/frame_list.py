"""A folder whose frames.jsonl names pictures that lie elsewhere: nothing is copied.

A frames.jsonl names only what lies beside it or below, so that one from a stranger cannot reach other files. Pictures
that lie elsewhere are reached through a link in the folder, which its owner made.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vgeo.errors import OutputError, SettingError, writing_failed
from vgeo.formats.frame_folder import CLIP_FILE, FRAMES_FILE, SETTINGS_FILE, differences
from vgeo.formats.frames import format_frames
from vgeo.formats.streams import atomic_write, dump_json, file_name, make_folder, parse_json, read_text, write_output
from vgeo.records import FrameRecord


def check_frame_list(out: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Raise unless `write_frame_list` may fill the folder: OutputError, or SettingError that names the difference."""
    make_folder(out)
    if not os.access(out, os.W_OK):
        raise OutputError(f"{out}: cannot be written; choose another folder with --out")
    if any((entry / CLIP_FILE).is_file() for entry in out.iterdir()):
        raise OutputError(f"{out}: holds pictures of extract-frames; choose another folder with --out")
    if not (out / FRAMES_FILE).exists() or overwrite:
        return
    if not (out / SETTINGS_FILE).is_file():
        raise OutputError(f"{out / FRAMES_FILE}: exists and was not made by extract-frames; use another --out")
    before = parse_json(read_text(out / SETTINGS_FILE), out / SETTINGS_FILE)
    different = differences(before if isinstance(before, dict) else {}, settings)
    if different:
        raise SettingError(f"{out}: was made with {different}; use the same, --overwrite, or --out for another folder")


def write_frame_list(
    out: Path, root: Path, clips: Iterable[tuple[Path, list[FrameRecord]]], settings: dict[str, Any], overwrite: bool
) -> str:
    """Write frames.jsonl, settings.json and the link; return by which name in `out` the pictures are reached.

    clips: for each, the folder that its pictures are named from, below `root`, and its frames.
    Raises OutputError when something else has the link's name, DiskError.
    """
    place = _reach(out, root, overwrite)
    with atomic_write(out / FRAMES_FILE) as file:
        for folder, records in clips:
            prefix = os.path.normpath(os.path.join(place, os.path.relpath(folder, root)))
            file.write(format_frames(replace(r, path=f"{prefix}/{r.path}") for r in records).encode())
    write_output(out / SETTINGS_FILE, dump_json(settings, indent=1))
    return place


def _reach(out: Path, root: Path, overwrite: bool) -> str:
    """The path from `out` to `root` below `out`: its own, or that of a link which is made here."""
    here, there = out.resolve(), root.resolve()
    if there.is_relative_to(here):
        return str(there.relative_to(here))
    name = file_name(there.name or "pictures")
    link = out / name
    target = os.path.relpath(there, here)
    try:
        if link.is_symlink() and (overwrite or os.readlink(link) == target):
            link.unlink()
        link.symlink_to(target, target_is_directory=True)
    except FileExistsError as error:
        raise OutputError(f"{link}: exists, and the pictures are to be linked there; use another --out") from error
    except OSError as error:
        raise writing_failed(link, error, "nothing was written") from error
    return name
