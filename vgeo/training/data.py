"""What is trained on and what is held out: positioned frames of feature files, split by clip.

Shapes: N frames, V clips, D feature width, B clips and T frames of a batch.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.clip_list import ListedClip
from vgeo.formats.features import FeatureFile

log = logging.getLogger(__name__)

Ints = NDArray[np.int64]
SPLIT_LABEL = "split"  # label column of a feature file that says train or val


@dataclass(frozen=True, slots=True)
class Frames:
    """Positioned frames of some clips, clip by clip."""

    row_N: Ints  # row in the feature files laid end to end
    latlon_deg: NDArray[np.float64]  # [N, 2]
    clip_first: Ints  # [V + 1] first frame of each clip
    video_ids: tuple[str, ...]  # [V]

    def __len__(self) -> int:
        return len(self.row_N)

    def of_clips(self, clips: Ints) -> "Frames":
        """The frames of some of the clips, in the order given."""
        pieces = [np.arange(self.clip_first[c], self.clip_first[c + 1]) for c in clips]
        index = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        first = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
        ids = tuple(self.video_ids[c] for c in clips)
        return Frames(self.row_N[index], self.latlon_deg[index], first, ids)


@dataclass(frozen=True, slots=True)
class Split:
    """Training frames, held-out frames, and which files their rows count through."""

    train: Frames
    val: Frames | None
    val_files: tuple[FeatureFile, ...]  # the training files themselves when the split is within them
    how: str  # where the held-out clips come from, for the log


def positioned(files: Sequence[FeatureFile]) -> Frames:
    """All frames that have a position; clips without any are left out."""
    rows, places, counts, ids = [], [], [], []
    offset = 0
    for file in files:
        latlon_deg = np.asarray(file.latlon_deg, np.float64)
        known, count = _known(file)
        rows.append(np.flatnonzero(known) + offset)
        places.append(latlon_deg[known])
        counts.append(count[count > 0])
        ids += [video for video, n in zip(file.video_ids, count, strict=True) if n]
        offset += len(latlon_deg)
    first = np.concatenate([[0], np.cumsum(np.concatenate(counts))]) if counts else np.zeros(1)
    return Frames(np.concatenate(rows).astype(np.int64), np.concatenate(places), first.astype(np.int64), tuple(ids))


def with_positions(file: FeatureFile) -> NDArray[np.bool_]:
    """For each clip of a file [V]: has any of its frames a position?"""
    found: NDArray[np.bool_] = _known(file)[1] > 0
    return found


def _known(file: FeatureFile) -> tuple[NDArray[np.bool_], Ints]:
    """Which frames have a position [N], and how many of each clip do [V]."""
    known = ~np.isnan(np.asarray(file.latlon_deg, np.float64).sum(axis=1))
    total = np.concatenate([[0], np.cumsum(known)])
    return known, np.diff(total[np.asarray(file.first_row)])


def split(
    files: Sequence[FeatureFile],
    val_files: Sequence[FeatureFile],
    fraction: float | None,
    seed: int,
    listed: Sequence[ListedClip] | None = None,
) -> Split:
    """Hold out `val_files`; else the clips labelled val; else a share of the clips drawn by `seed`.

    fraction: None prefers the label column and falls back to a fifth; a number draws that share; 0 holds out nothing.
    listed: train on these clips only; what is held out stays what it is without a list.
    Raises FormatError when nothing usable is left to train on or to validate with, UsageError for a list of others.
    """
    every = positioned(files)
    if not len(every):
        raise FormatError(
            "no frame of the features has a position to learn from; give tracks to precompute-features with --track"
        )
    if twice := [video for video, times in Counter(every.video_ids).items() if times > 1]:
        log.warning("%d clips are in two of the files, %s first; held-out ones may be trained on", len(twice), twice[0])
    wanted = np.ones(len(every.video_ids), bool) if listed is None else _wanted(files, listed)
    if val_files:
        val = positioned(val_files)
        if not len(val):
            raise FormatError("--val: no frame has a position; give tracks to precompute-features with --track")
        if shared := set(val.video_ids) & set(every.video_ids):
            log.warning("%d clips of --val are also trained on, %s first", len(shared), min(shared))
        return Split(_listed_of(every, wanted), val, tuple(val_files), "--val")
    if fraction is None and any(SPLIT_LABEL in file.labels for file in files):
        return _by_label(files, every, wanted, listed is not None)
    share = 0.2 if fraction is None else fraction
    if share == 0:
        return Split(_listed_of(every, wanted), None, (), "none")
    clips = len(every.video_ids)
    if clips < 2:
        raise FormatError("only one clip has positions, nothing can be held out; give --val FILE or --val-fraction 0")
    held = np.random.default_rng([seed, clips]).permutation(clips)[: min(clips - 1, max(1, round(share * clips)))]
    is_val = np.isin(np.arange(clips), held)
    train, val = _listed_of(every, wanted & ~is_val), every.of_clips(np.flatnonzero(is_val))
    return Split(train, val, tuple(files), f"{share:.0%} of the clips")


def _wanted(files: Sequence[FeatureFile], listed: Sequence[ListedClip]) -> NDArray[np.bool_]:
    """Which of the clips with positions are listed [V]."""
    of_file: dict[Path | None, set[str]] = {}
    for clip in listed:
        of_file.setdefault(clip.file, set()).add(clip.video_id)
    paths = [file.path.resolve() for file in files]
    if strange := [str(path) for path in of_file if path is not None and path not in paths]:
        raise UsageError(f"--clips: lists clips of {min(strange)}, which is not among the feature files; name it, too")
    anywhere = of_file.get(None, set())
    mask: list[bool] = []
    missing = set(anywhere).difference(*(file.video_ids for file in files))
    for path, file in zip(paths, files, strict=True):
        here = of_file.get(path, set())
        missing |= here.difference(file.video_ids)
        ids = (video for video, placed in zip(file.video_ids, with_positions(file), strict=True) if placed)
        mask += [video in here or video in anywhere for video in ids]
    if missing:
        raise FormatError(f"--clips: {len(missing)} listed clips are not in the features, {min(missing)} first")
    return np.array(mask, bool)


def _listed_of(every: Frames, wanted: NDArray[np.bool_]) -> Frames:
    found = every.of_clips(np.flatnonzero(wanted))
    if not len(found):
        raise FormatError("--clips: no listed clip is left to train on; those that are held out are not trained on")
    return found


def _by_label(files: Sequence[FeatureFile], every: Frames, wanted: NDArray[np.bool_], by_list: bool) -> Split:
    """Split by the label column; clips labelled anything else, such as test, take no part.

    A clip without the label is trained on where a list asks for it: not every file of several has the column.
    """
    label: list[str] = []
    for file in files:
        column = file.labels.get(SPLIT_LABEL, [""] * len(file.video_ids))
        label += [name for name, placed in zip(column, with_positions(file), strict=True) if placed]
    names = np.array(label, str)
    is_train = (names == "train") | (names == "" if by_list else False)
    if not is_train.any():
        raise FormatError(f"no clip with positions is labelled train in {SPLIT_LABEL}; --val-fraction ignores labels")
    train, val = _listed_of(every, wanted & is_train), every.of_clips(np.flatnonzero(names == "val"))
    if not len(val):
        raise FormatError(f"no clip with positions is labelled val in {SPLIT_LABEL}; give --val or --val-fraction")
    if rest := len(names) - int(is_train.sum()) - len(val.video_ids):
        log.info("%d clips are labelled neither train nor val and take no part", rest)
    return Split(train, val, tuple(files), f"label {SPLIT_LABEL}")


def check_encoders(files: Sequence[FeatureFile], wanted: Sequence[str], method: str) -> None:
    """Raise InputError unless every file holds every wanted encoder's features, and all files the same ones."""
    for file in files:
        missing = [name for name in wanted if name not in file.encoders]
        if missing:
            raise InputError(
                f"{file.path}: no features of {', '.join(missing)}, which {method} reads; it holds "
                f"{', '.join(file.encoders)}: choose among them with --set, or run precompute-features -e {missing[0]}"
            )
        for name in wanted:
            if not file.encoders[name].same_features(files[0].encoders[name]):
                raise FormatError(f"{file.path}: its {name} features were made otherwise than {files[0].path}'s")


def digest(frames: Frames) -> str:
    """A name for a set of frames, to tell on resume whether the data is the same."""
    h = hashlib.sha256("\n".join(frames.video_ids).encode())
    for array in (frames.row_N, frames.latlon_deg, frames.clip_first):
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()[:16]
