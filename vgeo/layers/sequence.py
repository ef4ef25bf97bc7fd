"""Frames in order: positions for any length, and windows over what is too long for one pass.

Shapes: B clips, T frames, D width.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def sinusoids(places: Tensor, width: int) -> Tensor:
    """Fixed positions [..., D] of Vaswani et al. 2017, section 3.5, for any (also fractional) places [...]."""
    half = (width + 1) // 2
    rate = torch.exp(torch.arange(half, device=places.device) * (-math.log(10000.0) / half))
    angle = places.float()[..., None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)[..., :width]


def attended(mask_BT: Tensor) -> Tensor:
    """The mask of frames that attention may look at: a clip without any frame looks at its first, not at nothing.

    Attention over nothing is not a number, and it would spread from clips that only fill up a batch.
    """
    first = torch.zeros_like(mask_BT)
    first[:, 0] = ~mask_BT.any(1)
    return mask_BT | first


def in_windows(
    embed: Callable[[Tensor, Tensor], Tensor], frames_BTD: Tensor, mask_BT: Tensor, window: int, overlap: int
) -> Tensor:
    """Apply `embed(frames, mask)` to clips of any length, at most `window` frames at a time: [B, T, ...].

    Neighbouring windows share `overlap` frames; a frame takes its value from the window in whose middle it lies most.
    """
    length = frames_BTD.shape[1]
    if length <= window:
        return embed(frames_BTD, mask_BT)
    starts = [*range(0, length - window, window - overlap), length - window]
    pieces, taken = [], 0
    for start, following in zip(starts, [*starts[1:], length], strict=True):
        end = start + window
        value = embed(frames_BTD[:, start:end], mask_BT[:, start:end])
        until = length if following == length else (following + end + 1) // 2
        pieces.append(value[:, taken - start : until - start])
        taken = until
    return torch.cat(pieces, 1)
