"""Places of any input that holds positions: galleries, feature files, tracks, frames.jsonl, folders of tracks."""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import InputError, VgeoError
from vgeo.formats import gallery_text
from vgeo.formats.gallery import FORMAT, Gallery, join, read_gallery
from vgeo.formats.safe_h5 import open_h5, read_attributes
from vgeo.formats.streams import STDIO, is_stdio, read_text
from vgeo.records import Track, check_latlon
from vgeo.training.data import SPLIT_LABEL

log = logging.getLogger(__name__)

Source = str | os.PathLike[str]


def read_places(inputs: Sequence[Source], keep_features: bool = False, split: str | None = None) -> Gallery:
    """Return the positions of the inputs, one after the other, with what labels they carry.

    keep_features: carry the features of feature files along. split: only positions of this value of the label "split",
    or "all"; None: those of training where they are labelled, for a gallery must not know what it is tested on (VidTAG,
    section 4.2). Raises InputError where an input is missing or holds no positions, with the command that makes it;
    FormatError.
    """
    if sum(is_stdio(source) for source in inputs) > 1:
        raise InputError("-: stdin can be read once; give it once")
    gallery = join([_read(source, keep_features) for source in inputs])
    if not len(gallery):
        names = ", ".join(str(source) for source in inputs)
        raise InputError(f"{names}: no places, only a header; give a file that holds some")
    return _of_split(gallery, split)


def _of_split(gallery: Gallery, split: str | None) -> Gallery:
    """The rows of a split; rows that are not labelled belong to every one."""
    labels = gallery.labels.get(SPLIT_LABEL)
    known = sorted(set(labels) - {""}) if labels is not None else []
    if split is None:
        split = "train" if "train" in known else "all"
    if labels is None or split == "all":
        if split != "all":
            raise InputError(f"--split {split}: the inputs have no label {SPLIT_LABEL}; leave it out")
        return gallery
    if split not in known:
        raise InputError(f"--split {split}: no position is labelled so; there are {', '.join(known)} and all")
    rows = np.flatnonzero((labels == split) | (labels == ""))
    if len(rows) < len(gallery):
        log.info("%d of %d positions, those of split %s; --split all takes all", len(rows), len(gallery), split)
    return gallery.take(rows)


def _read(source: Source, keep_features: bool) -> Gallery:
    if is_stdio(source) and not keep_features:
        return _read_stdin()
    suffix = Path(source).suffix.lower()
    if not is_stdio(source) and not Path(source).exists():
        hint = "; make it with 'vgeo precompute-features'" if suffix in (".h5", ".hdf5") else ""
        raise InputError(f"{source}: no such file{hint}")
    if suffix in (".h5", ".hdf5"):
        with open_h5(source) as file:
            is_gallery = read_attributes(file).get("format") == FORMAT
        return _read_h5_gallery(source, keep_features) if is_gallery else _read_features(source, keep_features)
    if keep_features:
        raise _no_features(source)
    if Path(source).name == "frames.jsonl" or _is_frames_folder(source):
        return _read_frames(source)
    if suffix not in (".csv", ".geojson", ".json"):
        return _read_tracks(source)
    try:
        return read_gallery(source)
    except gallery_text.NotPoints:  # a GeoJSON trajectory
        return _read_tracks(source)


def _read_h5_gallery(source: Source, keep_features: bool) -> Gallery:
    gallery = replace(read_gallery(source), keys={}, text={}, text_encoder=None)
    if not keep_features:
        return replace(gallery, features={}, encoders={})
    if not gallery.features:
        raise _no_features(source)
    return gallery


def _read_stdin() -> Gallery:
    from vgeo.formats.tracks import parse_tracks, sniff

    text = read_text(STDIO)
    kind = sniff(text, STDIO)
    if kind in ("csv", "geojson"):
        with suppress(gallery_text.NotPoints):  # a GeoJSON trajectory
            latlon_deg, labels = gallery_text.parse(text, STDIO, kind)
            check_latlon(latlon_deg, STDIO)
            return Gallery(latlon_deg=latlon_deg, labels=labels)
    return _of_tracks(parse_tracks(text, STDIO, kind), STDIO)


def _read_tracks(source: Source) -> Gallery:
    from vgeo.formats.tracks import read_tracks

    return _of_tracks(read_tracks(os.fspath(source)), source)


def _of_tracks(tracks: Sequence[Track], source: Source) -> Gallery:
    if not tracks:
        raise InputError(f"{source}: holds no positions")
    return Gallery(
        latlon_deg=np.concatenate([track.latlon_deg for track in tracks]),
        labels={"video_id": _spread([track.video_id for track in tracks], [len(track) for track in tracks])},
    )


def _read_features(source: Source, keep_features: bool) -> Gallery:
    from vgeo.formats.features import FeatureFile

    file = FeatureFile.open(source)
    known = np.flatnonzero(~np.isnan(file.latlon_deg[:, 0]))
    if not len(known):
        raise _no_positions(source, len(file.latlon_deg))
    sizes = np.diff(file.first_row)
    labels = {"video_id": file.video_ids, **file.labels}
    everywhere = len(known) == len(file.latlon_deg)  # then features stay on disk, mapped
    features = {name: file.features(name) for name in file.encoders} if keep_features else {}
    return Gallery(
        latlon_deg=file.latlon_deg[known],
        labels={name: _spread(values, sizes)[known] for name, values in labels.items()},
        features=features if everywhere else {name: values[known] for name, values in features.items()},
        encoders=file.encoders if keep_features else {},
    )


def _read_frames(source: Source) -> Gallery:
    from vgeo.formats.frames import read_frames

    frames = read_frames(source)
    placed = [(frame, frame.lat_deg, frame.lon_deg) for frame in frames if frame.lat_deg is not None]
    if not placed:
        raise _no_positions(source, len(frames))
    names = dict.fromkeys(name for frame, _, _ in placed for name in frame.labels)
    labels = {name: _spread([frame.labels.get(name, "") for frame, _, _ in placed]) for name in names}
    return Gallery(
        latlon_deg=np.array([(lat, lon) for _, lat, lon in placed], np.float64),
        labels={"video_id": _spread([frame.video_id for frame, _, _ in placed]), **labels},
    )


def _is_frames_folder(source: Source) -> bool:
    return not is_stdio(source) and (Path(source) / "frames.jsonl").is_file()


def _no_features(source: Source) -> VgeoError:
    return InputError(f"{source}: holds no features to keep; give a file made by 'vgeo precompute-features'")


def _no_positions(source: Source, frames: int) -> VgeoError:
    return InputError(
        f"{source}: none of its {frames} frames has a position; extract them with 'vgeo extract-frames --track FILE', "
        "or build a gallery without positions: 'vgeo build-gallery cities' or '--within AREA.geojson'"
    )


def _spread(values: Sequence[str], sizes: Sequence[int] | NDArray[np.int64] | None = None) -> NDArray[np.object_]:
    """One text for each row, from one for each clip."""
    column = np.empty(len(values), object)
    column[:] = values
    return column if sizes is None else np.repeat(column, sizes)
