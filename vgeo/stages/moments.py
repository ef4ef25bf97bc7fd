"""Folders of frames as clips with the tiles of their places: what `vgeo train` reads for a method that learns tiles.

Shapes: M moments (whole seconds whose place is known), N pictures, G tiles.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError, SettingError
from vgeo.formats.gallery import Gallery
from vgeo.formats.gama_lists import clip_id
from vgeo.formats.picture_place import TILE
from vgeo.geo.tiles import tile_of
from vgeo.logs import SILENT, Progress
from vgeo.records import Floats
from vgeo.stages.frame_sets import check_distinct, columns, first_rows, refused
from vgeo.training.moment_set import Ints, MomentSet
from vgeo.video.clips import Clip, find_clips
from vgeo.video.sources import forget_frames, frames_of

log = logging.getLogger(__name__)

_SLACK = 1.1  # how much rarer than wanted pictures may come, which clocks and containers round


class _Video(NamedTuple):
    """One video's pictures, and its seconds with a place."""

    folder: str
    names: tuple[str, ...]
    picture_time_s: Floats
    time_s: Floats  # [M]
    latlon_deg: Floats  # [M, 2]
    labels: dict[str, str]


def open_moments(
    inputs: Sequence[str | os.PathLike[str]], tiles: Gallery, rate_hz: float | None, progress: Progress = SILENT
) -> MomentSet:
    """List the seconds of clips whose place is known, with their tiles; no picture is opened.

    inputs: folders with frames.jsonl, of at least `rate_hz` pictures a second where that matters. tiles: those made
    around these very seconds (`--around`) are found by their ids, others by where they lie.
    Raises InputError, FormatError, UsageError, SettingError.
    """
    clips = find_clips(inputs)
    if videos := [clip for clip in clips if clip.kind == "video"]:
        raise refused(videos)
    if bare := [clip for clip in clips if clip.kind != "frames"]:
        raise InputError(
            f"{bare[0].path}: pictures without frames.jsonl, which says when and where they were taken; make both with "
            "'vgeo extract-frames'"
        )
    progress.start("list", len(clips), "clips")
    listed = []
    for clip in clips:
        listed.append(_video(clip))
        progress.advance(1, clip.video_id)
    forget_frames()
    found = MomentSet(
        path=Path(inputs[0]),
        video_ids=[clip.video_id for clip in clips],
        first_row=first_rows([len(one.time_s) for one in listed]),
        latlon_deg=np.concatenate([one.latlon_deg for one in listed]),
        labels=columns([one.labels for one in listed]),
        time_s=np.concatenate([one.time_s for one in listed]),
        tile_M=np.zeros(sum(len(one.time_s) for one in listed), np.int64),
        first_picture=first_rows([len(one.names) for one in listed]),
        picture_time_s=np.concatenate([one.picture_time_s for one in listed]),
        folders=[one.folder for one in listed],
        names=[one.names for one in listed],
    )
    check_distinct(found.video_ids, found.path)
    if rate_hz is not None:
        check_rate(found, rate_hz)
    found.tile_M[:] = tile_rows(found, tiles)
    return found


def tile_rows(moments: MomentSet, tiles: Gallery) -> Ints:
    """The gallery's row of each moment's tile [M], -1 where it has none."""
    row_of = {str(name): row for row, name in enumerate(tiles.labels[TILE])}
    video_M = np.repeat(np.array(moments.video_ids, object), np.diff(moments.first_row))
    by_id = [clip_id(video, second) for video, second in zip(video_M, moments.time_s, strict=True)]
    if any(name in row_of for name in by_id):
        return np.array([row_of.get(name, -1) for name in by_id], np.int64)
    under = (tile_of(place, int(tiles.attributes["zoom"])) for place in moments.latlon_deg)
    return np.array([row_of.get(f"{x}_{y}", -1) for x, y in under], np.int64)


def check_rate(moments: MomentSet, rate_hz: float) -> None:
    """Raise SettingError where the pictures are rarer than the method sees them."""
    gaps = np.diff(moments.picture_time_s)
    inner = np.ones(len(gaps), bool)
    inner[moments.first_picture[1:-1] - 1] = False
    spacing_s = float(np.median(gaps[inner])) if inner.any() else 0.0
    if spacing_s * rate_hz > _SLACK:
        raise SettingError(
            f"{moments.path}: {1 / spacing_s:.3g} pictures a second, and clips are made of {rate_hz:g}; extract them "
            f"anew with 'vgeo extract-frames --rate-hz {rate_hz:g}', or --set rate_hz={1 / spacing_s:.3g}"
        )


def _video(clip: Clip) -> _Video:
    records = sorted(frames_of(clip.path)[clip.video_id], key=lambda record: record.time_s)
    time_s = np.array([record.time_s for record in records])
    place = [(np.nan, np.nan) if r.lat_deg is None or r.lon_deg is None else (r.lat_deg, r.lon_deg) for r in records]
    seconds, at = whole_seconds(time_s)
    latlon_deg = np.array(place, np.float64).reshape(-1, 2)[at]
    known = np.isfinite(latlon_deg).all(axis=1)
    paths = [os.path.split(record.path) for record in records]
    folder = paths[0][0] if len({above for above, _ in paths}) == 1 else ""
    names = tuple(name if folder else record.path for (_, name), record in zip(paths, records, strict=True))
    return _Video(
        folder=str(clip.path.parent / folder),
        names=names,
        picture_time_s=time_s,
        time_s=seconds[known],
        latlon_deg=latlon_deg[known],
        labels=dict(records[0].labels),
    )


def whole_seconds(time_s: NDArray[np.float64]) -> tuple[Floats, Ints]:
    """The whole seconds at which a picture was taken, nearly, and which [M]; times rise.

    Nearly: nearer than half of what lies between two pictures in the median, and than half a second.
    """
    if not len(time_s):
        raise FormatError("a clip without pictures")
    apart_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0
    seconds = np.unique(np.concatenate([np.floor(time_s), np.ceil(time_s)]))  # others have no picture so near
    at = np.searchsorted(time_s, seconds)
    after, before = np.minimum(at, len(time_s) - 1), np.maximum(at - 1, 0)
    nearest = np.where(np.abs(time_s[after] - seconds) <= np.abs(time_s[before] - seconds), after, before)
    near = np.abs(time_s[nearest] - seconds) <= min(apart_s / 2, 0.5) + 1e-6
    return seconds[near & (seconds >= 0)], nearest[near & (seconds >= 0)].astype(np.int64)
