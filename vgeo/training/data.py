"""What is trained on and what is held out: frames whose place is known, split by clip.

Shapes: N frames, V clips, D feature width, B clips and T frames of a batch.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.clip_list import ListedClip
from vgeo.formats.features import FeatureFile

log = logging.getLogger(__name__)

Ints = NDArray[np.int64]
SPLIT_LABEL = "split"  # label column of a feature file that says train or val


class ClipFile(Protocol):
    """What is read here of a feature file, or of a set of pictures. N rows of V clips."""

    @property
    def path(self) -> Path: ...
    @property
    def video_ids(self) -> list[str]: ...
    @property
    def first_row(self) -> Ints: ...
    @property
    def latlon_deg(self) -> NDArray[np.float64]: ...
    @property
    def labels(self) -> Mapping[str, list[str]]: ...


@dataclass(frozen=True, slots=True)
class Usable:
    """Which rows can be learnt from, and how that is said."""

    of: Callable[[ClipFile], NDArray[np.bool_]]  # [N]
    what: str  # "has a position"
    otherwise: str  # what to do where none is


def _has_position(file: ClipFile) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = ~np.isnan(np.asarray(file.latlon_deg, np.float64).sum(axis=1))
    return known


POSITIONED = Usable(_has_position, "has a position", "give tracks to precompute-features with --track")


@dataclass(frozen=True, slots=True)
class Frames:
    """Usable frames of some clips, clip by clip."""

    row_N: Ints  # row in the feature files laid end to end
    latlon_deg: NDArray[np.float64]  # [N, 2]; NaN where places are known as classes alone
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
    val_files: tuple[ClipFile, ...]  # the training files themselves when the split is within them
    how: str  # where the held-out clips come from, for the log


def usable_frames(files: Sequence[ClipFile], usable: Usable = POSITIONED) -> Frames:
    """All frames that can be learnt from; clips without any are left out."""
    rows, places, counts, ids = [], [], [], []
    offset = 0
    for file in files:
        latlon_deg = np.asarray(file.latlon_deg, np.float64)
        known, count = _known(file, usable)
        rows.append(np.flatnonzero(known) + offset)
        places.append(latlon_deg[known])
        counts.append(count[count > 0])
        ids += [video for video, n in zip(file.video_ids, count, strict=True) if n]
        offset += len(latlon_deg)
    first = np.concatenate([[0], np.cumsum(np.concatenate(counts))]) if counts else np.zeros(1)
    return Frames(np.concatenate(rows).astype(np.int64), np.concatenate(places), first.astype(np.int64), tuple(ids))


def clip_numbers(frames: Frames, files: Sequence[ClipFile]) -> Ints:
    """For each clip of some frames [V], its number among the clips of all the files laid end to end."""
    rows = np.cumsum([0, *(len(file.latlon_deg) for file in files)])
    first = np.concatenate([np.asarray(file.first_row[:-1]) + start for file, start in zip(files, rows, strict=False)])
    # Clips without rows begin where the next one does: the last that begins there is meant.
    found: Ints = np.searchsorted(first, frames.row_N[frames.clip_first[:-1]], side="right") - 1
    return found


def clips_with(file: ClipFile, usable: Usable = POSITIONED) -> NDArray[np.bool_]:
    """For each clip of a file [V]: is any of its frames usable?"""
    found: NDArray[np.bool_] = _known(file, usable)[1] > 0
    return found


def _known(file: ClipFile, usable: Usable) -> tuple[NDArray[np.bool_], Ints]:
    """Which frames are usable [N], and how many of each clip are [V]."""
    known = usable.of(file)
    total = np.concatenate([[0], np.cumsum(known)])
    return known, np.diff(total[np.asarray(file.first_row)])


def split(
    files: Sequence[ClipFile],
    val_files: Sequence[ClipFile],
    fraction: float | None,
    seed: int,
    listed: Sequence[ListedClip] | None = None,
    usable: Usable = POSITIONED,
) -> Split:
    """Hold out `val_files`; else the clips labelled val; else a share of the clips drawn by `seed`.

    fraction: None prefers the label column, where it holds anything out, and falls back to a fifth; a number draws that
    share; 0 holds out nothing. listed: train on these clips only; what is held out stays what it is without a list.
    Raises FormatError when nothing usable is left to train on or to validate with, UsageError for a list of others.
    """
    every = usable_frames(files, usable)
    if not len(every):
        raise FormatError(f"no frame of these {usable.what} to learn from; {usable.otherwise}")
    if twice := [video for video, times in Counter(every.video_ids).items() if times > 1]:
        log.warning("%d clips are in two of the files, %s first; held-out ones may be trained on", len(twice), twice[0])
    placed = [clips_with(file, usable) for file in files]
    wanted = np.ones(len(every.video_ids), bool) if listed is None else _wanted(files, placed, listed)
    if val_files:
        val = usable_frames(val_files, usable)
        if not len(val):
            raise FormatError(f"--val: no frame {usable.what}; {usable.otherwise}")
        if shared := set(val.video_ids) & set(every.video_ids):
            log.warning("%d clips of --val are also trained on, %s first", len(shared), min(shared))
        return Split(_listed_of(every, wanted), val, tuple(val_files), "--val")
    labels = _split_labels(files, placed) if fraction is None else None
    if labels is not None and (labels == "val").any():
        return _by_label(labels, tuple(files), every, wanted, listed is not None, usable)
    may_be = np.ones(len(wanted), bool) if labels is None or listed is not None else _trained(labels, usable)
    share = 0.2 if fraction is None else fraction
    if share == 0:
        return Split(_listed_of(every, wanted), None, (), "none")
    clips = int(may_be.sum())
    if clips < 2:
        raise FormatError(f"only one clip {usable.what}, nothing can be held out; give --val FILE or --val-fraction 0")
    held = np.random.default_rng([seed, clips]).permutation(clips)[: min(clips - 1, max(1, round(share * clips)))]
    is_val = np.isin(np.arange(len(may_be)), np.flatnonzero(may_be)[held])
    train, val = _listed_of(every, wanted & may_be & ~is_val), every.of_clips(np.flatnonzero(is_val))
    unlabelled = "" if labels is None else f", for none is labelled val in {SPLIT_LABEL}"
    return Split(train, val, tuple(files), f"{share:.0%} of the clips{unlabelled}")


def _wanted(
    files: Sequence[ClipFile], placed: Sequence[NDArray[np.bool_]], listed: Sequence[ListedClip]
) -> NDArray[np.bool_]:
    """Which of the usable clips are listed [V]."""
    of_file: dict[Path | None, set[str]] = {}
    for clip in listed:
        of_file.setdefault(clip.file, set()).add(clip.video_id)
    paths = [file.path.resolve() for file in files]
    if strange := [str(path) for path in of_file if path is not None and path not in paths]:
        raise UsageError(f"--clips: lists clips of {min(strange)}, which is not among the feature files; name it, too")
    anywhere = of_file.get(None, set())
    mask: list[bool] = []
    missing = set(anywhere).difference(*(file.video_ids for file in files))
    for path, file, has_place in zip(paths, files, placed, strict=True):
        here = of_file.get(path, set())
        missing |= here.difference(file.video_ids)
        ids = (video for video, is_placed in zip(file.video_ids, has_place, strict=True) if is_placed)
        mask += [video in here or video in anywhere for video in ids]
    if missing:
        raise FormatError(f"--clips: {len(missing)} listed clips are not in the features, {min(missing)} first")
    return np.array(mask, bool)


def _split_labels(files: Sequence[ClipFile], placed: Sequence[NDArray[np.bool_]]) -> NDArray[np.str_] | None:
    """What the usable clips [V] are labelled in "split"; None where no file has the column."""
    if not any(SPLIT_LABEL in file.labels for file in files):
        return None
    names: list[str] = []
    for file, has_place in zip(files, placed, strict=True):
        column = file.labels.get(SPLIT_LABEL, [""] * len(file.video_ids))
        names += [name for name, is_placed in zip(column, has_place, strict=True) if is_placed]
    return np.array(names, str)


def _listed_of(every: Frames, wanted: NDArray[np.bool_]) -> Frames:
    found = every.of_clips(np.flatnonzero(wanted))
    if not len(found):
        raise FormatError("--clips: no listed clip is left to train on; those that are held out are not trained on")
    return found


def _by_label(
    labels: NDArray[np.str_], files: tuple[ClipFile, ...], every: Frames, wanted: NDArray[np.bool_], by_list: bool,
    usable: Usable,
) -> Split:  # fmt: skip
    """Split by the label column; clips labelled anything else, such as test, take no part.

    A clip without the label is trained on where a list asks for it: not every file of several has the column.
    """
    is_train = (labels == "") | (labels == "train") if by_list else _trained(labels, usable)
    train, val = _listed_of(every, wanted & is_train), every.of_clips(np.flatnonzero(labels == "val"))
    if rest := len(labels) - int(is_train.sum()) - len(val.video_ids):
        log.info("%d clips are labelled neither train nor val and take no part", rest)
    return Split(train, val, files, f"label {SPLIT_LABEL}")


def _trained(labels: NDArray[np.str_], usable: Usable) -> NDArray[np.bool_]:
    is_train: NDArray[np.bool_] = labels == "train"
    if not is_train.any():
        raise FormatError(
            f"no clip that {usable.what} is labelled train in {SPLIT_LABEL}; --val-fraction ignores labels"
        )
    return is_train


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
