"""Opening a clip of any kind, whatever it is, as a stream of frames with times and positions."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.geo import sphere
from vgeo.records import Floats
from vgeo.video.finding import Clip, find_clips, is_image, natural_key
from vgeo.video.pixels import Pixels, Shape
from vgeo.video.positions import Moment, TrackSource, find_fixes, sidecars, track_file
from vgeo.video.sampling import Sampling
from vgeo.video.sources import DECODERS, FramesSource, ImagesSource, Source, VideoSource

__all__ = [
    "Clip",
    "Frame",
    "OpenClip",
    "TrackSource",
    "check_opening",
    "files_of",
    "find_clips",
    "open_clip",
    "pictures_of",
]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a clip."""

    index: int  # in presentation order
    time_s: float  # when it appears, from the clip's first frame
    image: Pixels  # [H, W, 3] RGB, upright
    latlon_deg: Floats | None  # [2]
    timestamp_utc: datetime | None


class OpenClip:
    """The wanted frames of a clip, in order: iterate once. Frames are decoded as they are asked for.

    time_s: [T] times of the frames to come (fewer come where frames cannot be decoded). decoded: how many came.
    declared: how many frames the container claims, None when it does not say. start_utc: absolute time of the clip's
    start. labels: of a data set, or the clip's. remarks: what a reader of a report should know.
    """

    def __init__(self, clip: Clip, source: Source, sampling: Sampling, shape: Shape, track: TrackSource) -> None:
        self.clip, self._source, self._shape = clip, source, shape
        moment = Moment(
            video_id=clip.video_id, path=clip.path, duration_s=source.duration_s, start_utc=source.start_utc
        )
        if clip.frames is None:
            fixes, self._track_remarks = find_fixes(moment, track, source.carried)
        else:  # a data set's list says all that is known: no folder is looked through for files beside a picture
            fixes, self._track_remarks = source.carried()[0], []
        self.start_utc = source.start_utc if fixes is None or fixes.start_utc is None else fixes.start_utc
        self._rows = sampling.rows(
            source.time_s,
            source.duration_s,
            track=None if fixes is None else (fixes.time_s, fixes.latlon_deg),
            take_all=source.presampled,
        )
        self.time_s: Floats = source.time_s[self._rows]
        self.frame_index: NDArray[np.int64] = source.frame_index[self._rows]
        if fixes is None:
            self.latlon_deg = np.full((len(self._rows), 2), np.nan)
        else:
            max_gap_s = min(track.max_gap_s, fixes.max_gap_s)
            self.latlon_deg = sphere.interpolate(self.time_s, fixes.time_s, fixes.latlon_deg, max_gap_s)
        self.decoded = 0
        self.declared = source.declared
        self.labels = {**source.labels, **clip.labels}
        self._images: Iterator[tuple[int, Pixels]] = iter(())

    @property
    def remarks(self) -> list[str]:
        """What went wrong or was chosen, in words; complete after the last frame."""
        return [*self._track_remarks, *self._source.remarks()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close = getattr(self._images, "close", None)
        if close is not None:
            close()

    def only(self, places: NDArray[np.int64]) -> None:
        """Narrow what is wanted to some of it: rising places in `time_s`."""
        self._rows, self.time_s = self._rows[places], self.time_s[places]
        self.frame_index, self.latlon_deg = self.frame_index[places], self.latlon_deg[places]

    def __iter__(self) -> Iterator[Frame]:
        for _, frame in self.numbered():
            yield frame
        if self.decoded == 0:
            raise FormatError(f"{self.clip.name}: none of {len(self._rows)} wanted frames can be decoded")

    def numbered(self) -> Iterator[tuple[int, Frame]]:
        """Yield the frames, each with its place in `time_s`; those that cannot be decoded are left out."""
        if not len(self._rows):
            raise InputError(
                f"{self.clip.name}: no frame is wanted of it; choose others with --rate-hz, --start-s and --end-s"
            )
        places = {int(row): place for place, row in enumerate(self._rows)}
        self._images = self._source.images([int(row) for row in self._rows], self._shape)
        for row, image in self._images:
            at = places[row]
            position = self.latlon_deg[at]
            time_s = float(self.time_s[at])
            self.decoded += 1
            frame = Frame(
                int(self.frame_index[at]),
                time_s,
                image,
                None if np.isnan(position).any() else position,
                None if self.start_utc is None else self.start_utc + timedelta(seconds=time_s),
            )
            yield at, frame


def check_opening(decoder: str, source: TrackSource) -> None:
    """Raise, before the first clip, what every clip would raise: UsageError or InputError."""
    if decoder not in DECODERS:
        raise UsageError(f"--decoder {decoder}: not one of {', '.join(DECODERS)}")
    if source.file is not None and not source.file.exists():
        raise InputError(f"{source.file}: no such file; --track takes GPX, CSV, GeoJSON, KML or DJI SRT, or a folder")


def open_clip(
    clip: Clip,
    sampling: Sampling = Sampling(),
    *,
    size: int | None = None,
    square: bool = False,
    decoder: str = "pyav",
    source: TrackSource = TrackSource(),
) -> OpenClip:
    """Open a clip and find out when its wanted frames are and where they were; nothing is decoded yet.

    size: pixels of the shorter side, aspect kept; with `square` exactly size x size, aspect not kept. None: as stored.
    Raises InputError, FormatError, MissingModelError (no codec), UsageError (no track to sample by).
    """
    if size is not None and size < 1:
        raise UsageError(f"--size {size}: must be at least 1")
    check_opening(decoder, source)
    opened: Source
    if clip.kind == "video":
        opened = VideoSource(clip.path, decoder)
    elif clip.kind == "frames":
        opened = FramesSource(clip.path, clip.video_id, clip.frames)
    else:
        opened = ImagesSource(clip.path, pictures_of(clip))
    return OpenClip(clip, opened, sampling, Shape(size, square), source)


def files_of(clip: Clip, source: TrackSource) -> list[Path]:
    """The files that a clip's frames and positions come from."""
    pictures = sorted(clip.path.iterdir()) if clip.path.is_dir() else [clip.path]
    given = sidecars(clip.path) if source.file is None else [track_file(source.file, clip.path)]
    return [*pictures, *given]


def pictures_of(clip: Clip) -> list[Path]:
    """The pictures of a clip that is a folder of them, in natural order of names, or one. Raises InputError."""
    if clip.path.is_file():
        return [clip.path]
    try:
        names = sorted((name for name in os.listdir(clip.path) if not name.startswith(".")), key=natural_key)
    except OSError as error:
        raise InputError(f"{clip.path}: cannot be read ({error.strerror})") from error
    return [path for name in names if is_image(path := clip.path / name)]
