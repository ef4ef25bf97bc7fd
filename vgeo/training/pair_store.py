"""Clips with the tiles of their places: drawn, decoded ahead of the step, and sent to the device.

Which clip of a video an epoch sees, where it begins, and which other clip of that video is a hard negative follow
GAMa's published data set code (train clips begin before their second; the negative lies in the other half).

Shapes: V videos, M moments (seconds whose place is known), I items of an epoch, B clips and T frames of a batch, N
pictures, H x W pixels of a frame, S pixels of a tile's side.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.device import Compute
from vgeo.formats.tile_pictures import TilePictures
from vgeo.methods.base import Clips, Pairing, Recipe, Retriever
from vgeo.training.data import Frames
from vgeo.training.decoding import Ahead, Ints, Pixels
from vgeo.training.frame_store import AFTER, Kept, capacity, read_resized
from vgeo.training.memory import send
from vgeo.training.moment_set import MomentSet
from vgeo.training.sampling import Plan

_PART = 8  # of the free memory: for pictures of clips, for tiles, and for clips that are held out
_EDGE = 1  # GPS points at either end of a video that no clip is drawn at (code)
_APART = (5, 3)  # and so many points of the other half, next to the middle, no hard negative (code)


class PairStore:
    """Batches of clips of `length` frames at `rate_hz`, each with the tile of its place.

    frames: moments of the sets laid end to end. tiles: those that their tiles' rows count through; None: batches come
    without. shape: H and W, to which frames are squashed.
    resident: whether what was decoded stays in memory; None keeps what fits. Close it at the end.
    """

    def __init__(
        self,
        sets: Sequence[MomentSet],
        frames: Frames,
        tiles: TilePictures | None,
        shape: tuple[int, int],
        compute: Compute,
        *,
        length: int,
        rate_hz: float,
        resident: bool | None = None,
        workers: int | None = None,
        after: str = AFTER,
    ) -> None:
        self.frames, self.device = frames, compute.device
        self._after = after
        self._sets, self._shape, self._length, self._rate_hz = list(sets), shape, length, rate_hz
        self._picture_first = np.concatenate([[0], np.cumsum([len(one.picture_time_s) for one in sets])])
        self._picture_time_s = np.concatenate([one.picture_time_s for one in sets])
        self._time_s = np.concatenate([one.time_s for one in sets])[frames.row_N]
        self._tile_M = np.concatenate([one.tile_M for one in sets])[frames.row_N]
        self._bounds_M2 = _pictures_of_moments(sets)[frames.row_N]
        self._latlon_deg = torch.from_numpy(frames.latlon_deg).to(self.device)
        pinned = self.device.type == "cuda"
        most = min(len(self._picture_time_s), 2 * length * len(frames))
        kept = capacity(most, shape, _PART) if resident is None else resident * len(self._picture_time_s)
        self._clips = Ahead(Kept(self._read, kept), shape, workers, pinned)
        self._tiles = None
        if tiles is not None:
            square = tiles.size_px, tiles.size_px
            kept = capacity(len(frames), square, _PART) if resident is None else resident * len(frames)
            self._tiles = Ahead(Kept(tiles.read, kept), square, workers, pinned)

    @classmethod
    def of_method(
        cls,
        method: Retriever,
        sets: Sequence[MomentSet],
        frames: Frames,
        tiles: TilePictures | None,
        compute: Compute,
        resident: bool | None = None,
        after: str = AFTER,
    ) -> "PairStore":
        """Clips as a method sees them. after: see `read_resized`."""
        windows, rate_hz, shape = method.windows, method.rate_hz, method.frame_shape
        assert windows is not None and rate_hz is not None and shape is not None
        length = windows.length
        return cls(sets, frames, tiles, shape, compute, length=length, rate_hz=rate_hz, resident=resident, after=after)

    def close(self) -> None:
        """Stop decoding."""
        for ahead in self._aheads:
            ahead.close()

    @property
    def wait_s(self) -> float:
        """How long `batch` has waited for pictures."""
        return sum(ahead.wait_s for ahead in self._aheads)

    @property
    def _aheads(self) -> list[Ahead]:
        return [self._clips] if self._tiles is None else [self._clips, self._tiles]

    def steps(self, recipe: Recipe) -> int:
        """How many steps an epoch has: one clip is drawn of each video."""
        return max(1, -(-len(self.frames.video_ids) // recipe.batch_clips))

    def draw(self, recipe: Recipe, rng: np.random.Generator) -> Plan:
        """Draw a clip of each video and, where the recipe says so, another of its other half next to it.

        An item is (moment, T pictures). Where a video has no other moment its hard negative is masked.
        """
        pairing = recipe.pairing or Pairing()
        first = self.frames.clip_first
        count_V = np.diff(first)
        edge_V = np.where(count_V > 2 * _EDGE, _EDGE, 0)
        moment_V = edge_V + (rng.random(len(count_V)) * (count_V - 2 * edge_V)).astype(np.int64)
        chosen = [moment_V]
        if pairing.another:
            chosen.append(_in_other_half(moment_V, count_V, edge_V, rng))
        moment_IK = np.stack(chosen, axis=1)
        order = rng.permutation(len(count_V))
        there_I = (moment_IK >= 0)[order].ravel()
        moment_I = (first[:-1, None] + np.maximum(moment_IK, 0))[order].ravel()
        start_s = self._time_s[moment_I] - pairing.early_s * (1 - rng.random(len(moment_I)))
        item_IX = np.concatenate([moment_I[:, None], self.pictures(moment_I, start_s)], axis=1)
        mask_IX = np.broadcast_to(there_I[:, None], item_IX.shape)
        steps, clips = self.steps(recipe), len(chosen)
        step_first = np.arange(steps + 1, dtype=np.int64) * len(count_V) // steps * clips
        return Plan(item_IX, mask_IX.copy(), step_first)

    def pictures(self, moment_B: Ints, start_s: NDArray[np.float64]) -> Ints:
        """Numbers of the pictures of clips of moments' videos, by when they begin: [B, T].

        A clip that would begin before its video does, or end after it, is moved into it.
        """
        first_B, last_B = self._bounds_M2[moment_B].T
        span_s = (self._length - 1) / self._rate_hz
        latest_s = np.maximum(self._picture_time_s[last_B] - span_s, self._picture_time_s[first_B])
        begin_s = np.clip(start_s, self._picture_time_s[first_B], latest_s)
        wanted_BT = begin_s[:, None] + np.arange(self._length) / self._rate_hz
        return np.stack(
            [
                low + np.clip(np.searchsorted(self._picture_time_s[low : high + 1], row + 1e-6, "right") - 1, 0, None)
                for low, high, row in zip(first_B, last_B, wanted_BT, strict=True)
            ]
        )

    def at_seconds(self, moment_B: Ints) -> Ints:
        """The items of clips that begin at their seconds, as in evaluation: [B, 1 + T]."""
        return np.concatenate([moment_B[:, None], self.pictures(moment_B, self._time_s[moment_B])], axis=1)

    def expect(self, items: Sequence[Ints]) -> None:
        """Decode these next, which `batch` will be given in this order."""
        self._clips.expect(item_BX[:, 1:] for item_BX in items)
        if self._tiles is not None:
            self._tiles.expect(self._tile_M[item_BX[:, :1]] for item_BX in items)

    def plan(self, plan: Plan, pieces: Sequence[slice] = ()) -> tuple[Tensor, Tensor]:
        """An epoch's items and mask, on the CPU, of which `batch` will be given `pieces` in this order."""
        self.expect([plan.frame_IT[piece][plan.mask_IT[piece].any(axis=1)] for piece in pieces])
        return torch.from_numpy(plan.frame_IT), torch.from_numpy(plan.mask_IT)

    def batch(self, item_BX: Tensor, mask_BX: Tensor) -> Clips:
        """Frames, tiles and positions of items (moment, T pictures), on the device; the arguments lie on the CPU.

        Masked items come black. Raises InputError, FormatError.
        """
        there_B = mask_BX.any(dim=1)
        item_bX = item_BX[there_B].numpy()
        frames = self._whole(self._clips.take(item_bX[:, 1:]), there_B)
        tiles = None
        if self._tiles is not None:
            tiles = self._whole(self._tiles.take(self._tile_M[item_bX[:, :1]])[:, 0], there_B)
        index = send(item_BX[:, 0].contiguous(), self.device)
        return Clips(
            frames_BTHWC=frames,
            tiles_BSSC=tiles,
            mask_BT=send(mask_BX[:, 1:].contiguous(), self.device),
            latlon_deg=self._latlon_deg.index_select(0, index)[:, None],
        )

    def _whole(self, pixels: Tensor, there_B: Tensor) -> Tensor:
        """Pictures of the true items where they belong, on the device."""
        sent = send(pixels, self.device)
        if bool(there_B.all()):
            return sent
        at_B = (there_B.cumsum(0) - 1).clamp(min=0)
        padded = sent if len(sent) else F.pad(sent, (0, 0) * (sent.ndim - 1) + (0, 1))
        spread = padded.index_select(0, send(at_B, self.device))
        return spread * send(there_B, self.device).view(-1, *[1] * (sent.ndim - 1))

    def _read(self, number: int) -> Pixels:
        """Decode a picture. Called by the threads."""
        one = int(np.searchsorted(self._picture_first, number, side="right")) - 1
        return read_resized(self._sets[one].picture(number - int(self._picture_first[one])), self._shape, self._after)


def _pictures_of_moments(sets: Sequence[MomentSet]) -> Ints:
    """First and last picture of the video of each moment [M, 2], counted over all sets."""
    found, offset = [], 0
    for one in sets:
        bounds_V2 = np.stack([one.first_picture[:-1], one.first_picture[1:] - 1], axis=1) + offset
        found.append(np.repeat(bounds_V2, np.diff(one.first_row), axis=0))
        offset += len(one.picture_time_s)
    return np.concatenate(found).astype(np.int64)


def _in_other_half(moment_V: Ints, count_V: Ints, edge_V: Ints, rng: np.random.Generator) -> Ints:
    """A moment of the other half of each video [V]; -1 where it has none but the one drawn.

    Of the first half those some points before the middle, of the second those some after it (code). Ours, for videos
    that are too short for that: any moment but the one drawn.
    """
    middle_V, in_second_V = count_V // 2, moment_V > count_V // 2
    low_V = np.where(in_second_V, edge_V, middle_V + _APART[1])
    high_V = np.where(in_second_V, middle_V - _APART[0], count_V - edge_V)
    drawn_V = rng.random(len(count_V))
    found_V = low_V + (drawn_V * np.maximum(high_V - low_V, 1)).astype(np.int64)
    other_V = (drawn_V * np.maximum(count_V - 1, 1)).astype(np.int64)
    other_V = np.where(count_V > 1, other_V + (other_V >= moment_V), -1)
    return np.where(high_V > low_V, found_V, other_V)
