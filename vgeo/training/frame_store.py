"""Frames where the step needs them: decoded in threads that are ahead of it, resized, and sent to the device.

Shapes: N frames, B clips and T frames of a batch, I items of an epoch, H x W pixels of a frame.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.device import Compute
from vgeo.encoders._images import resize
from vgeo.errors import FormatError, InputError
from vgeo.methods.base import Clips
from vgeo.training.data import Frames
from vgeo.training.decoding import Ahead, Pixels
from vgeo.training.frame_set import FrameSet
from vgeo.training.memory import free_bytes, send
from vgeo.training.sampling import Drawing, Plan
from vgeo.training.truth import ClipTruth
from vgeo.video.images import read_image
from vgeo.video.pixels import Shape

log = logging.getLogger(__name__)

_AS_STORED = Shape()
AFTER = "finished epochs are kept, and --resume goes on"  # where a picture cannot be read


class FrameStore(Drawing):
    """Batches of pictures by frame index, as CityGuessr's published loader hands them out, but uint8.

    Pictures are upright RGB, squashed to `shape`, H and W, bilinear with antialiasing, not normalised. They are resized
    as encoders resize them when clips are localized; Pillow, as the published loader has it, differs by a grey level in
    a thousandth of the values, and takes as long again as decoding.
    resident: whether what was decoded stays in memory; None keeps as much as fits into a quarter of what is free.
    workers: threads that decode; None is one a core, with several processes their share. Close it at the end.
    """

    def __init__(
        self,
        sets: Sequence[FrameSet],
        frames: Frames,
        shape: tuple[int, int],
        compute: Compute,
        truth: ClipTruth | None = None,
        resident: bool | None = None,
        workers: int | None = None,
    ) -> None:
        self.frames, self.device = frames, compute.device
        self._sets, self._shape, self._truth = list(sets), shape, truth
        self._set_first = np.concatenate([[0], np.cumsum([len(one) for one in sets])])
        self._latlon_deg = torch.from_numpy(frames.latlon_deg).to(self.device)
        self._clip_first = torch.from_numpy(frames.clip_first)
        self._pictures = Kept(self._read, capacity(len(frames), shape) if resident is None else resident * len(frames))
        self._ahead = Ahead(self._pictures, shape, workers, pinned=self.device.type == "cuda")

    def __enter__(self) -> "FrameStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop decoding."""
        self._ahead.close()

    @property
    def wait_s(self) -> float:
        """How long `batch` has waited for pictures."""
        return self._ahead.wait_s

    def plan(self, plan: Plan, pieces: Sequence[slice] = ()) -> tuple[Tensor, Tensor]:
        """An epoch's frames and mask, on the CPU, of which `batch` will be given `pieces` in this order.

        They are decoded ahead. A batch that is not among them is decoded when it is asked for.
        """
        self._ahead.expect(plan.frame_IT[piece] for piece in pieces)
        return torch.from_numpy(plan.frame_IT), torch.from_numpy(plan.mask_IT)

    def batch(self, frame_BT: Tensor, mask_BT: Tensor) -> Clips:
        """Pictures and positions of frames, on the device; the arguments lie on the CPU.

        Items without any true frame at the end, which fill a batch up, come black. Raises InputError, FormatError.
        """
        items = int(mask_BT.any(dim=1).sum())
        pixels = send(self._ahead.take(frame_BT[:items].numpy()), self.device)
        if missing := len(frame_BT) - items:
            pixels = F.pad(pixels, (0, 0) * 4 + (0, missing))
        clip_B = torch.searchsorted(self._clip_first, frame_BT[:, 0].contiguous(), right=True) - 1
        index = send(frame_BT.flatten(), self.device)
        return Clips(
            frames_BTHWC=pixels,
            mask_BT=send(mask_BT, self.device),
            latlon_deg=self._latlon_deg.index_select(0, index).view(*frame_BT.shape, 2),
            truth=None if self._truth is None else self._truth.of_clips(clip_B, self.device),
        )

    def _read(self, frame: int) -> Pixels:
        """Decode a frame's picture. Called by the threads."""
        row = int(self.frames.row_N[frame])
        one = int(np.searchsorted(self._set_first, row, side="right")) - 1
        return read_resized(self._sets[one].picture(row - int(self._set_first[one])), self._shape)


class Kept:
    """Keeps the first so many pictures that are read."""

    def __init__(self, read: Callable[[int], Pixels], capacity: int) -> None:
        self._read, self._capacity = read, capacity
        self._kept: dict[int, Pixels] = {}

    def __call__(self, number: int) -> Pixels:
        pixels = self._kept.get(number)
        if pixels is None:
            pixels = self._read(number)
            if len(self._kept) < self._capacity:
                self._kept[number] = pixels
        return pixels


def read_resized(path: Path, shape: tuple[int, int], after: str = AFTER) -> Pixels:
    """Read a picture, upright, and squash it to H and W. after: what goes on then. Raises InputError, FormatError."""
    try:
        pixels = read_image(path, _AS_STORED)
    except (InputError, FormatError) as error:
        raise type(error)(f"{error}; put a whole one there; {after}") from error
    # A copy, since PyTorch takes no array that may not be written to.
    whole_BCHW = torch.from_numpy(np.array(pixels))[None].permute(0, 3, 1, 2)
    return resize(whole_BCHW, shape, "bilinear")[0].permute(1, 2, 0).numpy()


def capacity(frames: int, shape: tuple[int, int], part: int = 4) -> int:
    """How many pictures are kept once they are decoded: as many as fit into this part of the free memory."""
    each = shape[0] * shape[1] * 3
    fit = min(frames, free_bytes(torch.device("cpu")) // part // each)
    said = f"{frames} pictures of {shape[1]} x {shape[0]}, {_size(frames * each)}"
    if fit == frames:
        log.info("%s: they stay in memory once decoded", said)
    else:
        log.info("%s: up to %s stay in memory once decoded, others are decoded anew", said, _size(fit * each))
    return fit


def _size(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
