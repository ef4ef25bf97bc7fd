"""The feature file: what frozen encoders said of every frame, with times, positions and labels.

HDF5, flat and contiguous, so that features are mapped into memory in place and a batch is gathered without a copy:

    features/<encoder> [N, D] float16    time_s, frame_index [N]    lat_deg, lon_deg [N], NaN = unknown
    video_id, start_utc, source, made_from [V]    first_row [V+1]    labels/<name> [V]
    attributes: format, version, encoders, sampling, decoder
    of a shard: place [V] among all videos, from 1, 0 = none of the list; attributes shard ("2/4"), inputs (how many)

Shapes: V videos, N frames of all videos in a row, T frames of one video, D feature width.
While a file is being filled, its finished videos lie in a folder beside it; see `_feature_parts.py`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, OutputError, SettingError, UsageError
from vgeo.formats import safe_h5, streams
from vgeo.formats._feature_file import FORMAT, VERSION, FeatureFile
from vgeo.formats._feature_layout import NewVideo, OldVideo, Piece, layout, to_half
from vgeo.formats._feature_parts import Part, PartsFolder
from vgeo.formats.claims import Claims
from vgeo.formats.safe_h5 import h5_array
from vgeo.formats.shards import COLUMN, Shard
from vgeo.records import check_latlon

PLACE, INPUTS = "place", "inputs"

__all__ = ["FORMAT", "VERSION", "FeatureFile", "FeatureWriter", "describe_difference"]


class FeatureWriter:
    """Fills a feature file video by video; what is finished survives a kill and is not done twice.

    A file or parts made earlier with the same attributes are continued; `made_from` tells what they held then. A video
    that is added again replaces what there was under its name. Other processes may fill the same file: `claims` is
    where they and this one divide the videos among them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoders: Mapping[str, EncoderSpec],
        sampling: str,
        decoder: str,
        overwrite: bool = False,
        shard: Shard | None = None,
    ) -> None:
        """Open or create.

        shard: of a divided run, which the file is to say of itself.
        Raises SettingError that names the difference when there is something made with other settings, BusyError
        when other processes fill the same file and one of them and this one make it anew, OutputError when `path` is
        something else.
        """
        if streams.is_stdio(path):
            raise UsageError("-: HDF5 cannot be written to a stream; give a file name with --out")
        self.path = Path(path)
        streams.check_output(self.path, overwrite=True)
        self._encoders = dict(encoders)
        self._attributes = {
            "format": FORMAT,
            "version": VERSION,
            "encoders": [asdict(spec) for spec in self._encoders.values()],
            "sampling": sampling,
            "decoder": decoder,
        } | ({} if shard is None else {COLUMN: str(shard)})
        self._overwrite = overwrite
        self._seen = (0, 0)  # number and time of the file that `made_from` was read of
        self.made_from: dict[str, str] = {}
        self._look()
        self._parts = PartsFolder(self.path, self._attributes, overwrite, compare=self._refuse_others)
        self.made_from |= {part.video_id: part.made_from for part in self._parts.parts.values()}

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def claims(self) -> Claims:
        """Which videos other processes work on, or have finished."""
        return self._parts.claims

    @property
    def done(self) -> set[str]:
        """Videos that are finished."""
        return set(self.made_from)

    def finished(self, video_id: str, made_from: str) -> bool:
        """Whether a video is there that was made from the same, also when another process made it just now."""
        if self.made_from.get(video_id) == made_from:
            return True
        part = self._parts.find(video_id)
        if part is not None:
            self.made_from[video_id] = part.made_from
        else:
            self._look()  # after the part: others remove it once it is in the file
        return self.made_from.get(video_id) == made_from

    def add(
        self,
        video_id: str,
        features: Mapping[str, ArrayLike],
        time_s: ArrayLike,
        latlon_deg: ArrayLike,
        start_utc: str | None = None,
        labels: Mapping[str, str] | None = None,
        source: str = "",
        made_from: str = "",
        frame_index: ArrayLike | None = None,
    ) -> None:
        """Store one finished video durably.

        features: of every encoder, [T, D]. time_s: [T]. latlon_deg: [T, 2], NaN pairs where unknown. frame_index: [T].
        Raises FormatError for values that are not finite in float16, DiskError.
        """
        times, positions = np.asarray(time_s, np.float64), np.asarray(latlon_deg, np.float64)
        check_latlon(positions, f"video {video_id}", allow_nan=True)
        tables = {name: to_half(features[name], spec, video_id) for name, spec in self._encoders.items()}
        index = np.full(len(times), -1) if frame_index is None else np.asarray(frame_index)
        if {len(index), len(positions), *map(len, tables.values())} != {len(times)}:
            raise ValueError(f"video {video_id}: features, times and positions differ in length")
        part = Part(video_id, len(times), start_utc or "", source, made_from, dict(labels or {}))
        self._parts.write(
            part, {**tables, "time_s": times, "frame_index": index.astype(np.int64), "latlon_deg": positions}
        )
        self.made_from[video_id] = made_from

    def finish(self, order: Sequence[str] | None = None, undivided: Sequence[str] = ()) -> int:
        """Join what was there and the parts into the file, remove the parts, and return the number of videos.

        order: video ids; new videos follow the old ones in this order, or sorted by id. undivided: of a shard, the
        videos of all shards in the order of an undivided run. Writes nothing when there is nothing new. Raises
        DiskError; the parts are kept then.
        """
        with self._parts.join() as anew:
            if not self._parts.parts:
                return len(self.made_from)
            pieces = self._pieces(None if anew else self._open_old(), list(order or ()))
            datasets, attributes = layout(pieces, self._encoders), self._attributes
            if COLUMN in attributes:
                places = {video_id: place for place, video_id in enumerate(undivided, start=1)}
                numbers = [places.get(piece.part.video_id, 0) for piece in pieces]
                datasets, attributes = datasets | {PLACE: h5_array(numbers, "<i8")}, attributes | {INPUTS: len(places)}
            safe_h5.write_h5(self.path, datasets, attributes)
            return len(pieces)

    def close(self) -> None:
        """Leave the file to other processes, if there are any; what is finished stays."""
        self._parts.close()

    def _look(self) -> None:
        """Note what is in the file, where it is another one than before."""
        if self._overwrite or not self.path.exists():
            return
        state = self.path.stat()
        if (state.st_ino, state.st_mtime_ns) == self._seen:
            return
        old = self._open_old()
        self.made_from |= {} if old is None else dict(zip(old.video_ids, old.made_from, strict=True))
        self._seen = (state.st_ino, state.st_mtime_ns)

    def _pieces(self, file: FeatureFile | None, order: list[str]) -> list[Piece]:
        """What the file is to hold, in order: one that is replaced keeps its place, whatever parts are gone already."""
        old = [] if file is None else [OldVideo(file, v) for v in range(len(file.video_ids))]
        parts = self._parts.parts
        rank = {video_id: i for i, video_id in enumerate(order)}
        new = sorted(parts, key=lambda video_id: (rank.get(video_id, len(rank)), video_id))
        pieces: dict[str, Piece] = {piece.part.video_id: piece for piece in old}
        return list((pieces | {video_id: NewVideo(self._parts, parts[video_id]) for video_id in new}).values())

    def _open_old(self) -> FeatureFile | None:
        if not self.path.exists():
            return None
        try:
            old = FeatureFile.open(self.path)
        except FormatError as error:
            raise OutputError(f"{error}; use --overwrite to replace it or --out for another name") from error
        self._refuse_others(old.attributes)
        return old

    def _refuse_others(self, attributes: Mapping[str, Any]) -> None:
        difference = describe_difference(attributes, self._attributes)
        if difference:
            raise SettingError(
                f"{self.path}: was made with {difference}; use --overwrite to make it anew or --out for another file"
            )


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say how the attributes of two feature files differ, or return "" when they can be joined."""
    for name in ("format", "version", "sampling", "decoder", COLUMN):
        if old.get(name) != new.get(name):
            return f"{name} {old.get(name, 'none')}, now {new.get(name, 'none')}"
    specs = [{spec["name"]: spec for spec in attributes.get("encoders", [])} for attributes in (old, new)]
    if list(specs[0]) != list(specs[1]):
        return f"encoders {', '.join(specs[0])}, now {', '.join(specs[1])}"
    for name, spec in specs[0].items():
        for key in ("dim", "weights_hash", "preprocessing"):
            if spec[key] != specs[1][name][key]:
                return f"{name} of {key.replace('_', ' ')} {spec[key]}, now {specs[1][name][key]}"
    return ""
