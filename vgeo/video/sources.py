"""The three kinds of clips behind one face: a table of times, and the images of chosen rows."""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.records import Floats, FrameRecord, parse_utc
from vgeo.video.images import image_times, read_exif, read_images
from vgeo.video.pixels import Pixels, Shape
from vgeo.video.telemetry import Fixes

DECODERS = ("pyav", "decord")


class Source(Protocol):
    """What `open_clip` needs of a clip. N frames."""

    time_s: Floats  # [N] from the first frame
    duration_s: float
    frame_index: NDArray[np.int64]  # [N] numbers in presentation order
    declared: int | None  # frames that the container claims
    start_utc: datetime | None
    presampled: bool  # somebody chose these frames already
    labels: dict[str, str]

    def carried(self) -> tuple[Fixes | None, str]:
        """Positions inside the recording, and a remark."""

    def images(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        """Yield (row, image) in order; what cannot be read is left out."""

    def remarks(self) -> list[str]:
        """What went wrong so far, in words."""

    def close(self) -> None:
        """Let go of what is held; nothing can be asked for after it."""


class ImagesSource:
    """A folder of pictures (or one picture), in natural order of names."""

    presampled = True

    def __init__(self, path: Path, paths: Sequence[Path]) -> None:
        if not paths:
            raise InputError(f"{path}: no pictures in it")
        self._paths, self._lost = list(paths), list[str]()
        self._exifs = [read_exif(picture) for picture in paths]
        self.time_s, self.start_utc, self._remark = image_times(self._exifs)
        self.duration_s = _end_s(self.time_s)
        self.frame_index = np.arange(len(paths), dtype=np.int64)
        self.declared: int | None = len(paths)
        self.labels: dict[str, str] = {}

    def carried(self) -> tuple[Fixes | None, str]:
        """EXIF positions."""
        known = [i for i, exif in enumerate(self._exifs) if exif.latlon_deg is not None]
        if not known:
            return None, ""
        places = np.array([self._exifs[i].latlon_deg for i in known], np.float64)
        remark = (
            f"{len(self._exifs) - len(known)} of {len(self._exifs)} pictures without a position"
            if len(known) < len(self._exifs)
            else ""
        )
        # Without a clock nobody knows what lay between two pictures, or that they are of one journey.
        max_gap_s = 0.0 if self._remark else math.inf
        fixes = Fixes(time_s=self.time_s[known], latlon_deg=places, start_utc=self.start_utc, max_gap_s=max_gap_s)
        return fixes, remark

    def images(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        """Read the wanted pictures."""
        return read_images(self._paths, rows, shape, self._lost)

    def remarks(self) -> list[str]:
        """How times were found, and pictures that could not be read."""
        return [word for word in (self._remark, *self._lost) if word]

    def close(self) -> None:
        """Nothing is held open."""


class FramesSource:
    """Frames that were extracted before: the lines of one video in a frames.jsonl, or what a data set lists."""

    presampled = True

    def __init__(self, path: Path, video_id: str, frames: Callable[[], list[FrameRecord]] | None = None) -> None:
        records = frames() if frames is not None else frames_of(path).get(video_id, [])
        if not records:
            raise InputError(f"{path}: no frames of {video_id} in it")
        self._paths, self._lost = [path.parent / record.path for record in records], list[str]()
        times = np.array([record.time_s for record in records])
        if len(times) > 1 and (np.diff(times) <= 0).any():
            raise FormatError(f"{path}: two frames of {video_id} have the same time")
        self.time_s = times
        self.duration_s = _end_s(times)
        self.frame_index = np.array([record.frame_index for record in records], np.int64)
        self.declared: int | None = len(records)
        self.labels = records[0].labels
        self._known = np.array([record.lat_deg is not None for record in records])
        self._latlon_deg = np.array([(r.lat_deg, r.lon_deg) for r in records if r.lat_deg is not None], np.float64)
        stamp = next((record for record in records if record.timestamp_utc), None)
        self.start_utc = None
        if stamp is not None and stamp.timestamp_utc is not None:
            self.start_utc = parse_utc(stamp.timestamp_utc) - timedelta(seconds=stamp.time_s)

    def carried(self) -> tuple[Fixes | None, str]:
        """The lines' own positions."""
        if not self._known.any():
            return None, ""
        return Fixes(
            time_s=self.time_s[self._known],
            latlon_deg=self._latlon_deg,
            start_utc=self.start_utc,
            max_gap_s=0.0,  # a frame that was left without a position stays without
        ), ""

    def images(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        """Read the wanted frames."""
        return read_images(self._paths, rows, shape, self._lost)

    def remarks(self) -> list[str]:
        """Frames that could not be read."""
        return list(self._lost)

    def close(self) -> None:
        """Nothing is held open."""


def frames_of(path: Path) -> dict[str, list[FrameRecord]]:
    """The frames of each video in time order; read once for all the videos of a file."""
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: no such file") from error
    return _read_frames(path, state.st_size, state.st_mtime_ns)


def forget_frames() -> None:
    """Let go of the lines that `frames_of` keeps: millions take gigabytes."""
    _read_frames.cache_clear()


@lru_cache(maxsize=1)
def _read_frames(path: Path, _size: int, _modified_ns: int) -> dict[str, list[FrameRecord]]:
    from vgeo.formats.frames import read_frames

    videos: dict[str, list[FrameRecord]] = {}
    for record in read_frames(path):
        videos.setdefault(record.video_id, []).append(record)
    for records in videos.values():
        records.sort(key=lambda record: record.time_s)
    return videos


def _end_s(time_s: Floats) -> float:
    """The last picture stays as long as pictures do on the whole."""
    return float(time_s[-1] + (np.median(np.diff(time_s)) if len(time_s) > 1 else 1.0))
