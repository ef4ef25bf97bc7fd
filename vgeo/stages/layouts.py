"""Data sets as they lie on disk, as inputs: sequences of pictures that are neither copied nor encoded anew."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from vgeo import datasets
from vgeo.datasets.base import Layout, Part, Recipe
from vgeo.errors import InputError, UsageError, VgeoError
from vgeo.formats.frame_folder import FRAMES_FILE
from vgeo.formats.frame_list import check_frame_list, write_frame_list
from vgeo.logs import SILENT, Progress
from vgeo.records import Outcome
from vgeo.stages.batch import Batch
from vgeo.video.clips import Clip, find_clips

log = logging.getLogger(__name__)

Failures = list[tuple[str, VgeoError]]


def open_layout(name: str, inputs: Sequence[str | os.PathLike[str]], recipe: Recipe) -> Layout:
    """Look at the one folder that holds a data set. Raises UsageError, InputError."""
    layout = datasets.get(name)
    if len(inputs) != 1:
        raise UsageError(f"--layout {name}: takes the data set's one folder, not {len(inputs) or 'no'} inputs")
    return layout(Path(inputs[0]), recipe)


def read_layout(layout: Layout, progress: Progress = SILENT) -> tuple[list[Part], Failures]:
    """Read the parts of a data set, and say what was found; what cannot be read comes back with its error.

    Raises InputError when nothing failed and yet there is no sequence.
    """
    parts, failures = list[Part](), Failures()
    names = layout.parts()
    progress.start(f"reading {layout.title}", len(names), layout.parts_are)
    for name in names:
        try:
            part = layout.read(name)
        except VgeoError as error:
            failures.append((str(layout.root / name), error))
        else:
            parts.append(part)
            left_out = ", ".join(f"{number} {reason}" for reason, number in part.left_out.items()) or "nothing"
            log.debug("%s: %d sequences of %d pictures; left out: %s", name, len(part.sequences), part.rows, left_out)
        progress.advance(1, name)
    if parts:
        for line in layout.summary(parts):
            log.info("%s", line)
        for line in layout.remarks():
            log.warning("%s: %s", layout.title, line)
    if not failures and not any(len(part.sequences) for part in parts):
        raise InputError(f"{layout.root}: {layout.nothing()}")
    return parts, failures


def clips_of(
    inputs: Sequence[str | os.PathLike[str]], layout: str | None, recipe: Recipe, progress: Progress = SILENT
) -> tuple[list[Clip], Failures, str]:
    """Find clips, or with `layout` the sequences of a data set; what of it cannot be read comes with its error.

    The text says how its sequences were made; "" without a layout. Raises UsageError, InputError.
    """
    if layout is None:
        return find_clips(inputs), [], ""
    opened = open_layout(layout, inputs, recipe)
    parts, failures = read_layout(opened, progress)
    return [clip for part in parts for clip in part.sequences.clips()], failures, f"; {layout} {opened.describe()}"


def list_frames(
    inputs: Sequence[str | os.PathLike[str]],
    out: Path,
    layout: str,
    recipe: Recipe = Recipe(),
    *,
    overwrite: bool = False,
    report: Path | None = None,
    fail_fast: bool = False,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Fill `out` with a frames.jsonl that names a data set's pictures where they are; an outcome is a city's.

    A list that was made by the same settings is made anew. Raises UsageError, InputError, OutputError, SettingError,
    DiskError.
    """
    opened = open_layout(layout, inputs, recipe)
    settings = {
        "version": 1,
        "layout": layout,
        "folder": str(opened.root.resolve()),
        "recipe": opened.describe(),
        "cities": opened.parts(),
    }
    if recipe.labels is not None:
        settings["labels"] = str(recipe.labels.resolve())
    check_frame_list(out, settings, overwrite)
    with Batch(report, fail_fast) as batch:
        parts, failures = read_layout(opened, progress)
        for name, error in failures:
            with batch.item(name):
                raise error
        clips = [clip for part in parts for clip in part.sequences.clips()]
        if clips:
            frames = ((clip.path.parent, clip.frames()) for clip in clips if clip.frames is not None)
            place = write_frame_list(out, opened.root, frames, settings, overwrite)
            log.info("%s: %d sequences; their pictures stay in %s", out / FRAMES_FILE, len(clips), out / place)
        for part in parts:
            with batch.item(str(opened.root / part.name)) as item:
                item.frames, item.declared_frames = len(part.sequences.time_s), part.rows
                item.outputs = [str(out / FRAMES_FILE)]
                item.message = ", ".join(f"{number} {reason}" for reason, number in part.left_out.items())
    return batch.outcomes
