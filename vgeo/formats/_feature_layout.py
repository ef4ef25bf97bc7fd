"""How the videos of a feature file lie in it, whether they come from a finished part or from the file it replaces."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError
from vgeo.formats._feature_parts import Part, PartsFolder
from vgeo.formats.safe_h5 import H5Data, h5_array, h5_strings

if TYPE_CHECKING:
    from vgeo.formats._feature_file import FeatureFile

FEATURE_DTYPE = np.dtype("<f2")  # half the size of float32; cosines agree to 4 decimals
LARGEST = float(np.finfo(np.float16).max)

Features = NDArray[np.float16]


class Piece(ABC):
    """One video of the file to be."""

    part: Part

    @abstractmethod
    def column(self, name: str) -> NDArray[Any]:
        """Values of one column, [T, ...]."""


class NewVideo(Piece):
    def __init__(self, folder: PartsFolder, part: Part) -> None:
        self._folder, self.part = folder, part

    def column(self, name: str) -> NDArray[Any]:
        return self._folder.read(self.part, name)


class OldVideo(Piece):
    def __init__(self, file: "FeatureFile", video: int) -> None:
        self._file, self._rows = file, file.rows(video)
        labels = {name: values[video] for name, values in file.labels.items() if values[video]}
        self.part = Part(
            video_id=file.video_ids[video],
            frames=self._rows.stop - self._rows.start,
            start_utc=file.start_utc[video] or "",
            source=file.sources[video],
            made_from=file.made_from[video],
            labels=labels,
        )

    def column(self, name: str) -> NDArray[Any]:
        columns: dict[str, NDArray[Any]] = {
            name: getattr(self._file, name) for name in ("time_s", "frame_index", "latlon_deg")
        }
        return np.asarray((columns | self._file.maps)[name][self._rows])


def layout(pieces: Sequence[Piece], encoders: Mapping[str, EncoderSpec]) -> dict[str, H5Data]:
    """The data sets of a feature file; features are read from the pieces only while they are written."""
    parts = [piece.part for piece in pieces]
    first_row = np.concatenate([[0], np.cumsum([part.frames for part in parts])]).astype("<i8")
    latlon_deg = np.concatenate([piece.column("latlon_deg") for piece in pieces])
    names = sorted({name for part in parts for name in part.labels})

    datasets = {
        "video_id": h5_strings([part.video_id for part in parts]),
        "start_utc": h5_strings([part.start_utc for part in parts]),
        "source": h5_strings([part.source for part in parts]),
        "made_from": h5_strings([part.made_from for part in parts]),
        "first_row": h5_array(first_row),
        "time_s": h5_array(np.concatenate([piece.column("time_s") for piece in pieces]), "<f8"),
        "frame_index": h5_array(np.concatenate([piece.column("frame_index") for piece in pieces]), "<i8"),
        "lat_deg": h5_array(latlon_deg[:, 0], "<f8"),
        "lon_deg": h5_array(latlon_deg[:, 1], "<f8"),
    }
    datasets |= {f"labels/{name}": h5_strings([part.labels.get(name, "") for part in parts]) for name in names}
    for name, spec in encoders.items():
        shape = (int(first_row[-1]), spec.dim)
        datasets[f"features/{name}"] = H5Data(shape, FEATURE_DTYPE, partial(_tables, pieces, name))
    return datasets


def to_half(values: ArrayLike, spec: EncoderSpec, video_id: str) -> Features:
    """Cast features to float16 [T, D]. Raises FormatError where they do not fit."""
    table = np.asarray(values)
    if table.ndim != 2 or table.shape[1] != spec.dim:
        raise ValueError(f"video {video_id}: features of {spec.name} are {table.shape}, expected [T, {spec.dim}]")
    if table.size and not np.abs(table).max() <= LARGEST:  # NaN fails the comparison too
        raise FormatError(f"video {video_id}: {spec.name} gives features beyond float16; are its weights damaged?")
    return np.ascontiguousarray(table, FEATURE_DTYPE)


def _tables(pieces: Sequence[Piece], name: str) -> Iterator[NDArray[Any]]:
    return (piece.column(name) for piece in pieces)
