"""A feature file that is read: everything of it in memory but the features, which stay on disk, mapped.

Shapes: V videos, N frames of all videos in a row, D feature width.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, SettingError
from vgeo.formats import safe_h5, streams
from vgeo.formats._feature_layout import FEATURE_DTYPE, Features
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
            lat_deg, lon_deg = (safe_h5.read_array(file, name, 1) for name in ("lat_deg", "lon_deg"))
            if len(lat_deg) != len(lon_deg):
                raise FormatError(f"{path}: {len(lat_deg)} latitudes, {len(lon_deg)} longitudes; make it again")
            latlon_deg = np.stack([lat_deg, lon_deg], axis=-1)
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
