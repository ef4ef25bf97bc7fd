"""The feature file: what frozen encoders said of every frame, with times, positions and labels.

HDF5, flat and contiguous, so that features are mapped into memory in place and a batch is gathered without a copy:

    features/<encoder> [N, D] float16    time_s, frame_index [N]    lat_deg, lon_deg [N], NaN = unknown
    video_id, start_utc, source, made_from [V]    first_row [V+1]    labels/<name> [V]
    attributes: format, version, encoders, sampling, decoder

Shapes: V videos, N frames of all videos in a row, T frames of one video, D feature width.
While a file is being filled, its finished videos lie in a folder beside it; see `_feature_parts.py`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, OutputError, SettingError, UsageError
from vgeo.formats import safe_h5, streams
from vgeo.formats._feature_layout import FEATURE_DTYPE, Features, NewVideo, OldVideo, Piece, layout, to_half
from vgeo.formats._feature_parts import Part, PartsFolder
from vgeo.records import Track, check_latlon, parse_utc

FORMAT = "vgeo-features"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFile:
    """An opened feature file. Features stay on disk, mapped; everything else is in memory."""

    path: Path
    encoders: dict[str, EncoderSpec]
    sampling: str  # canonical text of the sampling rule
    decoder: str
    video_ids: list[str]
    first_row: NDArray[np.int64]  # [V+1]; rows of video v are first_row[v]:first_row[v+1]
    time_s: NDArray[np.float64]  # [N]
    frame_index: NDArray[np.int64]  # [N] frame numbers in the clip, -1 where unknown
    latlon_deg: NDArray[np.float64]  # [N, 2], NaN where unknown
    start_utc: list[str | None]  # [V] RFC 3339, absolute time of time_s == 0
    sources: list[str]  # [V] the file a video came from
    made_from: list[str]  # [V] fingerprint of the files it came from: other ones are another video under its name
    labels: dict[str, list[str]]  # name -> [V]; "" where unknown
    attributes: dict[str, Any]
    maps: dict[str, Features] = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "FeatureFile":
        """Open and check a feature file. Raises InputError or FormatError."""
        if not streams.is_stdio(path) and not Path(path).exists():
            raise InputError(f"{path}: no such file; make it with 'vgeo precompute-features'")
        with safe_h5.open_h5(path) as file:
            attributes = safe_h5.read_attributes(file)
            if attributes.get("format") != FORMAT:
                raise FormatError(f"{path}: not a feature file; make one with 'vgeo precompute-features'")
            if attributes.get("version") != VERSION:
                raise FormatError(f"{path}: feature file of version {attributes.get('version')}, known is {VERSION}")
            latlon_deg = np.stack([safe_h5.read_array(file, name, 1) for name in ("lat_deg", "lon_deg")], axis=-1)
            labels = file.get("labels")
            encoders = _read_specs(attributes.get("encoders"), path)
            found = cls(
                path=Path(path),
                encoders=encoders,
                sampling=str(attributes.get("sampling", "")),
                decoder=str(attributes.get("decoder", "")),
                video_ids=safe_h5.read_strings(file, "video_id"),
                first_row=safe_h5.read_array(file, "first_row", 1, "iu").astype(np.int64),
                time_s=safe_h5.read_array(file, "time_s", 1).astype(np.float64),
                frame_index=safe_h5.read_array(file, "frame_index", 1, "iu").astype(np.int64),
                latlon_deg=latlon_deg.astype(np.float64),
                start_utc=[text or None for text in safe_h5.read_strings(file, "start_utc")],
                sources=safe_h5.read_strings(file, "source"),
                made_from=safe_h5.read_strings(file, "made_from"),
                labels={name: safe_h5.read_strings(file, f"labels/{name}") for name in labels or ()},
                attributes=attributes,
                maps={name: _map(file, f"features/{name}", spec.dim) for name, spec in encoders.items()},
            )
        _check(found)
        return found

    def __len__(self) -> int:
        return len(self.time_s)

    def features(self, name: str) -> Features:
        """Features [N, D] of an encoder, mapped from disk, read-only. Raises SettingError that lists what there is."""
        if name not in self.maps:
            raise SettingError(
                f"{self.path}: holds no features of {name}, but of {', '.join(self.maps)}; "
                f"make them with 'vgeo precompute-features --encoder {name}'"
            )
        return self.maps[name]

    def rows(self, video: int) -> slice:
        """Rows of the video with this number."""
        return slice(int(self.first_row[video]), int(self.first_row[video + 1]))

    def tracks(self) -> list[Track]:
        """Tracks of the frames whose positions are known; videos without any are left out."""
        return list(self._tracks())

    def _tracks(self) -> Iterator[Track]:
        for video, (video_id, start) in enumerate(zip(self.video_ids, self.start_utc, strict=True)):
            rows = self.rows(video)
            known = np.flatnonzero(~np.isnan(self.latlon_deg[rows, 0]))
            if len(known):
                index = self.frame_index[rows][known]
                yield Track(
                    video_id=video_id,
                    latlon_deg=self.latlon_deg[rows][known],
                    time_s=self.time_s[rows][known],
                    start_utc=parse_utc(start) if start else None,
                    frame_index=index if (index >= 0).all() else None,
                )


class FeatureWriter:
    """Fills a feature file video by video; what is finished survives a kill and is not done twice.

    A file or parts made earlier with the same attributes are continued; `made_from` tells what they hold. A video that
    is added again replaces what there was under its name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoders: Mapping[str, EncoderSpec],
        sampling: str,
        decoder: str,
        overwrite: bool = False,
    ) -> None:
        """Open or create.

        Raises SettingError that names the difference when there is something made with other settings, BusyError
        when another process fills the same file, OutputError when `path` is something else.
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
        }
        self._old = None if overwrite else self._open_old()
        self._parts = PartsFolder(self.path, self._attributes, overwrite, compare=self._refuse_others)
        self.made_from = dict(zip(self._old.video_ids, self._old.made_from, strict=True)) if self._old else {}
        self.made_from |= {part.video_id: part.made_from for part in self._parts.parts.values()}

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def done(self) -> set[str]:
        """Videos that are finished."""
        return set(self.made_from)

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

    def finish(self, order: Sequence[str] | None = None) -> int:
        """Join what was there and the parts into the file, remove the parts, and return the number of videos.

        order: video ids; new videos follow the old ones in this order, or sorted by id. Writes nothing when there is
        nothing new. Raises DiskError; the parts are kept then.
        """
        pieces = self._pieces(list(order or ()))
        if self._parts.parts:
            safe_h5.write_h5(self.path, layout(pieces, self._encoders), self._attributes)
        self._parts.remove()
        return len(pieces)

    def close(self) -> None:
        """Let go of the lock; what is finished stays."""
        self._parts.close()

    def _pieces(self, order: list[str]) -> list[Piece]:
        old = [] if self._old is None else [OldVideo(self._old, v) for v in range(len(self._old.video_ids))]
        parts = self._parts.parts
        rank = {video_id: i for i, video_id in enumerate(order)}
        new = sorted(parts, key=lambda video_id: (rank.get(video_id, len(rank)), video_id))
        kept: list[Piece] = [piece for piece in old if piece.part.video_id not in parts]
        return kept + [NewVideo(self._parts, parts[video_id]) for video_id in new]

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
    for name in ("format", "version", "sampling", "decoder"):
        if old.get(name) != new.get(name):
            return f"{name} {old.get(name)}, now {new.get(name)}"
    specs = [{spec["name"]: spec for spec in attributes.get("encoders", [])} for attributes in (old, new)]
    if list(specs[0]) != list(specs[1]):
        return f"encoders {', '.join(specs[0])}, now {', '.join(specs[1])}"
    for name, spec in specs[0].items():
        for key in ("dim", "weights_hash", "preprocessing"):
            if spec[key] != specs[1][name][key]:
                return f"{name} of {key.replace('_', ' ')} {spec[key]}, now {specs[1][name][key]}"
    return ""


def _map(file: h5py.File, name: str, dim: int) -> Features:
    """Map a contiguous float16 data set in place; a chunked one, as others write, is read into memory."""
    dataset = safe_h5.find_dataset(file, name, 2)
    if dataset.dtype != FEATURE_DTYPE or dataset.shape[1] != dim:
        raise FormatError(f"{file.filename}: {name} is {dataset.dtype} {dataset.shape}, expected float16 [N, {dim}]")
    offset = dataset.id.get_offset()
    if offset is None or not dataset.size:
        return np.asarray(safe_h5.read_array(file, name, 2))
    return np.memmap(file.filename, FEATURE_DTYPE, "r", offset, dataset.shape)


def _read_specs(value: Any, path: str | os.PathLike[str]) -> dict[str, EncoderSpec]:
    names = {column.name for column in fields(EncoderSpec)}
    if not isinstance(value, list) or not all(isinstance(spec, dict) and set(spec) == names for spec in value):
        raise FormatError(f"{path}: the attribute 'encoders' does not describe encoders; make the file again")
    specs = [EncoderSpec(**spec) for spec in value]
    for spec in specs:
        text = (spec.name, spec.weights, spec.weights_hash, spec.preprocessing)
        if not all(isinstance(item, str) for item in text) or not isinstance(spec.dim, int) or spec.dim < 1:
            raise FormatError(f"{path}: the attribute 'encoders' has a field of the wrong type; make the file again")
    return {spec.name: spec for spec in specs}


def _check(file: FeatureFile) -> None:
    """Raise FormatError where columns contradict each other."""
    frames, videos = len(file.time_s), len(file.video_ids)
    lengths = {"lat_deg, lon_deg": len(file.latlon_deg), "frame_index": len(file.frame_index)}
    for name, length in (lengths | {name: len(table) for name, table in file.maps.items()}).items():
        if length != frames:
            raise FormatError(f"{file.path}: {length} rows of {name} for {frames} frames")
    columns = {name: len(getattr(file, name)) for name in ("start_utc", "sources", "made_from")}
    for name, length in (columns | {name: len(values) for name, values in file.labels.items()}).items():
        if length != videos:
            raise FormatError(f"{file.path}: {length} of {name} for {videos} videos")
    rows = file.first_row
    if len(rows) != videos + 1 or rows[0] != 0 or rows[-1] != frames or (np.diff(rows) < 0).any():
        raise FormatError(f"{file.path}: first_row does not cut {frames} frames into {videos} videos")
    if len(set(file.video_ids)) != videos:
        raise FormatError(f"{file.path}: a video_id occurs twice")
    if not np.isfinite(file.time_s).all():
        raise FormatError(f"{file.path}: a time is not finite")
    check_latlon(file.latlon_deg, str(file.path), allow_nan=True)
