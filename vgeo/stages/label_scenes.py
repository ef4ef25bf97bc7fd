"""The scenes of each clip, as shares of its frames over the 16 groups of Places365, for CityGuessr to learn.

A frame is in the group that scores highest; a clip's soft label is the share of its frames in each (Kulkarni et al.,
ECCV 2024, sec. 4.3).
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vgeo.datasets.base import Recipe
from vgeo.device import Compute, announce, choose
from vgeo.errors import UsageError
from vgeo.formats.frame_folder import FRAMES_FILE
from vgeo.formats.scenes import AREAS, FILE, GROUPS, ClipScenes, write_scenes
from vgeo.formats.shards import Shard, share_of
from vgeo.formats.streams import check_output, is_stdio
from vgeo.logs import SILENT, Progress
from vgeo.records import Outcome
from vgeo.stages.batch import Batch, Item
from vgeo.stages.encode import FrameStream, Viewing, streams_ahead
from vgeo.stages.layouts import clips_of
from vgeo.stages.scene_classifiers import CLIP, SceneClassifier, load_scene_classifier
from vgeo.video.clips import Clip
from vgeo.video.sampling import Sampling

log = logging.getLogger(__name__)


def default_out(inputs: Sequence[str | os.PathLike[str]], layout: str | None = None) -> Path:
    """Where scenes go: beside the frames of one folder of extract-frames, else here."""
    beside = layout is None and len(inputs) == 1 and (Path(inputs[0]) / FRAMES_FILE).is_file()
    return Path(inputs[0], FILE) if beside else Path(FILE)


def label_scenes(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    classifier: str = CLIP,
    *,
    groups: Path | None = None,
    majority: bool = False,
    weights: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    sampling: Sampling = Sampling(),
    layout: str | None = None,
    recipe: Recipe = Recipe(),
    batch_size: int = 32,
    workers: int = 2,
    compute: Compute | None = None,
    offline: bool = False,
    overwrite: bool = False,
    report: Path | None = None,
    fail_fast: bool = False,
    shard: Shard | None = None,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Write the scenes of clips to `out`, when all are done; those that fail are left out.

    inputs, layout, recipe, sampling: as in `precompute_features`. out: None is `default_out`. classifier, groups,
    weights, settings: see `load_scene_classifier`. majority: all of a clip in its most frequent group, the first of
    equally frequent ones. compute: chosen by itself when None. shard: only its part of the clips, marked for `merge`.
    Raises UsageError, InputError, FormatError, MissingModelError, OutputError, DiskError.
    """
    out = default_out(inputs, layout) if out is None else out
    if report is not None and is_stdio(report) and is_stdio(out):
        raise UsageError("--report -: stdout takes the scenes already; give a file, for them (--out) or the report")
    check_output(out, overwrite)
    clips, failures, _ = clips_of(inputs, layout, recipe, progress)
    _check_ids(clips)
    clips, marks = share_of(shard, clips, lambda clip: clip.name, [name for name, _ in failures])
    if shard is not None and shard.number > 1:
        failures = []
    compute = compute or choose()
    announce(compute)
    labels = load_scene_classifier(
        classifier, compute, groups=groups, weights=weights, settings=settings, offline=offline
    )
    viewing = Viewing(sampling=sampling, batch_size=batch_size)
    of_clip = {clip.video_id: marks[clip.name] for clip in clips if marks}
    rows: list[ClipScenes] = []
    with Batch(report, fail_fast, marks) as batch:
        for name, error in failures:
            with batch.item(name):
                raise error
        progress.start("label-scenes", len(clips), "clips")
        with closing(streams_ahead(clips, viewing, workers)) as streams:
            for clip in clips:
                with batch.item(clip.name) as item:
                    item.outputs = [str(out)]
                    rows.append(_label(next(streams), labels, majority, item, progress))
    if rows:
        write_scenes(out, rows, of_clip)
        _summarize(rows, out)
    return batch.outcomes


def soft_label(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares [16] of so many frames [16] in each group."""
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def majority_label(shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """All [16] of the most frequent group; of equally frequent ones the first."""
    return np.eye(len(shares))[int(np.argmax(shares))]


def _label(
    stream: FrameStream, classifier: SceneClassifier, majority: bool, item: Item, progress: Progress
) -> ClipScenes:
    """Label the frames of one clip, and say what came of it."""
    counts = np.zeros(len(GROUPS), np.int64)
    for batch in stream:
        groups = classifier(torch.from_numpy(np.stack([frame.image for frame in batch])))
        counts += np.bincount(groups, minlength=len(GROUPS))
        progress.advance(len(batch) / len(stream.opened.time_s), stream.clip.video_id)
    opened = stream.opened
    item.frames, item.declared_frames = int(counts.sum()), opened.declared
    item.message = "; ".join(opened.remarks)
    shares = soft_label(counts)
    ranked = [group for group in np.argsort(-shares, kind="stable")[:3] if shares[group]]
    most = ", ".join(f"{GROUPS[group]} {shares[group]:.0%}" for group in ranked)
    remarks = f" ({item.message})" if item.message else ""
    log.info("%s: %d frames: %s%s", stream.clip.video_id, item.frames, most, remarks)
    return ClipScenes(
        video_id=stream.clip.video_id, frames=item.frames, shares=majority_label(shares) if majority else shares
    )


def _check_ids(clips: Sequence[Clip]) -> None:
    """Raise UsageError where two clips would be one in the table."""
    twice = [video_id for video_id, number in Counter(clip.video_id for clip in clips).items() if number > 1]
    if twice:
        names = " and ".join(clip.name for clip in clips if clip.video_id == twice[0])
        raise UsageError(f"{names}: are both clip {twice[0]}; label them one by one, each with its own --out")


def _summarize(rows: Sequence[ClipScenes], out: str | os.PathLike[str]) -> None:
    frames = np.array([row.frames for row in rows])
    shares = frames @ np.stack([row.shares for row in rows]) / frames.sum()
    said = "; ".join(
        f"{area} {sum(shares[GROUPS.index(group)] for group in members):.0%}" for area, members in AREAS.items()
    )
    log.info("%s: %d clips, %d frames: %s", out, len(rows), frames.sum(), said)
