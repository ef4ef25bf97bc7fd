"""Frames go in as they are decoded, rows of features come out: one a frame, or one a window of frames.

Shapes: B frames of a batch, or windows of T frames, R rows, D feature width.
"""

from collections import deque
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.encoders._windows import Windows, common_windows
from vgeo.encoders.base import Encoder

Table = NDArray[np.float32]


class Rows(Protocol):
    """What becomes of a clip's frames."""

    def add(self, images_BHWC: Tensor) -> None:
        """Take the next frames, RGB, uint8."""

    def finish(self) -> tuple[dict[str, Table], NDArray[np.int64], str]:
        """Features [R, D] by encoder, the frame that each row stands for [R], counted as they came, and a remark."""


def rows_of(
    encoders: Mapping[str, Encoder],
    promised_s: NDArray[np.float64],
    clip: str = "",
    wanted: NDArray[np.int64] | None = None,
) -> Rows:
    """Rows of a clip, by name, of frames at the times `promised_s`; fewer may come.

    wanted: numbers of the frames that will come, all that are in a window; None: all frames.
    Raises UsageError where the encoders' rows differ.
    """
    windows = common_windows(encoders)
    return (
        FrameRows(encoders, len(promised_s))
        if windows is None
        else WindowRows(encoders, windows, promised_s, clip, wanted)
    )


class FrameRows:
    """One row a frame, in tables for as many as are promised: small ones to be joined would scatter over the memory."""

    def __init__(self, encoders: Mapping[str, Encoder], promised: int) -> None:
        self._encoders, self._promised = encoders, promised
        self._tables: dict[str, Table] = {}
        self._arrived = 0

    def add(self, images_BHWC: Tensor) -> None:
        stop = self._arrived + len(images_BHWC)
        for name, encoder in self._encoders.items():
            found_BD = encoder(images_BHWC).cpu().numpy()
            table_RD = self._tables.get(name)
            if table_RD is None:
                table_RD = self._tables[name] = np.empty((self._promised, found_BD.shape[1]), found_BD.dtype)
            table_RD[self._arrived : stop] = found_BD
        self._arrived = stop

    def finish(self) -> tuple[dict[str, Table], NDArray[np.int64], str]:
        whole = {name: table_RD[: self._arrived] for name, table_RD in self._tables.items()}
        return whole, np.arange(self._arrived), ""


class WindowRows:
    """One row a window, encoded when its last frame has come; frames are kept, shrunken, while a window needs them."""

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        windows: Windows,
        promised_s: NDArray[np.float64],
        clip: str,
        wanted: NDArray[np.int64] | None = None,
    ) -> None:
        self._encoders, self._windows = encoders, windows
        self._clip, self._promised_s, self._chosen = clip, promised_s, wanted is not None
        planned = windows.rows(len(promised_s), clip, promised_s)
        if wanted is not None:
            planned = np.searchsorted(wanted, planned)  # frames are counted as they come
        self._waiting = deque(planned)
        self._wanted = set(planned.flatten().tolist())
        self._kept: dict[str, dict[int, Tensor]] = {name: {} for name in encoders}
        self._tables: dict[str, list[Table]] = {name: [] for name in encoders}
        self._done: list[NDArray[np.int64]] = []
        self._arrived = 0

    def add(self, images_BHWC: Tensor) -> None:
        for name, encoder in self._encoders.items():
            self._kept[name].update(enumerate(encoder.shrink(images_BHWC), self._arrived))
        self._arrived += len(images_BHWC)
        full = []
        while self._waiting and self._waiting[0][-1] < self._arrived:
            full.append(self._waiting.popleft())
        self._encode(full)
        self._forget()

    def finish(self) -> tuple[dict[str, Table], NDArray[np.int64], str]:
        if self._waiting and self._chosen:  # some could not be decoded: those after them take their places
            self._encode([np.minimum(row, self._arrived - 1) for row in self._waiting])
        elif self._waiting:  # windows of those that were
            self._encode(list(self._left(self._arrived)))
        stands_for = np.array([self._windows.stands_for(window) for window in self._done], np.int64)
        frames = len(self._promised_s) if self._chosen else self._arrived
        return _joined(self._tables), stands_for, self._windows.remark(frames, self._promised_s[:frames])

    def _left(self, frames: int) -> NDArray[np.int64]:
        """The windows that are not encoded yet, of so many frames of those that were promised."""
        return self._windows.rows(frames, self._clip, self._promised_s[:frames])[len(self._done) :]

    def _encode(self, windows: list[NDArray[np.int64]]) -> None:
        if not windows:
            return
        for name, encoder in self._encoders.items():
            kept = self._kept[name]
            frames_BTHWC = torch.stack([torch.stack([_nearest(kept, int(n)) for n in window]) for window in windows])
            self._tables[name].append(encoder(frames_BTHWC).cpu().numpy())
        self._done += windows

    def _forget(self) -> None:
        """Keep what a waiting window needs, and the last frames, with which the clip may end sooner than promised."""
        recent = self._arrived - self._windows.length
        first = int(self._waiting[0][0]) if self._waiting else self._arrived
        for kept in self._kept.values():
            for number in [n for n in kept if n < recent and (n < first or n not in self._wanted)]:
                del kept[number]


def _nearest(kept: dict[int, Tensor], number: int) -> Tensor:
    """A frame, or the one nearest to it where it was not to be one of a window's when it came."""
    return kept[number] if number in kept else kept[min(kept, key=lambda other: abs(other - number))]


def _joined(tables: Mapping[str, list[Table]]) -> dict[str, Table]:
    return {name: np.concatenate(parts) for name, parts in tables.items()}
