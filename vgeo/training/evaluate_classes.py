"""Validation of a Classifier while training: which share of the held-out clips it places rightly at each level.

Shapes: W windows, N clips, L levels, C classes of a level, B windows and T frames of a batch.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.device import Compute
from vgeo.methods._classes import mean_of, softmaxes, verdict
from vgeo.methods.base import Classifier
from vgeo.training.evaluate import measuring
from vgeo.training.frame_store import FrameStore
from vgeo.training.sampling import Plan, unrepeated
from vgeo.training.store import FeatureStore

TOP = 5  # CityGuessr reports top-1 and top-5 (section 5.1)
_WINDOWS = 64  # at a time


@dataclass(frozen=True, slots=True)
class ClassValidation:
    """How many of the held-out clips are placed rightly."""

    accuracy: dict[str, float]  # level -> share of clips whose answer is right
    top5: dict[str, float]  # level -> share whose class is among the five best
    loss: float  # mean negative logarithm of the true class's probability at the finest level
    clips: int


def validate_classes(
    method: Classifier,
    store: FeatureStore | FrameStore,
    class_NL: NDArray[np.int64],
    levels: tuple[str, ...],
    compute: Compute,
) -> ClassValidation:
    """Place all held-out clips by all their windows, as `localize` does, and compare.

    class_NL: their true classes, -1 where not known. The backbone runs in the precision that training does.
    """
    clips = len(store.frames.video_ids)
    probabilities: list[tuple[Tensor, ...]] = []
    owners = []
    with measuring(method):
        for frame_BT, mask_BT, clip_B in all_windows(method, store):
            batch = store.batch(frame_BT, mask_BT)
            with compute.autocast() if batch.frames_BTHWC is not None else nullcontext():
                probabilities.append(softmaxes(method.logits(batch)))
            owners.append(clip_B)
        joined = tuple(torch.cat(parts) for parts in zip(*probabilities, strict=True))
        found = verdict(method, mean_of(joined, torch.cat(owners).to(joined[0].device), clips))
    truth_NL = torch.from_numpy(class_NL).to(found.answer_NL.device)
    accuracy, top5, loss = {}, {}, 0.0
    for number, level in enumerate(levels):
        known_N = truth_NL[:, number] >= 0
        if not known_N.any():
            continue
        true_N = truth_NL[known_N, number]
        best_NK = found.scores[number][known_N].topk(min(TOP, found.scores[number].shape[1])).indices
        if number == 0:
            likely_N = found.scores[0][known_N].gather(1, true_N[:, None])[:, 0]
            loss = float(-likely_N.clamp(min=torch.finfo(torch.float32).tiny).log().mean())
        accuracy[level] = _share(found.answer_NL[known_N, number] == true_N)
        top5[level] = _share((best_NK == true_N[:, None]).any(1))
    return ClassValidation(accuracy, top5, loss, clips)


def all_windows(method: Classifier, store: FeatureStore | FrameStore) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield frames and mask [B, T], and the number of each window's clip [B], over all windows of all clips.

    The store is told of them all at once, so that pictures are decoded ahead.
    """
    frames, rows, clips = store.frames, list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    for clip, video in enumerate(frames.video_ids):
        first, end = int(frames.clip_first[clip]), int(frames.clip_first[clip + 1])
        rows.append(first + method.windows.rows(end - first, video))
        clips.append(np.full(len(rows[-1]), clip))
    frame_WT = np.concatenate(rows)
    clip_W = torch.from_numpy(np.concatenate(clips))
    plan = Plan(frame_WT, unrepeated(frame_WT), np.array([0, len(frame_WT)]))
    pieces = [slice(first, first + _WINDOWS) for first in range(0, len(frame_WT), _WINDOWS)]
    planned_WT, mask_WT = store.plan(plan, pieces)
    for piece in pieces:
        yield planned_WT[piece], mask_WT[piece], clip_W[piece]


def _share(right_N: Tensor) -> float:
    return float(right_N.float().mean())
