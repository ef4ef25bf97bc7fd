"""Folders of pictures as training data: what `vgeo train` reads for a method that has an encoder of its own."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from vgeo import datasets
from vgeo.datasets.base import Recipe, Sequences
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.logs import SILENT, Progress
from vgeo.records import Floats
from vgeo.stages.clip_labels import label_columns
from vgeo.stages.layouts import open_layout, read_layout
from vgeo.training.frame_set import FrameSet
from vgeo.video.clips import Clip, find_clips, pictures_of
from vgeo.video.sources import forget_frames, frames_of


def open_frames(
    inputs: Sequence[str | os.PathLike[str]],
    layout: str | None = None,
    recipe: Recipe = Recipe(),
    labels: Path | None = None,
    progress: Progress = SILENT,
) -> FrameSet:
    """List the pictures of clips; none is opened, or looked for where a list names it.

    inputs: folders with frames.jsonl, or folders of pictures, each a clip (their positions are not read: that is what
    extract-frames does); with `layout`, the folder of that data set, whose sequences are made by `recipe`.
    labels: a table of clips' cities and splits, see `label_columns`; some layouts read it themselves.
    Raises UsageError, InputError, FormatError.
    """
    if layout is not None:
        if datasets.get(layout).reads_labels:
            recipe, labels = replace(recipe, labels=labels), None
        found = _of_layout(layout, inputs, recipe, progress)
    else:
        found = _of_clips(find_clips(inputs), Path(inputs[0]))
        forget_frames()
    check_distinct(found.video_ids, found.path)
    if labels is None:
        return found
    return replace(found, labels=label_columns(found.video_ids, found.labels, labels))


def check_distinct(video_ids: Sequence[str], path: Path) -> None:
    """Raise FormatError where two clips have one name."""
    if twice := [video for video, times in Counter(video_ids).items() if times > 1]:
        raise FormatError(f"{path}: {len(twice)} clips are there twice, {twice[0]} first; name each input once")


def _of_layout(name: str, inputs: Sequence[str | os.PathLike[str]], recipe: Recipe, progress: Progress) -> FrameSet:
    opened = open_layout(name, inputs, recipe)
    parts, failures = read_layout(opened, progress)
    if failures:  # a model that does not know one of the cities would not be what was asked for
        raise failures[0][1]
    sequences = [part.sequences for part in parts]
    lengths = np.concatenate([np.diff(some.first) for some in sequences])
    return FrameSet(
        path=opened.root,
        video_ids=[video for some in sequences for video in some.video_ids],
        first_row=first_rows(lengths),
        latlon_deg=np.concatenate([some.latlon_deg for some in sequences]),
        spacing_s=None,
        labels=columns([labels for some in sequences for labels in some.labels]),
        folders=[str(listing.parent) for some in sequences for listing in some.listing],
        names=_shared([names for some in sequences for names in _names(some)]),
    )


def _names(sequences: Sequences) -> list[tuple[str, ...]]:
    bounds = sequences.first.tolist()
    return [tuple(sequences.paths[start:end]) for start, end in pairwise(bounds)]


def _of_clips(clips: Sequence[Clip], path: Path) -> FrameSet:
    if videos := [clip for clip in clips if clip.kind == "video"]:
        raise refused(videos)
    listed = [_listed(clip) if clip.kind == "frames" else _in_folder(clip) for clip in clips]
    places = [latlon_deg for _, _, latlon_deg, _ in listed]
    return FrameSet(
        path=path,
        video_ids=[clip.video_id for clip in clips],
        first_row=first_rows([len(one) for one in places]),
        latlon_deg=np.concatenate(places),
        spacing_s=_spacing_s(clips),
        labels=columns([said for _, _, _, said in listed]),
        folders=[folder for folder, _, _, _ in listed],
        names=_shared([names for _, names, _, _ in listed]),
    )


def refused(videos: Sequence[Clip]) -> InputError | UsageError:
    """Why clips that are not pictures cannot be trained on."""
    first = videos[0].path
    if not os.path.lexists(first):
        return InputError(f"{first}: no such file or folder; name folders of frames, as vgeo extract-frames makes them")
    return UsageError(
        f"{first}: a video ({len(videos)} in all), and what is trained here reads pictures; make them with "
        f"'vgeo extract-frames', and name its folder"
    )


_Listed = tuple[str, tuple[str, ...], Floats, dict[str, str]]  # folder, names, positions [T, 2], labels


def _listed(clip: Clip) -> _Listed:
    """A clip of a frames.jsonl, in the order of its times."""
    records = frames_of(clip.path)[clip.video_id]
    places = [(np.nan, np.nan) if r.lat_deg is None or r.lon_deg is None else (r.lat_deg, r.lon_deg) for r in records]
    paths = [os.path.split(record.path) for record in records]
    folder = paths[0][0] if len({above for above, _ in paths}) == 1 else ""
    names = tuple(name if folder else record.path for (_, name), record in zip(paths, records, strict=True))
    return str(clip.path.parent / folder), names, np.array(places, np.float64), dict(records[0].labels)


def _spacing_s(clips: Sequence[Clip]) -> float | None:
    """The median time between pictures that have one."""
    gaps = [np.diff([r.time_s for r in frames_of(clip.path)[clip.video_id]]) for clip in clips if clip.kind == "frames"]
    joined = np.concatenate(gaps) if gaps else np.zeros(0)
    return float(np.median(joined)) if len(joined) else None


def _in_folder(clip: Clip) -> _Listed:
    """A folder of pictures, in natural order of names, or one picture."""
    names = tuple(path.name for path in pictures_of(clip))
    folder = clip.path if clip.path.is_dir() else clip.path.parent
    return str(folder), names, np.full((len(names), 2), np.nan), {}


def columns(labels: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Clips' labels, name by name; "" where a clip lacks one."""
    names = dict.fromkeys(name for said in labels for name in said)
    return {name: [said.get(name, "") for said in labels] for name in names}


def _shared(names: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The same tuples, equal ones held once."""
    held: dict[tuple[str, ...], tuple[str, ...]] = {}
    return [held.setdefault(some, some) for some in names]


def first_rows(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where each of things of these lengths begins that lie in a row, and where the last ends: [number + 1]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
