"""Pieces cut out of pictures, turned and mirrored, each on its own: GAMa's augmentations, on the pictures' device.

One gather of pixels does all of it, of bytes, before they become numbers.

Shapes: N pictures or clips, T frames that are cut alike, H x W pixels, h x w pixels of a piece.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vgeo.layers.ranks import own_rows, world_size

# full: GAMa's combined model; crop: crops alone, of the code's plain variant; none: the middle, as in evaluation
Augment = Literal["full", "crop", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Which piece of each picture, and how it is shown: first turned, then mirrored, then upset."""

    top_N: Tensor
    left_N: Tensor
    turns_N: Tensor  # quarters, against the clock, as numpy.rot90 counts them
    mirrored_N: Tensor  # bool: left becomes right
    upset_N: Tensor  # bool: up becomes down


def draw_cuts(
    count: int, room: tuple[int, int], generator: torch.Generator, device: torch.device, augment: Augment, *, turn: bool
) -> Cut:
    """Draw a cut for each of `count` pictures, evenly; for the joined batch of all processes, of which it is a part.

    room: by how many pixels a piece can be moved, (rows, columns). turn: pieces are turned and upset too, as tiles are;
    else mirrored alone.
    """
    # Whatever is asked for takes as many numbers, so that settings differ in what they say alone.
    drawn = torch.rand(world_size() * count, 5, generator=generator, device=generator.device)
    parts = own_rows(drawn).to(device).unbind(1)
    full = augment == "full"
    if augment == "none":
        top_N, left_N = (torch.full_like(parts[0], many // 2, dtype=torch.int64) for many in room)
    else:
        top_N, left_N = (_below(part, many + 1) for part, many in zip(parts, room, strict=False))
    never = torch.zeros_like(top_N, dtype=torch.bool)
    return Cut(
        top_N=top_N,
        left_N=left_N,
        turns_N=_below(parts[2], 4) if full and turn else torch.zeros_like(top_N),
        mirrored_N=parts[3] < 0.5 if full else never,
        upset_N=parts[4] < 0.5 if full and turn else never,
    )


def cut_out(pictures_NTHWC: Tensor, cut: Cut, size: tuple[int, int]) -> Tensor:
    """Take the pieces of (h, w) pixels: [N, T, H, W, 3] -> [N, T, h, w, 3]. Those that are turned are squares."""
    device, count, frames = pictures_NTHWC.device, *pictures_NTHWC.shape[:2]
    row_Nh, column_Nw = (
        _backwards(torch.arange(many, device=device), backwards_N)
        for many, backwards_N in zip(size, (cut.upset_N, cut.mirrored_N), strict=True)
    )
    row, column = torch.broadcast_tensors(row_Nh[:, :, None], column_Nw[:, None, :])
    turns = cut.turns_N[:, None, None]
    source_row = _choose(turns, row, column, size[0] - 1 - row, size[0] - 1 - column)
    source_column = _choose(turns, column, size[1] - 1 - row, size[1] - 1 - column, row)
    source_row, source_column = source_row + cut.top_N[:, None, None], source_column + cut.left_N[:, None, None]
    clip = torch.arange(count, device=device)[:, None, None, None]
    frame = torch.arange(frames, device=device)[:, None, None]
    return pictures_NTHWC[clip, frame, source_row[:, None], source_column[:, None]]


def middle(pictures_XHWC: Tensor, size: tuple[int, int]) -> Tensor:
    """The piece of (h, w) pixels in the middle: [..., H, W, 3] -> [..., h, w, 3]."""
    top, left = ((many - wanted) // 2 for many, wanted in zip(pictures_XHWC.shape[-3:-1], size, strict=True))
    return pictures_XHWC[..., top : top + size[0], left : left + size[1], :]


def _below(part_N: Tensor, many: int) -> Tensor:
    """Numbers in [0, 1) to whole ones below `many`."""
    return (part_N * many).long().clamp(max=many - 1)


def _backwards(numbers: Tensor, which_N: Tensor) -> Tensor:
    """Numbers in their order, or from the last to the first where asked: [N, numbers]."""
    return torch.where(which_N[:, None], numbers.flip(0), numbers)


def _choose(turns: Tensor, *of_turns: Tensor) -> Tensor:
    found = of_turns[0]
    for number, value in enumerate(of_turns[1:], start=1):
        found = torch.where(turns == number, value, found)
    return found
