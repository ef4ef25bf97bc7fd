"""The whole seconds of videos whose place is known: what aerial pictures are cut around."""

import logging
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vgeo.errors import InputError
from vgeo.formats.safe_h5 import open_h5, read_attributes
from vgeo.records import Floats
from vgeo.stages.moments import whole_seconds
from vgeo.training.data import SPLIT_LABEL

log = logging.getLogger(__name__)

Source = str | os.PathLike[str]


class Seconds(NamedTuple):
    """One video's places, at the frame or fix nearest to each whole second."""

    video: str
    split: str  # "" where unknown
    second: Floats  # [M]
    latlon_deg: Floats  # [M, 2]


def read_seconds(inputs: Sequence[Source], split: str | None = None) -> list[Seconds]:
    """Read folders of frames (or frames.jsonl), feature files and tracks; videos without places are left out.

    split: only videos of this one; None or "all": every video. Raises InputError where there is none, FormatError.
    """
    found: dict[str, Seconds] = {}
    twice = 0
    for source in inputs:
        for one in _read(source):
            twice += one.video in found
            found.setdefault(one.video, one)
    if twice:
        log.warning("%d video%s given more than once; the first of each counts", twice, "s are" if twice > 1 else " is")
    names = ", ".join(str(source) for source in inputs)
    if not found:
        raise InputError(
            f"{names}: no place at any whole second; extract frames with 'vgeo extract-frames --track FILE', or give "
            "the tracks themselves"
        )
    if split in (None, "all"):
        return list(found.values())
    wanted = [one for one in found.values() if one.split == split]
    if not wanted:
        known = sorted({one.split for one in found.values()} - {""})
        raise InputError(f"--split {split}: no video of {names} is labelled so; there are {', '.join([*known, 'all'])}")
    return wanted


def _read(source: Source) -> Iterator[Seconds]:
    if not Path(source).exists():
        raise InputError(f"{source}: no such file or folder")
    if Path(source).suffix.lower() in (".h5", ".hdf5"):
        return _of_features(source)
    if Path(source).name == "frames.jsonl" or (Path(source) / "frames.jsonl").is_file():
        return _of_frames(source)
    return _of_tracks(source)


def _of_frames(source: Source) -> Iterator[Seconds]:
    from vgeo.formats.frames import read_frames

    frames = sorted(read_frames(source), key=lambda frame: (frame.video_id, frame.time_s))
    for video, group in groupby(frames, key=lambda frame: frame.video_id):
        records = list(group)
        places = [(r.lat_deg, r.lon_deg) if r.lat_deg is not None else (np.nan, np.nan) for r in records]
        split = records[0].labels.get(SPLIT_LABEL, "")
        times = np.array([record.time_s for record in records], np.float64)
        yield from _placed(video, split, times, np.array(places, np.float64))


def _of_features(source: Source) -> Iterator[Seconds]:
    from vgeo.formats.features import FeatureFile

    with open_h5(source) as file:
        if read_attributes(file).get("format") == "vgeo-gallery":
            raise InputError(f"{source}: a gallery, which says nothing of time; give frames, a feature file or tracks")
    features = FeatureFile.open(source)
    splits = features.labels.get(SPLIT_LABEL, [""] * len(features.video_ids))
    for number, video in enumerate(features.video_ids):
        rows = features.rows(number)
        yield from _placed(video, splits[number], features.time_s[rows], features.latlon_deg[rows])


def _of_tracks(source: Source) -> Iterator[Seconds]:
    from vgeo.formats.tracks import read_tracks

    for track in read_tracks(os.fspath(source)):
        # A track without times has a point a second, as GAMa's lists do.
        times = np.arange(len(track), dtype=np.float64) if track.time_s is None else track.time_s
        yield from _placed(track.video_id, "", times, track.latlon_deg)


def _placed(video: str, split: str, time_s: Floats, latlon_deg: Floats) -> Iterator[Seconds]:
    """The seconds of a video, if any has a place."""
    if not len(time_s):
        return
    second, at = whole_seconds(time_s)
    known = np.isfinite(latlon_deg[at]).all(axis=1)
    if known.any():
        yield Seconds(video, split, second[known], latlon_deg[at][known])
