"""The picture of each row, from every place that it may lie in, after files were moved, and where it is gone."""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tilemaker import SIZE, square, tile_pixels, world_pixels, write_mbtiles, write_tiles

from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery, read_gallery, write_gallery
from vgeo.formats.tile_pictures import gallery_of_files, tile_pictures
from vgeo.geo.tiles import pixel_of, position, square_of, tile_of

FIRST = tile_of((40.7, -74.0), 19)
TILES = square(*FIRST, 4)
LATLON = np.array([square_of(x, y)[0] for x, y in TILES])


def gallery(found: str, place: Path, /, **labels: list[str]) -> Gallery:
    rows = len(next(iter(labels.values())))
    return Gallery(
        latlon_deg=LATLON[:rows],
        labels={name: np.array(values, object) for name, values in labels.items()},
        attributes={
            "kind": "regions" if "region" in labels else "tiles",
            "pictures": {"from": found, "path": str(place)},
            "pictures_digest": "d",
            "zoom": 19,
            "size_px": SIZE,
            "across": 3,
        },
    )


def ids(count: int = len(TILES)) -> list[str]:
    return [f"{x}_{y}" for x, y in TILES[:count]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiles(tmp_path / "tiles", TILES)


def test_plain_tiles(folder: Path, tmp_path: Path) -> None:
    for place in (folder, write_mbtiles(tmp_path / "t.mbtiles", 19, TILES)):
        pictures = tile_pictures(gallery("tiles", place, tile=ids()[::-1]))
        assert len(pictures) == len(TILES) and pictures.size_px == SIZE
        for row, (x, y) in enumerate(TILES[::-1]):
            assert np.array_equal(pictures.read(row), tile_pixels(x, y))


def test_crops_are_centred_on_the_rows_positions(folder: Path) -> None:
    places = np.array([position(FIRST[0] + 1.3, FIRST[1] + 2.2, 19), position(FIRST[0] + 2.5, FIRST[1] + 1.5, 19)])
    made = dataclasses.replace(gallery("crops", folder, tile=["a_1", "a_2"]), latlon_deg=places)
    pictures = tile_pictures(made)
    for row, place in enumerate(places):
        left, top = np.rint(pixel_of(place, 19, SIZE) - SIZE / 2).astype(int)
        assert np.array_equal(pictures.read(row), world_pixels(left, top, SIZE, SIZE))
    assert np.array_equal(pictures.read(1), tile_pixels(FIRST[0] + 2, FIRST[1] + 1))  # centred on a tile


def test_regions_are_shrunk(folder: Path) -> None:
    x, y = FIRST
    blocks = tile_pictures(gallery("blocks", folder, region=[f"{x}_{y}_3", f"{x + 1}_{y}_3"]))
    whole = Image.fromarray(world_pixels((x + 1) * SIZE, y * SIZE, 3 * SIZE, 3 * SIZE))
    assert np.array_equal(blocks.read(1), np.asarray(whole.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    centre = position(x + 2.5, y + 1.5, 19)
    area = dataclasses.replace(gallery("areas", folder, region=["video"]), latlon_deg=centre[None])
    assert np.array_equal(tile_pictures(area).read(0), blocks.read(1))


def test_files_of_a_data_set(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "satelite_data"
    for video in ("a.mov", "b.mov"):
        shutil.copytree(folder, root / "val" / video)
    paths = [f"val/{video}/{name}.png" for video in ("a.mov", "b.mov") for name in ids(3)]
    names = [f"{video}_{second}" for video in "ab" for second in range(3)]
    made = gallery_of_files(
        root, paths, names, LATLON[[0, 1, 2, 0, 1, 2]], videos=list("aaabbb"), splits=["val"] * 6, size_px=SIZE
    )
    assert made.attributes["kind"] == "tiles" and made.attributes["zoom"] == 19
    assert made.labels["tile"].tolist() == names and made.labels["video"].tolist() == list("aaabbb")
    write_gallery(tmp_path / "g.h5", made)
    pictures = tile_pictures(read_gallery(tmp_path / "g.h5"))
    for row in range(6):
        assert np.array_equal(pictures.read(row), tile_pixels(*TILES[row % 3]))
    regions = root / "val_hr"
    regions.mkdir()
    Image.fromarray(world_pixels(0, 0, 7 * SIZE, 7 * SIZE)).save(regions / "a.png")
    region = gallery_of_files(root, ["val_hr/a.png"], ["a"], LATLON[:1], kind="regions", size_px=SIZE, across=7)
    assert region.labels["region"].tolist() == ["a"] and region.attributes["across"] == 7
    small = Image.fromarray(world_pixels(0, 0, 7 * SIZE, 7 * SIZE)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert np.array_equal(tile_pictures(region).read(0), np.asarray(small))


def test_a_list_that_does_not_hold(folder: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.png: the tile is gone"):
        gallery_of_files(folder, [f"{ids()[0]}.png", "absent.png"], ["a", "b"], LATLON[:2], size_px=SIZE)
    with pytest.raises(FormatError, match="is 32 x 32 pixels, the other tiles are 256 x 256"):
        gallery_of_files(folder, [f"{ids()[0]}.png"], ["a"], LATLON[:1])
    for path in ("../tiles/x.png", "/etc/passwd", "a/../../b.png"):
        with pytest.raises(FormatError, match="leaves the folder of the pictures"):
            gallery_of_files(folder, [path], ["a"], LATLON[:1], size_px=SIZE)
        hostile = gallery("files", folder, tile=["a"], path=[path])
        with pytest.raises(FormatError, match=r"tile a: path .* leaves the folder"):
            tile_pictures(hostile).read(0)


def test_the_digest_covers_pictures_and_their_order(folder: Path) -> None:
    paths = [f"{name}.png" for name in ids(4)]
    made = gallery_of_files(folder, paths, list("abcd"), LATLON[[0, 0, 1, 1]], size_px=SIZE)
    again = gallery_of_files(folder, paths, list("abcd"), LATLON[[0, 0, 1, 1]], size_px=SIZE)
    assert again.digest == made.digest
    assert made.take(np.array([1, 0, 2, 3])).digest != made.digest  # the same positions
    shutil.copy(folder / paths[3], folder / paths[1])
    assert gallery_of_files(folder, paths, list("abcd"), LATLON[[0, 0, 1, 1]], size_px=SIZE).digest != made.digest
    bare = Gallery(latlon_deg=made.latlon_deg)
    assert bare.digest not in (made.digest, "") and Gallery(latlon_deg=made.latlon_deg).digest == bare.digest


def test_pictures_move_with_the_gallery(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "models" / "gama").mkdir(parents=True)
    shutil.move(folder, home / "tiles")
    write_gallery(home / "g.h5", gallery("tiles", home / "tiles", tile=ids()))
    write_gallery(home / "models" / "gama" / "gallery.h5", read_gallery(home / "g.h5"))
    found = read_gallery(home / "models" / "gama" / "gallery.h5")
    assert found.attributes["pictures"]["relative"] == "../../tiles"
    shutil.move(home, tmp_path / "away")
    for name in ("g.h5", "models/gama/gallery.h5"):
        moved = read_gallery(tmp_path / "away" / name)
        assert np.array_equal(tile_pictures(moved).read(0), tile_pixels(*TILES[0]))
        assert np.array_equal(tile_pictures(moved.take(np.array([1]))).read(0), tile_pixels(*TILES[1]))
    shutil.move(tmp_path / "away" / "g.h5", tmp_path / "g.h5")  # without its tiles
    with pytest.raises(InputError) as caught:
        tile_pictures(read_gallery(tmp_path / "g.h5"))
    assert str(caught.value) == (
        f"{home}/tiles: the pictures of {tmp_path}/g.h5 are gone; put them back, or build the gallery again with "
        "'vgeo build-gallery aerial'"
    )


def test_a_copy_reads_its_own_pictures(folder: Path, tmp_path: Path) -> None:
    write_gallery(tmp_path / "g.h5", gallery("tiles", folder, tile=ids()))
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "g.h5", tmp_path / "copy" / "g.h5")
    shutil.copytree(folder, tmp_path / "copy" / "tiles")
    Image.new("RGB", (SIZE, SIZE), (5, 5, 5)).save(tmp_path / "copy" / "tiles" / f"{ids()[0]}.png")
    assert (tile_pictures(read_gallery(tmp_path / "copy" / "g.h5")).read(0) == 5).all()


def test_errors_name_the_tile(folder: Path) -> None:
    pictures = tile_pictures(gallery("tiles", folder, tile=[*ids(2), "1_2", "x"]))
    (folder / f"{ids()[1]}.png").write_bytes(b"<html>")
    for row, error, says in (
        (1, FormatError, rf"^tile {ids()[1]}: .*{ids()[1]}\.png: holds HTML"),
        (2, InputError, "^tile 1_2: .*no tile 1_2 at zoom 19"),
        (3, FormatError, "^tile x: 'x' is not 2 numbers"),
    ):
        with pytest.raises(error, match=says):
            pictures.read(row)


@pytest.mark.parametrize(
    ("attributes", "labels", "says"),
    [
        ({}, {"tile": ["1_1"]}, "no pictures; build one of tiles with 'vgeo build-gallery aerial TILES'"),
        ({"pictures": {"from": "tiles"}, "size_px": SIZE}, {"tile": ["1_1"]}, "does not say where its pictures lie"),
        ({"pictures": {"from": "moon", "path": "."}, "size_px": SIZE}, {"tile": ["1"]}, "'moon', which this vgeo"),
        ({"pictures": {"from": "files", "path": "."}, "size_px": SIZE}, {"tile": ["1"]}, "no label 'path'"),
    ],
)
def test_galleries_without_pictures(attributes: dict, labels: dict, says: str) -> None:
    made = Gallery(
        latlon_deg=LATLON[:1],
        labels={name: np.array(values, object) for name, values in labels.items()},
        attributes=attributes,
    )
    with pytest.raises(FormatError, match=says):
        tile_pictures(made)


def test_tiles_of_another_size_than_before(folder: Path, tmp_path: Path) -> None:
    made = gallery("tiles", folder, tile=ids())
    shutil.rmtree(folder)
    write_tiles(folder, TILES, size=48)
    with pytest.raises(FormatError, match="tiles of 48 pixels, the gallery was built of 32; build it again"):
        tile_pictures(made)


def test_batches_come_in_order_and_stop_at_the_first_error(folder: Path) -> None:
    pictures = tile_pictures(gallery("tiles", folder, tile=ids()))
    rows = [5, 3, 3, 15, 0, 1, 2]
    found = list(pictures.batches(rows, 3))
    assert [len(batch) for batch in found] == [3, 3, 1]
    for row, picture in zip(rows, np.concatenate(found), strict=True):
        assert np.array_equal(picture, tile_pixels(*TILES[row]))
    assert list(pictures.batches([], 3)) == []
    (folder / f"{ids()[4]}.png").unlink()
    with pytest.raises(InputError, match=f"tile {ids()[4]}"):
        list(pictures.batches(range(16), 2))


def test_threads_read_crops_at_once(folder: Path) -> None:
    rng = np.random.default_rng(2)
    places = np.array([position(FIRST[0] + a, FIRST[1] + b, 19) for a, b in rng.uniform(0.6, 3.4, (200, 2))])
    attributes = gallery("crops", folder, tile=["a"]).attributes
    names = np.array(["a"] * len(places), object)
    made = Gallery(latlon_deg=places, attributes=attributes, labels={"tile": names})
    pictures = tile_pictures(made)
    with ThreadPoolExecutor(8) as pool:
        for place, found in zip(places, pool.map(pictures.read, range(200)), strict=True):
            left, top = np.rint(pixel_of(place, 19, SIZE) - SIZE / 2).astype(int)
            assert np.array_equal(found, world_pixels(left, top, SIZE, SIZE))
