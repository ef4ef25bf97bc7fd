"""Which frames each step of an epoch sees: a function of (seed, phase, epoch) alone, so a resumed run sees the same.

Shapes: V clips, N frames, I items of an epoch (clips, or single frames), T frames an item.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vgeo.encoders._windows import Windows
from vgeo.methods.base import Clips, Recipe
from vgeo.training.data import Frames

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """The frames of one epoch, in the order in which they are used."""

    frame_IT: Ints  # index of a frame; where an item is short its last frame is repeated
    mask_IT: NDArray[np.bool_]  # False on repeated frames
    step_first: Ints  # [steps + 1] first item of each step

    @property
    def steps(self) -> int:
        """How many optimiser steps the epoch has."""
        return len(self.step_first) - 1

    def pieces(self, step: int, accumulate: int) -> Iterator[slice]:
        """Split a step's items into at most `accumulate` nearly equal runs."""
        first, last = int(self.step_first[step]), int(self.step_first[step + 1])
        bounds = np.linspace(first, last, min(accumulate, last - first) + 1).round().astype(int)
        for start, end in pairwise(bounds):
            yield slice(int(start), int(end))


def own_part(piece: slice, rank: int, processes: int) -> tuple[slice, int]:
    """Which of a piece's items one of several processes takes, and how many it lacks to have as many as the others.

    The items of all processes, each one's filled up, are the piece in order with what is missing at its end.
    """
    each = -(-(piece.stop - piece.start) // processes)
    first = min(piece.start + rank * each, piece.stop)
    last = min(first + each, piece.stop)
    return slice(first, last), each - (last - first)


def stream(seed: int, phase: int, epoch: int) -> np.random.Generator:
    """The random numbers of one epoch."""
    return np.random.default_rng([seed, phase, epoch])


def one_ahead(make: Callable[[int], Plan], epochs: range) -> Iterator[Plan]:
    """Yield the plan of each epoch; the next one is made meanwhile, so that the device does not wait for it."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, epoch) for epoch in epochs[:1]]
        for epoch in epochs:
            plan = ahead.pop().result()
            if epoch != epochs[-1]:
                ahead.append(pool.submit(make, epoch + epochs.step))
            yield plan


def steps_per_epoch(clip_first: Ints, clip_frames: int | None, batch: int) -> int:
    """How many steps `plan_epoch` makes."""
    items = int(clip_first[-1]) if clip_frames is None else len(clip_first) - 1
    return max(1, -(-items // batch))


class Store(Protocol):
    """Where the loop takes batches from."""

    @property
    def frames(self) -> Frames: ...
    @property
    def wait_s(self) -> float: ...
    def steps(self, recipe: Recipe) -> int: ...
    def draw(self, recipe: Recipe, rng: np.random.Generator) -> Plan: ...
    def plan(self, plan: Plan, pieces: Sequence[slice] = ()) -> tuple[Tensor, Tensor]: ...
    def batch(self, frame_BT: Tensor, mask_BT: Tensor) -> Clips: ...
    def close(self) -> None: ...


class Drawing:
    """What a store of frames has that draws an epoch's items as most methods want them."""

    frames: Frames

    def steps(self, recipe: Recipe) -> int:
        """How many steps an epoch has."""
        return steps_per_epoch(self.frames.clip_first, recipe.clip_frames, recipe.batch_clips)

    def draw(self, recipe: Recipe, rng: np.random.Generator) -> Plan:
        """Draw an epoch; see `plan_epoch`."""
        first = self.frames.clip_first
        return plan_epoch(first, recipe.clip_frames, recipe.batch_clips, rng, recipe.contiguous, recipe.windows)

    def close(self) -> None:
        """Stop what reads ahead; nothing does, unless a store says otherwise."""


def plan_epoch(
    clip_first: Ints,
    clip_frames: int | None,
    batch: int,
    rng: np.random.Generator,
    contiguous: bool = False,
    windows: Windows | None = None,
) -> Plan:
    """Shuffle the clips and draw `clip_frames` frames of each, or shuffle all frames singly where that is None.

    clip_first: [V + 1] first frame of each clip; no clip is empty. contiguous: the frames of a clip are neighbours.
    windows: they are one of these. Every item is used once an epoch. Steps differ by at most one item, rather than
    ending in a small one: contrastive losses depend on the size of the batch.
    """
    if clip_frames is None:
        frame_IT = rng.permutation(int(clip_first[-1]))[:, None]
        mask_IT = np.ones(frame_IT.shape, bool)
    else:
        if windows is not None:
            frame_IT, mask_IT = _draw_window(clip_first, windows, rng)
        else:
            frame_IT, mask_IT = (_draw_run if contiguous else _draw_spread)(clip_first, clip_frames, rng)
        order = rng.permutation(len(frame_IT))
        frame_IT, mask_IT = frame_IT[order], mask_IT[order]
    items = len(frame_IT)
    steps = steps_per_epoch(clip_first, clip_frames, batch)
    return Plan(frame_IT, mask_IT, np.arange(steps + 1, dtype=np.int64) * items // steps)


def _draw_window(clip_first: Ints, windows: Windows, rng: np.random.Generator) -> tuple[Ints, NDArray[np.bool_]]:
    """Draw one of the windows of each clip, each equally likely; frames that it repeats are masked."""
    lengths = np.diff(clip_first)
    chosen = rng.random(len(lengths))
    frame_IT = np.empty((len(lengths), windows.length), np.int64)
    for length in np.unique(lengths):
        rows_WL = windows.rows(int(length))
        clips = np.flatnonzero(lengths == length)
        drawn = rows_WL[(chosen[clips] * len(rows_WL)).astype(np.int64)]
        frame_IT[clips] = clip_first[:-1][clips, None] + drawn
    return frame_IT, unrepeated(frame_IT)


def unrepeated(frame_IT: Ints) -> NDArray[np.bool_]:
    """False where a frame is that before it."""
    return np.pad(np.diff(frame_IT, axis=1) != 0, ((0, 0), (1, 0)), constant_values=True)


def _draw_run(clip_first: Ints, clip_frames: int, rng: np.random.Generator) -> tuple[Ints, NDArray[np.bool_]]:
    """Draw a run of neighbours of each clip, each run equally likely; a clip of fewer frames gives all of them."""
    lengths = np.diff(clip_first)
    start = clip_first[:-1] + rng.integers(np.maximum(lengths - clip_frames, 0) + 1)
    column = np.arange(clip_frames)[None, :]
    frame_IT = start[:, None] + np.minimum(column, lengths[:, None] - 1)
    return frame_IT.astype(np.int64), column < lengths[:, None]


def _draw_spread(clip_first: Ints, clip_frames: int, rng: np.random.Generator) -> tuple[Ints, NDArray[np.bool_]]:
    """Draw a random subset of each clip's frames, in their order; a clip of fewer frames gives all of them.

    A sorted random subset, as VidTAG's "16 frames were sampled" (appendix A) leaves open: it covers long clips.
    """
    lengths = np.diff(clip_first)
    clip_of_frame = np.repeat(np.arange(len(lengths)), lengths)
    # One sort shuffles within every clip at once: the integer part keeps clips apart.
    shuffled = np.argsort(clip_of_frame + rng.random(len(clip_of_frame)), kind="stable")
    column = np.arange(clip_frames)[None, :]
    mask_IT = column < lengths[:, None]
    picked = np.where(mask_IT, shuffled[np.minimum(clip_first[:-1, None] + column, len(shuffled) - 1)], len(shuffled))
    frame_IT = np.sort(picked, axis=1)  # what is missing sorts to the end
    last = frame_IT[np.arange(len(lengths)), np.minimum(lengths, clip_frames) - 1]
    return np.where(mask_IT, frame_IT, last[:, None]).astype(np.int64), mask_IT
