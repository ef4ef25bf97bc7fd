"""Opening a clip of any kind, whatever it is, as a stream of frames with times and positions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError, UsageError, VgeoError
from vgeo.geo import sphere
from vgeo.records import Floats
from vgeo.video.finding import Clip, find_clips, is_image, natural_key
from vgeo.video.isolated import open_video
from vgeo.video.pixels import Pixels, Shape
from vgeo.video.positions import Moment, TrackSource, find_fixes, sidecars, track_file
from vgeo.video.sampling import Sampling
from vgeo.video.sources import DECODERS, FramesSource, ImagesSource, Source
from vgeo.video.tars import Unpacked
from vgeo.video.telemetry import Fixes

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

    def __init__(
        self,
        clip: Clip,
        source: Source,
        sampling: Sampling,
        shape: Shape,
        track: TrackSource,
        box: Unpacked | None = None,
    ) -> None:
        self.clip, self._source, self._shape, self._box = clip, source, shape, box
        moment = Moment(
            video_id=clip.video_id,
            path=clip.path if box is None else box.path,
            duration_s=source.duration_s,
            start_utc=source.start_utc,
        )
        if clip.frames is None:
            fixes, self._track_remarks = find_fixes(moment, track, source.carried)
            if fixes is None and box is not None and box.latlon_deg is not None:
                fixes = Fixes(time_s=source.time_s, latlon_deg=np.tile(box.latlon_deg, (len(source.time_s), 1)))
                self._track_remarks.append("one position for all frames, from the tar's .json")
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
        self.labels = {**source.labels, **({} if box is None else box.labels), **clip.labels}
        self._images: Iterator[tuple[int, Pixels]] = iter(())

    @property
    def remarks(self) -> list[str]:
        """What went wrong or was chosen, in words; complete after the last frame."""
        words = [*self._track_remarks, *self._source.remarks()]
        return words if self._box is None else [self._box.speak_of(self.clip.name, word) for word in words]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close = getattr(self._images, "close", None)
        if close is not None:
            close()
        self._source.close()
        if self._box is not None:
            self._box.close()

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
        for row, image in self._decoded():
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

    def _decoded(self) -> Iterator[tuple[int, Pixels]]:
        with _named(self.clip, self._box):
            yield from self._images


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
    shape = Shape(size, square)
    if clip.sample is None:
        return OpenClip(clip, _source(clip, decoder), sampling, shape, source)
    box = Unpacked(clip.path, clip.video_id, clip.sample)
    try:
        with _named(clip, box):
            return OpenClip(clip, _source(replace(clip, path=box.path), decoder), sampling, shape, source, box)
    except BaseException:
        box.close()
        raise


@contextmanager
def _named(clip: Clip, box: Unpacked | None) -> Iterator[None]:
    """Have errors speak of what lies in a tar, not of where it was unpacked."""
    try:
        yield
    except VgeoError as error:
        if box is None:
            raise
        raise type(error)(box.speak_of(clip.name, str(error))) from error


def _source(clip: Clip, decoder: str) -> Source:
    if clip.kind == "video":
        return open_video(clip.path, decoder)
    if clip.kind == "frames":
        return FramesSource(clip.path, clip.video_id, clip.frames)
    return ImagesSource(clip.path, pictures_of(clip))


def files_of(clip: Clip, source: TrackSource) -> list[Path]:
    """The files that a clip's frames and positions come from."""
    pictures = sorted(clip.path.iterdir()) if clip.path.is_dir() else [clip.path]
    if clip.sample is not None:  # what lies beside a tar is not of its clips
        return pictures if source.file is None else [*pictures, track_file(source.file, Path(clip.video_id))]
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
