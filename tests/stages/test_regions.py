"""Which tiles are in which region, by video and by place; and which regions a video keeps."""

import mercantile
import numpy as np
import pytest
from rankingmaker import of_lists

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.geo.mercator import map_position
from vgeo.stages.regions import how_many, kept_regions, members, region_ids, tile_ids

ZOOM = 19
SIDE = 2 * np.pi * 6378137.0 / 2**ZOOM


def at(x, y):
    """The position so many tiles east and south, by mercantile's metres."""
    half = np.pi * 6378137.0
    found = mercantile.lnglat(x * SIDE - half, half - y * SIDE)
    return found.lat, found.lng


def gallery(places, kind="tiles", **labels):
    return Gallery(
        latlon_deg=np.array([at(x, y) for x, y in places]),
        labels={name: np.array(values, object) for name, values in labels.items()},
        attributes={"kind": kind, "zoom": ZOOM, "across": 3},
    )


def listed(found):
    return [found.row[a:b].tolist() for a, b in zip(found.first[:-1], found.first[1:], strict=True)]


def test_map_positions_are_mercantiles():
    rng = np.random.default_rng(0)
    places = np.stack([rng.uniform(-85, 85, 300), rng.uniform(-180, 180, 300)], 1)
    half = np.pi * 6378137.0
    wanted = [mercantile.xy(lon, lat) for lat, lon in places]
    wanted = [((x + half) / SIDE, (half - y) / SIDE) for x, y in wanted]
    np.testing.assert_allclose(map_position(places, ZOOM), wanted, atol=1e-6)
    tiles = [mercantile.tile(lon, lat, ZOOM) for lat, lon in places]
    assert (np.floor(map_position(places, ZOOM)) == [(t.x, t.y) for t in tiles]).all()
    with pytest.raises(FormatError, match=r"85\.0511"):
        map_position(np.array([[86.0, 0.0]]), ZOOM)


def test_by_place_as_counted_tile_by_tile():
    """A grid of 12 x 10 tiles, with crops anywhere; blocks of 3 x 3 that overlap, and one that lies elsewhere."""
    rng = np.random.default_rng(1)
    tiles = [(155_000 + i + 0.5, 197_000 + j + 0.5) for i in range(12) for j in range(10)]
    tiles += [(155_000 + 12 * a, 197_000 + 10 * b) for a, b in rng.random((80, 2))]
    tiles = [tiles[n] for n in rng.permutation(len(tiles))]
    blocks = [(155_000 + i + 1.5, 197_000 + j + 1.5) for i in range(0, 10, 2) for j in range(0, 8, 3)]
    blocks.append((1000.5, 1000.5))
    found = members(gallery(blocks, "regions"), gallery(tiles))
    wanted = [
        [n for n, (x, y) in enumerate(tiles) if a - 1.5 <= x < a + 1.5 and b - 1.5 <= y < b + 1.5] for a, b in blocks
    ]
    assert listed(found) == wanted
    assert wanted[-1] == []
    assert sum(map(len, wanted)) > len(tiles)  # some are in several


def test_a_block_over_the_antimeridian_has_tiles_on_both_sides():
    tiles = [(x + 0.5, 200_000.5) for x in (0, 1, 2, 2**ZOOM - 2, 2**ZOOM - 1)]
    found = members(gallery([(0.5, 200_000.5), (2**ZOOM - 0.5, 200_000.5)], "regions"), gallery(tiles))
    assert listed(found) == [[0, 1, 4], [0, 3, 4]]


def test_by_video_where_all_have_one():
    tiles = gallery([(9, 9)] * 5, video=["b", "a", "b", "c", "a"])
    regions = gallery([(9, 9)] * 3, "regions", video=["a", "d", "b"])
    assert listed(members(regions, tiles)) == [[1, 4], [], [0, 2]]


def test_by_place_where_one_row_has_no_video():
    tiles = gallery([(9.5, 9.5), (400.5, 9.5)], video=["a", ""])
    regions = gallery([(400.5, 9.5)], "regions", video=["a"])
    assert listed(members(regions, tiles)) == [[1]]


def test_tiles_in_no_region_at_all():
    with pytest.raises(InputError, match="none of 1 tiles is in one of 1 regions"):
        members(gallery([(900.5, 9.5)], "regions"), gallery([(9.5, 9.5)]))


@pytest.mark.parametrize(
    "asked, total, wanted",
    [
        ("1%", 3103, 31),
        ("1%", 115_866, 1158),
        ("10", 3103, 10),
        ("10%", 3103, 310),
        ("1%", 20, 1),
        ("50", 20, 20),
        ("0.29%", 10_000, 29),
    ],
)
def test_how_many(asked, total, wanted):
    assert how_many(asked, total) == wanted


@pytest.mark.parametrize("asked", ["0", "-3", "x", "", "0%", "nan%", "1.5", "inf%"])
def test_how_many_is_refused(asked):
    with pytest.raises(UsageError, match="number above 0"):
        how_many(asked, 100)


def test_kept_regions_are_rows_of_the_gallery():
    regions = gallery([(9, 9)] * 4, "regions", region=["r0", "r1", "r2", "r3"])
    rankings = of_lists({"v": ["r3", "r1", "r0"], "w": ["r2"], "u": ["gone", "r0"]})
    assert kept_regions(rankings, ["w", "v", "u"], regions, "2").tolist() == [[2, -1], [3, 1], [-1, 0]]
    with pytest.raises(InputError, match="such as x"):
        kept_regions(rankings, ["v", "x"], regions, "2")
    with pytest.raises(InputError, match="such as gone"):
        kept_regions(of_lists({"v": ["gone"]}), ["v"], regions, "2")


def test_ids():
    with pytest.raises(InputError, match="no label region"):
        region_ids(gallery([(9, 9)], tile=["a"]))
    with pytest.raises(InputError, match="no label tile"):
        tile_ids(gallery([(9, 9)], region=["a"]))
    assert tile_ids(gallery([(9, 9)], tile=["a"])) == ["a"]
