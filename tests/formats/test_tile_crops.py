"""Crops and mosaics, against pixels that say where on the map they lie."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tilemaker import SIZE, encoded, square, tile_pixels, world_pixels, write_tiles, write_xyz

from vgeo.errors import FormatError, InputError
from vgeo.formats.tile_crops import TileCrops, corner, under
from vgeo.formats.tile_store import open_tiles
from vgeo.geo.tiles import pixel_of, position, tile_of

FIRST = tile_of((48.14, 11.58), 19)


@pytest.fixture
def crops(tmp_path: Path) -> TileCrops:
    return TileCrops(open_tiles(write_tiles(tmp_path, square(*FIRST, 5))))


def test_squares_anywhere(crops: TileCrops) -> None:
    left, top = FIRST[0] * SIZE, FIRST[1] * SIZE
    for east, south, side in ((0, 0, SIZE), (1, 0, SIZE), (17, 31, SIZE), (5, 9, 100), (0, 0, 160), (33, 64, 3)):
        found = crops.square(left + east, top + south, side)
        assert np.array_equal(found, world_pixels(left + east, top + south, side, side))


def test_a_crop_is_centred_on_its_position(crops: TileCrops) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        at = position(FIRST[0] + rng.uniform(1, 4), FIRST[1] + rng.uniform(1, 4), 19)
        left, top = corner(at, SIZE, crops.store)
        assert np.abs(pixel_of(at, 19, SIZE) - (left + SIZE / 2, top + SIZE / 2)).max() <= 0.5 + 1e-6
        assert np.array_equal(crops.crop(at, SIZE), world_pixels(left, top, SIZE, SIZE))


def test_a_mosaic_is_shrunk(tmp_path: Path) -> None:
    """Stripes as wide as a tile, seven of them: their shares of the small picture."""
    from PIL import Image

    for i in range(7):
        for j in range(7):
            Image.new("RGB", (70, 70), (i * 30, j * 30, 9)).save(tmp_path / f"{100 + i}_{200 + j}.png")
    found = TileCrops(open_tiles(tmp_path)).shrunk(7000, 14000, 7)
    assert found.shape == (70, 70, 3)
    for i in range(7):
        for j in range(7):
            assert (found[10 * j + 4, 10 * i + 4] == (i * 30, j * 30, 9)).all()


def test_a_crop_across_the_antimeridian(tmp_path: Path) -> None:
    zoom, last = 9, 2**9 - 1
    write_xyz(tmp_path, zoom, [(last, 100), (0, 100), (last, 101), (0, 101)])
    crops = TileCrops(open_tiles(tmp_path))
    at = position(0, 101, zoom)
    assert at[1] == -180
    found = crops.crop(at, SIZE)
    half = SIZE // 2
    assert np.array_equal(found[:, :half], world_pixels(last * SIZE + half, 101 * SIZE - half, half, SIZE))
    assert np.array_equal(found[:, half:], world_pixels(0, 101 * SIZE - half, half, SIZE))
    east = position(2**zoom - 3 / SIZE, 101, zoom)  # three pixels west of it
    assert np.array_equal(crops.crop(east, SIZE)[:, half + 3 :], world_pixels(0, 101 * SIZE - half, half - 3, SIZE))


def test_what_is_shrunk_is_smoothed(tmp_path: Path) -> None:
    """As GAMa's regions are: bilinear, with antialiasing, not every third pixel of a third."""
    rng = np.random.default_rng(0)
    tiles = {tile: rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for tile in square(*FIRST, 3)}
    for (x, y), pixels in tiles.items():
        (tmp_path / f"{x}_{y}.png").write_bytes(encoded(pixels))
    found = TileCrops(open_tiles(tmp_path)).shrunk(FIRST[0] * SIZE, FIRST[1] * SIZE, 3)
    whole = np.concatenate([np.concatenate([tiles[FIRST[0] + i, FIRST[1] + j] for i in range(3)], 1) for j in range(3)])
    weights = np.zeros((SIZE, 3 * SIZE))  # a triangle over six pixels around the middle of each three
    for row in range(SIZE):
        weights[row] = np.maximum(0, 1 - np.abs(np.arange(3 * SIZE) - (3 * row + 1)) / 3)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.einsum("ir,rcx,jc->ijx", weights, whole.astype(float), weights)
    assert np.abs(found - expected).max() < 1.5


def test_beyond_the_ends_of_the_map() -> None:
    for top in (-1, 2**9 * SIZE - SIZE + 1):
        with pytest.raises(FormatError, match="beyond the tiles of Web Mercator"):
            under(0, top, SIZE, 9, SIZE)
    assert under(-1, 0, SIZE, 9, SIZE) == [(511, 0), (0, 0)]


def test_a_missing_neighbour_is_named(crops: TileCrops) -> None:
    with pytest.raises(InputError, match=f"no tile {FIRST[0] + 5}_{FIRST[1]} at zoom 19"):
        crops.square((FIRST[0] + 4) * SIZE + 1, FIRST[1] * SIZE, SIZE)


def test_tiles_are_decoded_once_while_they_are_kept(tmp_path: Path) -> None:
    store = open_tiles(write_tiles(tmp_path, square(*FIRST, 3)))
    calls: list[tuple[int, int]] = []
    inner = store.read
    store.read = lambda x, y: (calls.append((x, y)), inner(x, y))[1]  # type: ignore[method-assign]
    crops = TileCrops(store, kept_bytes=2 * SIZE * SIZE * 3)
    a, b, c = ((FIRST[0] + i, FIRST[1]) for i in range(3))
    for tile in (a, b, a, c, a, b):
        assert np.array_equal(crops.tile(*tile), tile_pixels(*tile))
    assert calls == [a, b, c, b]  # c drove out b, the one not used for longest


def test_threads_crop_at_once(crops: TileCrops) -> None:
    rng = np.random.default_rng(1)
    corners = [(FIRST[0] * SIZE + int(e), FIRST[1] * SIZE + int(s)) for e, s in rng.integers(0, 100, (300, 2))]
    with ThreadPoolExecutor(8) as pool:
        for (left, top), found in zip(corners, pool.map(lambda at: crops.square(*at, 40), corners), strict=True):
            assert np.array_equal(found, world_pixels(left, top, 40, 40))
