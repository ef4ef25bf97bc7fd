"""Sequences of tiles with the region they lie in: what GAMa's screening network learns from (ECCV 2022, sec. 4.2).

Shapes: V videos, I items of an epoch, B videos and T tiles of a batch, S pixels of a tile's side.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.device import Compute
from vgeo.formats.tile_pictures import TilePictures
from vgeo.methods.base import Clips, Recipe
from vgeo.training.data import Frames
from vgeo.training.decoding import Ahead, Ints
from vgeo.training.frame_store import Kept, capacity
from vgeo.training.memory import send
from vgeo.training.sampling import Plan

_PART = 8  # of the free memory: for tiles, for regions, and again for what is held out
LATEST = 4  # a sequence begins at one of the first so many tiles, and one more (code: random.randint(0, 4))


class SequenceStore:
    """Batches of videos: the tiles of `length` seconds in a row, and the region's picture.

    frames: moments, of which `of` gives the rows of tiles, video by video: those of their places ("true"), or those
    that were predicted for them. region_V: the row of each video's region. Close it at the end.
    """

    def __init__(
        self,
        frames: Frames,
        of: dict[str, Sequence[Ints]],
        region_V: Ints,
        tiles: TilePictures,
        regions: TilePictures,
        compute: Compute,
        workers: int | None = None,
    ) -> None:
        self.frames, self.device = frames, compute.device
        self.of, self.region_V = of, region_V
        pinned = self.device.type == "cuda"
        used = len(np.unique(np.concatenate([rows for some in of.values() for rows in some])))
        shape = (tiles.size_px, tiles.size_px)
        self._tiles = Ahead(Kept(tiles.read, capacity(used, shape, _PART)), shape, workers, pinned)
        shape = (regions.size_px, regions.size_px)
        self._regions = Ahead(Kept(regions.read, capacity(len(region_V), shape, _PART)), shape, workers, pinned)

    def close(self) -> None:
        """Stop decoding."""
        self._tiles.close()
        self._regions.close()

    @property
    def wait_s(self) -> float:
        """How long `batch` has waited for pictures."""
        return self._tiles.wait_s + self._regions.wait_s

    def steps(self, recipe: Recipe) -> int:
        """How many steps an epoch has: each video is an item."""
        return max(1, -(-len(self.region_V) // recipe.batch_clips))

    def draw(self, recipe: Recipe, rng: np.random.Generator) -> Plan:
        """Draw a sequence of each video: an item is (video, T tiles).

        True sequences are neighbours from one of the first few on, the last repeated where they end; of predicted ones
        the first are taken, or as many are drawn, again and again, where there are fewer (code).
        """
        length = recipe.clip_frames or 1
        rows_V = self.of[recipe.sequence or "true"]
        if recipe.sequence == "predicted":
            item_IX = [first_or_drawn(rows, length, rng) for rows in rows_V]
        else:
            starts = rng.integers(0, LATEST + 1, len(rows_V))
            item_IX = [_in_a_row(rows, int(start), length) for rows, start in zip(rows_V, starts, strict=True)]
        order = rng.permutation(len(rows_V))
        frame_IT = np.concatenate([np.arange(len(rows_V))[:, None], np.stack(item_IX)], axis=1)[order]
        steps = self.steps(recipe)
        return Plan(frame_IT, np.ones(frame_IT.shape, bool), np.arange(steps + 1) * len(order) // steps)

    def expect(self, items: Sequence[Ints]) -> None:
        """Decode these next, which `batch` will be given in this order."""
        self._tiles.expect(item_BX[:, 1:] for item_BX in items)
        self._regions.expect(self.region_V[item_BX[:, :1]] for item_BX in items)

    def plan(self, plan: Plan, pieces: Sequence[slice] = ()) -> tuple[Tensor, Tensor]:
        """An epoch's items and mask, on the CPU, of which `batch` will be given `pieces` in this order."""
        self.expect([plan.frame_IT[piece] for piece in pieces])
        return torch.from_numpy(plan.frame_IT), torch.from_numpy(plan.mask_IT)

    def batch(self, item_BX: Tensor, mask_BX: Tensor) -> Clips:
        """Tiles and regions of items (video, T tiles), on the device; the arguments lie on the CPU.

        Items that fill a batch up at its end come black. Raises InputError, FormatError.
        """
        items = int(mask_BX.any(dim=1).sum())
        item_bX = item_BX[:items].numpy()
        tiles = send(self._tiles.take(item_bX[:, 1:]), self.device)
        regions = send(self._regions.take(self.region_V[item_bX[:, :1]]), self.device)
        if missing := len(item_BX) - items:
            tiles, regions = (F.pad(pixels, (0, 0) * 4 + (0, missing)) for pixels in (tiles, regions))
        return Clips(
            frames_BTHWC=tiles, tiles_BSSC=regions[:, 0], mask_BT=send(mask_BX[:, 1:].contiguous(), self.device)
        )


def first_or_drawn(rows: Ints, length: int, rng: np.random.Generator) -> Ints:
    """The first rows or, where there are fewer than `length`, so many drawn with replacement (code)."""
    return rows[:length] if len(rows) >= length else rng.choice(rows, length)


def sequence_of(rows: Ints, length: int) -> Ints:
    """As `first_or_drawn`, and of the same rows always the same."""
    return first_or_drawn(rows, length, np.random.default_rng(0))


def _in_a_row(rows: Ints, start: int, length: int) -> Ints:
    """Rows from `start` on; the last one again and again where they end."""
    return rows[np.minimum(np.arange(start, start + length), len(rows) - 1)]
