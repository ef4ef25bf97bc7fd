"""Regions over the tiles that there are: whole, in step, and over every tile that fits into one."""

import numpy as np

from vgeo.geo.tile_blocks import whole_blocks
from vgeo.geo.tiles import block


def rectangle(x: int, y: int, width: int, height: int) -> set[tuple[int, int]]:
    return {(x + i, y + j) for i in range(width) for j in range(height)}


def test_blocks_in_step() -> None:
    starts, lost = whole_blocks(rectangle(40, 80, 15, 11), 7, 4)
    assert starts == [(40, 80), (40, 84), (44, 80), (44, 84), (48, 80), (48, 84)]
    assert lost == 0


def test_every_tile_that_fits_lies_in_a_whole_block() -> None:
    """Against the plain search: where any placement without a gap holds a tile, some chosen block does too."""
    rng = np.random.default_rng(0)
    for across, step in ((3, 2), (3, 3), (2, 1), (4, 3), (1, 1)):
        there = {tile for tile in rectangle(101, 57, 13, 11) if rng.random() > 0.06}
        starts, lost = whole_blocks(there, across, step)
        assert starts == sorted(set(starts))
        assert all(set(block(*start, across)) <= there for start in starts)
        covered = {tile for start in starts for tile in block(*start, across)}
        fits = set()
        for x, y in rectangle(95, 50, 30, 30):
            squares = set(block(x, y, across))
            fits |= squares if squares <= there else set()
        assert covered == fits
        assert lost == len(there - fits)
        on_grid = [(x, y) for x, y in rectangle(95, 50, 30, 30) if x % step == 0 == y % step]
        assert {start for start in on_grid if set(block(*start, across)) <= there} <= set(starts)


def test_too_few_tiles() -> None:
    assert whole_blocks(rectangle(0, 0, 6, 9), 7, 4) == ([], 54)
    assert whole_blocks([(5, 5)], 7, 4) == ([], 1)
    assert whole_blocks([(5, 5)], 1, 1) == ([(5, 5)], 0)
