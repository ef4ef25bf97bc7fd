"""What there is to localize: clips to be decoded, and videos of feature files."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import InputError, SettingError
from vgeo.formats.features import FeatureFile
from vgeo.training.data import SPLIT_LABEL
from vgeo.video.clips import Clip, find_clips
from vgeo.video.sources import frames_of

log = logging.getLogger(__name__)

DEFAULT_INPUTS = ("features.h5", "clips")
FEATURE_SUFFIXES = (".h5", ".hdf5")

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Task:
    """One clip to localize: a video of a feature file, or a clip to be decoded and encoded."""

    name: str  # in reports
    video_id: str
    clip: Clip | None = None
    file: FeatureFile | None = None
    video: int = 0  # its number in the file


def find_tasks(inputs: PathLike | Sequence[PathLike], split: str | None = None) -> list[Task]:
    """Find the clips in files, folders, lists and feature files; none given: features.h5 or clips/, whichever is here.

    split: of feature files and folders of frames only the clips with this value of the label "split".
    Raises InputError when there is nothing, or two clips of one id; FormatError for a damaged feature file.
    """
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    if not given:
        given = [_default()]
    tasks = []
    for path in given:
        if Path(path).suffix.lower() in FEATURE_SUFFIXES:
            file = FeatureFile.open(path)
            tasks += [
                Task(f"{path}:{file.video_ids[v]}", file.video_ids[v], file=file, video=v) for v in _of(file, split)
            ]
    others = [path for path in given if Path(path).suffix.lower() not in FEATURE_SUFFIXES]
    for clip in _clips(others, split) if others else ():
        tasks.append(Task(clip.name, clip.video_id, clip=clip))
    if not tasks:
        raise InputError(f"{given[0]}: holds no videos")
    seen: dict[str, str] = {}
    for task in tasks:
        if task.video_id in seen:
            raise InputError(
                f"{task.name} and {seen[task.video_id]} are both named {task.video_id}; localize them apart"
            )
        seen[task.video_id] = task.name
    return tasks


def _of(file: FeatureFile, split: str | None) -> Sequence[int]:
    """The clips of a split; all of them without one."""
    if split is None:
        return range(len(file.video_ids))
    labels = file.labels.get(SPLIT_LABEL, [])
    chosen = [number for number, label in enumerate(labels) if label == split]
    if not chosen:
        known = ", ".join(sorted({label for label in labels if label})) or "no labels of that kind"
        raise InputError(f"{file.path}: no clip of split {split}; it has {known}")
    return chosen


def _clips(paths: Sequence[PathLike], split: str | None) -> list[Clip]:
    """The clips of a split among folders of frames; videos carry no label, and all are taken."""
    clips = find_clips(paths)
    if split is None:
        return clips
    labels = {clip.video_id: _label(clip) for clip in clips if clip.kind == "frames"}
    chosen = [clip for clip in clips if labels.get(clip.video_id, split) == split]
    if not chosen:
        known = ", ".join(sorted({label for label in labels.values() if label})) or "no labels of that kind"
        raise InputError(f"{paths[0]}: no clip of split {split}; it has {known}")
    return chosen


def _label(clip: Clip) -> str:
    records = frames_of(clip.path).get(clip.video_id, [])
    return records[0].labels.get(SPLIT_LABEL, "") if records else ""


def matching(file: FeatureFile, needed: EncoderSpec) -> str:
    """The name under which a feature file holds what the model reads. Raises SettingError that lists what there is."""
    family = needed.name.partition(":")[0]
    for name, spec in file.encoders.items():
        if name == needed.name or (not needed.weights_hash and spec.name.partition(":")[0] == family):
            return name
    raise SettingError(
        f"{file.path}: holds features of {', '.join(file.encoders)}, but the model reads {needed.name}; "
        f"make them with 'vgeo precompute-features --encoder {needed.name}'"
    )


def check_features(needed: EncoderSpec, found: EncoderSpec, where: str) -> None:
    """Raise SettingError that names the difference unless features of both encoders may be compared."""
    if not needed.weights_hash:  # released weights: only family and width are known
        if found.name.partition(":")[0] != needed.name.partition(":")[0] or found.dim != needed.dim:
            raise SettingError(
                f"{where}: features of {found.name}, {found.dim} wide; the model reads {needed.name}, {needed.dim} wide"
            )
        return
    if needed.same_features(found):
        return
    names = ("name", "dim", "weights_hash", "preprocessing")
    differ = [n for n in names if getattr(needed, n) != getattr(found, n)]
    words = "; ".join(f"{n} {getattr(found, n)!r}, not {getattr(needed, n)!r}" for n in differ)
    raise SettingError(f"{where}: not the features of {needed.name} that the model or gallery was made with: {words}")


def _default() -> str:
    for name in DEFAULT_INPUTS:
        if Path(name).exists():
            log.info("localizing %s", name)
            return name
    raise InputError("nothing to localize: name videos, or make features.h5 with 'vgeo precompute-features'")
