"""Galleries: the candidate places that a clip is searched among.

Kept as HDF5 (everything), or as CSV with LAT,LON and GeoJSON points (positions and labels). Shapes: G entries, D
feature width, E embedding width. In HDF5: `lat_deg`, `lon_deg` [G] float64 · `labels/<name>` (its distinct texts) and
`label_codes/<name>` [G] int32 · `features/<encoder>` [G, D] float16 · `keys/<model's hash>` [G, E] float32 ·
`text/<label>` [G, D] float32.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import h5py
import numpy as np
from numpy.typing import NDArray

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, UsageError
from vgeo.formats import gallery_text
from vgeo.formats.picture_place import PATH, REGION, TILE, written_to
from vgeo.formats.safe_h5 import (
    H5Data,
    find_dataset,
    h5_array,
    h5_strings,
    open_h5,
    read_array,
    read_attributes,
    read_strings,
    write_h5,
)
from vgeo.formats.streams import dump_json, is_stdio, write_output
from vgeo.geo.sphere import wrap_lon
from vgeo.records import check_latlon

FORMAT = "vgeo-gallery"
VERSION = 1
FORMATS = ("h5", "csv", "geojson")
_SUFFIXES = {".h5": "h5", ".hdf5": "h5", ".csv": "csv", ".geojson": "geojson", ".json": "geojson"}
NAMING = (TILE, REGION, PATH)  # labels that pictures of rows are found by
_CHUNK_ROWS = 2**16


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Candidate places and what is known of each. Longitudes are brought into [-180, 180).

    keys are a model's embeddings of the rows, made once; they belong to the model with that hash and to no other.
    text: what the labels say, as an encoder of text sees it; nothing that frames could be compared with.
    """

    latlon_deg: NDArray[np.float64]  # [G, 2]
    labels: dict[str, NDArray[np.object_]] = field(default_factory=dict)  # city, state, ... -> text [G]
    features: dict[str, NDArray[Any]] = field(default_factory=dict)  # encoder -> [G, D] float16
    encoders: dict[str, EncoderSpec] = field(default_factory=dict)  # of the features
    keys: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # model's hash -> [G, E]
    attributes: dict[str, Any] = field(default_factory=dict)  # how it was made; JSON values
    text: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # label -> [G, D], normalised; zeros for ""
    text_encoder: EncoderSpec | None = None  # of the text
    file: Path | None = None  # that it was read from, where pictures are found from there

    def __post_init__(self) -> None:
        latlon = np.asarray(self.latlon_deg, np.float64)
        if latlon.ndim != 2:
            raise FormatError(f"gallery: positions have shape {latlon.shape}, expected [G, 2]")
        # Classes that go by their ids alone lie nowhere.
        check_latlon(latlon, "gallery", allow_nan=self.attributes.get("kind") == "classes")
        if ((latlon[:, 1] < -180) | (latlon[:, 1] >= 180)).any():
            latlon = np.stack([latlon[:, 0], wrap_lon(latlon[:, 1])], axis=1)
        object.__setattr__(self, "latlon_deg", latlon)
        columns: dict[str, NDArray[Any]] = {**self.labels, **self.features, **self.keys, **self.text}
        for name, values in columns.items():
            if len(values) != len(latlon):
                raise FormatError(f"gallery: {len(values)} of {name} for {len(latlon)} positions")
        if set(self.features) != set(self.encoders):
            raise FormatError(f"gallery: features of {sorted(self.features)}, encoders {sorted(self.encoders)}")
        if bool(self.text) != (self.text_encoder is not None):
            raise FormatError(f"gallery: text of {sorted(self.text)}, its encoder {self.text_encoder}")

    def __len__(self) -> int:
        return len(self.latlon_deg)

    @cached_property
    def digest(self) -> str:
        """sha256 (16 hex digits) over all that keys are made of: positions, features and pictures, row by row."""
        positions = np.ascontiguousarray(self.latlon_deg, "<f8") + 0.0  # -0 and 0 are one place
        state = hashlib.sha256(positions.data.cast("B"))
        for name, values in sorted(self.features.items()):
            state.update(f"{name} {values.dtype.str} {values.shape}".encode())
            for chunk in _chunks(values):
                state.update(chunk.data.cast("B"))
        if "pictures_digest" in self.attributes:
            told = {name: self.attributes.get(name) for name in ("pictures_digest", "size_px", "zoom", "across")}
            named = {name: self.labels[name].tolist() for name in NAMING if name in self.labels}
            state.update(dump_json([told, named]).encode())
        return state.hexdigest()[:16]

    def take(self, rows: NDArray[Any]) -> "Gallery":
        """The gallery of some rows (indices or a mask), in that order."""
        return Gallery(
            latlon_deg=self.latlon_deg[rows],
            labels={name: values[rows] for name, values in self.labels.items()},
            features={name: values[rows] for name, values in self.features.items()},
            encoders=self.encoders,
            keys={name: values[rows] for name, values in self.keys.items()},
            attributes=self.attributes,
            text={name: values[rows] for name, values in self.text.items()},
            text_encoder=self.text_encoder,
            file=self.file,
        )


def join(galleries: Sequence[Gallery]) -> Gallery:
    """Put galleries one after the other. A label that one of them lacks is "" there.

    Features are kept when all have them, of the same encoders; else FormatError. Keys and text are dropped.
    """
    if len(galleries) == 1:
        return galleries[0]
    first = galleries[0]
    for other in galleries[1:]:
        if set(other.encoders) != set(first.encoders) or any(
            not spec.same_features(first.encoders[name]) for name, spec in other.encoders.items()
        ):
            raise FormatError("the inputs' features come from different encoders; precompute them alike")
    names = list(dict.fromkeys(name for gallery in galleries for name in gallery.labels))
    return Gallery(
        latlon_deg=np.concatenate([gallery.latlon_deg for gallery in galleries]),
        labels={
            name: np.concatenate([g.labels.get(name, np.full(len(g), "", object)) for g in galleries]) for name in names
        },
        features={name: np.concatenate([g.features[name] for g in galleries]) for name in first.features},
        encoders=first.encoders,
    )


def format_of(path: str | os.PathLike[str], format: str | None = None) -> str:
    """Return "h5", "csv" or "geojson" by the given name or the suffix. Raises UsageError."""
    if format is not None:
        if format not in FORMATS:
            raise UsageError(f"no gallery format {format!r}; there are {', '.join(FORMATS)}")
        return format
    if is_stdio(path):
        return "csv"
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(f"{path}: no gallery format has the suffix {suffix!r}; use {', '.join(_SUFFIXES)}")
    return _SUFFIXES[suffix]


def read_gallery(path: str | os.PathLike[str], format: str | None = None, *, nowhere: bool = False) -> Gallery:
    """Read a gallery: HDF5, CSV with LAT,LON (other columns become labels) or GeoJSON points.

    `-` is stdin in one of the last two. Features, keys and text stay on disk and are mapped into memory. nowhere: take
    classes that go by their ids alone, whose positions are NaN. Raises InputError, FormatError.
    """
    chosen = None if is_stdio(path) and format is None else format_of(path, format)
    if chosen == "h5":
        return _read_h5(path, nowhere)
    latlon, labels = gallery_text.read(path, chosen)
    check_latlon(latlon, os.fspath(path))
    return Gallery(latlon_deg=latlon, labels=labels)


def write_gallery(path: str | os.PathLike[str], gallery: Gallery, format: str | None = None) -> None:
    """Write a gallery atomically; the same gallery gives the same bytes. `-` is stdout, in CSV unless told otherwise.

    Raises UsageError for features, keys or text in a format of text, which cannot hold them.
    """
    chosen = format_of(path, format)
    if chosen == "h5":
        if is_stdio(path):
            raise UsageError("HDF5 cannot be written to a stream; give a file name, or --format csv")
        _write_h5(path, gallery)
        return
    if gallery.features or gallery.keys or gallery.text:
        raise UsageError(f"{path}: features, keys and text need HDF5; give a name that ends in .h5")
    write = gallery_text.csv_lines if chosen == "csv" else gallery_text.geojson_lines
    write_output(path, "".join(write(gallery.latlon_deg, gallery.labels)))


# --- HDF5 ---


def _write_h5(path: str | os.PathLike[str], gallery: Gallery) -> None:
    latlon = gallery.latlon_deg
    data = {"lat_deg": h5_array(latlon[:, 0]), "lon_deg": h5_array(latlon[:, 1])}
    for name, label in gallery.labels.items():
        texts, codes = _encode(label)
        data[f"labels/{_escape(name)}"] = h5_strings(texts)
        data[f"label_codes/{_escape(name)}"] = h5_array(codes)
    for name, values in gallery.features.items():
        data[f"features/{_escape(name)}"] = _rows(values)
    for name, values in gallery.keys.items():
        data[f"keys/{_escape(name)}"] = _rows(values)
    for name, values in gallery.text.items():
        data[f"text/{_escape(name)}"] = _rows(values)
    encoders = {name: asdict(spec) for name, spec in gallery.encoders.items()}
    head = {"format": FORMAT, "version": VERSION, "encoders": encoders, "made": written_to(gallery, path)}
    if gallery.text_encoder is not None:
        head["text_encoder"] = asdict(gallery.text_encoder)
    write_h5(path, data, head)


def _read_h5(path: str | os.PathLike[str], nowhere: bool) -> Gallery:
    with open_h5(path) as file:
        head = read_attributes(file)
        if head.get("format") != FORMAT:
            hint = "; build one of it with 'vgeo build-gallery'" if "features" in file else ""
            raise FormatError(f"{path}: HDF5, but not a gallery{hint}")
        if head.get("version") != VERSION:
            raise FormatError(f"{path}: gallery version {head.get('version')}, this vgeo reads {VERSION}")
        lat, lon = read_array(file, "lat_deg", 1), read_array(file, "lon_deg", 1)
        if len(lat) != len(lon):
            raise FormatError(f"{path}: {len(lat)} latitudes, {len(lon)} longitudes; make it again")
        latlon = np.stack([lat, lon], axis=1).astype(np.float64)
        check_latlon(latlon, os.fspath(path), allow_nan=nowhere)
        return Gallery(
            latlon_deg=latlon,
            labels={_unescape(name): _read_label(file, name) for name in _members(file, "labels")},
            features={_unescape(name): _map(file, f"features/{name}") for name in _members(file, "features")},
            encoders=_read_encoders(head.get("encoders"), path),
            keys={_unescape(name): _map(file, f"keys/{name}") for name in _members(file, "keys")},
            attributes=head["made"] if isinstance(head.get("made"), dict) else {},
            text={_unescape(name): _map(file, f"text/{name}") for name in _members(file, "text")},
            text_encoder=_read_encoders({"": head["text_encoder"]}, path)[""] if "text_encoder" in head else None,
            file=Path(path),
        )


def _read_encoders(stored: Any, path: str | os.PathLike[str]) -> dict[str, EncoderSpec]:
    if not stored:
        return {}
    try:
        return {name: EncoderSpec(**fields) for name, fields in stored.items()}
    except (TypeError, AttributeError) as error:
        raise FormatError(f"{path}: what it says of its encoders cannot be read; make it again") from error


def _read_label(file: h5py.File, name: str) -> NDArray[np.object_]:
    words = read_strings(file, f"labels/{name}")
    texts = np.empty(len(words), object)
    texts[:] = words
    codes = read_array(file, f"label_codes/{name}", 1, "i")
    if len(codes) and not (codes.min() >= 0 and codes.max() < len(texts)):
        raise FormatError(f"{file.filename}: the codes of label {name} point outside its texts; make it again")
    return texts[codes]


def _map(file: h5py.File, name: str) -> NDArray[Any]:
    """Map a contiguous data set [G, W] into memory; read it where it is chunked or compressed by others."""
    dataset = find_dataset(file, name, 2)
    offset = dataset.id.get_offset()
    if offset is None:
        return read_array(file, name, 2)
    return np.memmap(file.filename, dataset.dtype, "r", offset, dataset.shape)


def _members(file: h5py.File, group: str) -> list[str]:
    return list(file[group]) if isinstance(file.get(group), h5py.Group) else []


def _encode(values: NDArray[np.object_]) -> tuple[list[str], NDArray[np.int32]]:
    """Distinct texts, sorted, and the number of each row's text among them."""
    texts = sorted(set(values.tolist()))
    number = {text: i for i, text in enumerate(texts)}
    return texts, np.fromiter((number[text] for text in values.tolist()), np.int32, len(values))


def _rows(values: NDArray[Any]) -> H5Data:
    return H5Data(values.shape, values.dtype, lambda: _chunks(values))


def _chunks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(values), _CHUNK_ROWS):
        yield np.ascontiguousarray(values[start : start + _CHUNK_ROWS])


def _escape(name: str) -> str:
    """A name without the slashes and dots that mean something in an HDF5 path."""
    return quote(name, safe=" :").replace(".", "%2E")


def _unescape(name: str) -> str:
    return unquote(name)
