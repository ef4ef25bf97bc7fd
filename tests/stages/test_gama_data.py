"""GAMa's folders as pairs and galleries, against what the maker wrote, by plain loops."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mercantile
import numpy as np
import pytest
from gamamaker import Ride, drive, make_tree, tile_name, write_lists, write_ride
from PIL import Image

from vgeo.cli import run
from vgeo.datasets.base import Recipe
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.geo.tiles import tile_of
from vgeo.stages.gama_data import published_moments, published_pairs, published_regions
from vgeo.training.moment_set import MomentSet


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("gama"))


def pairs(moments: MomentSet, tiles: Gallery) -> dict[tuple[str, int], str]:
    """(video, second) -> path of its tile."""
    found = {}
    for v, video in enumerate(moments.video_ids):
        for row in range(moments.first_row[v], moments.first_row[v + 1]):
            tile = int(moments.tile_M[row])
            found[video, int(moments.time_s[row])] = "" if tile < 0 else str(tiles.labels["path"][tile])
    return found


def test_pairs_of_both_splits(tree: Path) -> None:
    moments, tiles = published_pairs(tree)
    assert len(moments) == 3 * 39 + 39 + 37 + 35 and moments.labels == {"split": ["train"] * 3 + ["val"] * 3}
    # 40 locations are after the start of 40 s; the last two are both of second 38.
    assert len(tiles) == 3 * 40 + 40 + 38 + 36
    assert Counter(tiles.labels["split"]) == {"train": 120, "val": 114}
    for (video, second), path in pairs(moments, tiles).items():
        split = "train" if video[0] == "t" else "val"
        assert path == f"satelite_data/{split}_gps/{video}/{second + 1:02d}.jpeg"  # 02.jpeg with second 1
    twice = [name for name, times in Counter(tiles.labels["tile"]).items() if times > 1]
    assert twice == ["t0_38", "t1_38", "t2_38", "v0_38", "v1_36", "v2_34"]
    for row in range(0, len(tiles), 7):  # a centred picture lies where its location was, also in another order
        video, number = str(tiles.labels["path"][row]).split("/")[-2:]
        base = (40.7 + int(video[1]) / 100, -73.95) if video[0] == "t" else (37.8 + int(video[1]) / 100, -122.4)
        g = int(number[:2])
        assert tiles.latlon_deg[row] == pytest.approx((base[0] + 5e-5 * g, base[1] + 3e-5 * g), abs=1e-12)
    assert tiles.attributes["kind"] == "tiles" and tiles.attributes["zoom"] == 19
    assert "Apple" in tiles.attributes["attribution"]


def test_pictures_of_clips_and_tiles_are_found(tree: Path) -> None:
    moments, tiles = published_pairs(tree, ["val"])
    v = moments.video_ids.index("v1")
    first, end = moments.first_picture[v : v + 2]
    assert end - first == 38 * 30 and moments.picture_time_s[first] == 0
    assert moments.picture_time_s[first + 45] == pytest.approx(1.5)
    assert moments.picture(int(first) + 45) == tree / "video_data/val/v1.mov/0046.png"  # they are numbered from 1
    pictures = tile_pictures(tiles)
    row = int(moments.tile_M[moments.first_row[v]])
    with Image.open(tree / "satelite_data/val_gps/v1/01.jpeg") as image:
        assert np.array_equal(pictures.read(row), np.asarray(image.convert("RGB")))
    regions = published_regions(tree, ["val"])
    assert tile_pictures(regions).read(0).shape == (256, 256, 3)


def test_a_second_whose_own_picture_is_gone_takes_another_of_its_own(tmp_path: Path) -> None:
    ride = drive("v0", 40)  # the last two locations are both of second 38
    write_ride(tmp_path, replace(ride, crops=frozenset(range(41)) - {39, 20}))
    moments, tiles = published_pairs(tmp_path, ["val"])
    found = pairs(moments, tiles)
    assert found["v0", 38].endswith("/40.jpeg") and found["v0", 19] == ""
    assert (moments.tile_M < 0).sum() == 1


def test_uncentred_tiles_hold_their_places(tree: Path) -> None:
    moments, tiles = published_pairs(tree, uncentred=True)
    assert "video" not in tiles.labels and (moments.tile_M >= 0).all()
    for place, row in zip(moments.latlon_deg, moments.tile_M, strict=True):
        assert tiles.labels["tile"][row] == tile_name(*place.tolist())
    for name, middle in zip(tiles.labels["tile"], tiles.latlon_deg, strict=True):
        assert "_".join(map(str, tile_of(middle, 19))) == name
    assert len(set(zip(tiles.labels["tile"], tiles.labels["split"], strict=True))) == len(tiles)


def test_regions_lie_in_the_middle_of_their_tiles(tree: Path, tmp_path: Path) -> None:
    regions = published_regions(tree)
    assert regions.labels["region"].tolist() == ["t0", "t1", "t2", "v0", "v1", "v2"]
    assert regions.labels["video"].tolist() == regions.labels["region"].tolist()
    assert regions.attributes["kind"] == "regions" and regions.attributes["across"] == 7
    for region, place in zip(regions.labels["region"], regions.latlon_deg, strict=True):
        folder = tree / "satelite_data" / ("train" if region[0] == "t" else "val") / region
        tiles = np.array([list(map(int, path.stem.split("_"))) for path in folder.iterdir()])
        corner = mercantile.ul(*tiles.min(axis=0).tolist(), 19), mercantile.ul(*(tiles.max(axis=0) + 1).tolist(), 19)
        assert len(tiles) == 49
        assert place == pytest.approx(np.mean([(at.lat, at.lng) for at in corner], axis=0), abs=1e-7)
    ride = write_ride(tmp_path, drive("v0", 40))
    for path in (tmp_path / "satelite_data/val/v0").iterdir():
        path.unlink()
    places = np.array([place[1:] for place in ride.places[1:]])
    middle = published_regions(tmp_path).latlon_deg[0]  # without tiles, that of where it drove
    assert middle == pytest.approx((places.min(0) + places.max(0)) / 2)


def test_lists_make_the_published_galleries(tree: Path, tmp_path: Path) -> None:
    for entry in tree.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    ride = drive("v0", 40, 37.8, -122.4)
    tiles = {s: tile_name(*ride.places[s + 1][1:]) for s in range(40)}
    crops = [f"v0/{s + 1:02d}.jpeg {s} {tiles[s]}" for s in (1, 2, 3)] + [f"v0/03.jpeg 3 {tiles[3]}"]
    write_lists(tmp_path / "list", {"gallery_gps_day_center.list": crops, "val_day_vid.list": ["v0"]})
    moments, gallery = published_pairs(tmp_path, ["val"])
    assert moments.video_ids == ["v0"] and moments.time_s.tolist() == [1, 2, 3]
    assert moments.labels == {"split": ["val"], "daytime": ["day"]}
    names = [path.split("/")[-1] for path in gallery.labels["path"]]
    assert names == ["02.jpeg", "03.jpeg", "04.jpeg"]  # a file once; 03.jpeg is that of second 2
    assert gallery.labels["tile"].tolist() == ["v0_1", "v0_2", "v0_3"]
    assert moments.tile_M.tolist() == [0, 1, 2]  # of 04.jpeg and 03.jpeg, the one whose location is nearer to 3 s
    wanted = [tiles[1], tiles[39], tiles[39], "5_5"]
    write_lists(tmp_path / "list", {"gallery_gps.list": [f"{tile} v0" for tile in wanted]})
    plain = published_pairs(tmp_path, ["val"], uncentred=True)[1]
    assert plain.labels["tile"].tolist() == list(dict.fromkeys(wanted[:3]))  # 5_5 is not there


def test_the_recipe_chooses_videos(tree: Path, tmp_path: Path) -> None:
    long, _ = published_pairs(tree, ["val"], recipe=Recipe(min_frames=36, seed=9))
    assert long.video_ids == ["v0", "v1"]
    write_lists(tmp_path, {"train_day_tiny.list": ["t1 1200"], "val_vid.list": ["v2"]})
    few, tiles = published_pairs(tree, recipe=Recipe(labels=tmp_path / "train_day_tiny.list"))
    assert few.video_ids == ["t1"] and set(tiles.labels["split"]) == {"train"}  # a list is of one split
    with pytest.raises(UsageError, match="--split val: not in"):
        published_pairs(tree, ["val"], recipe=Recipe(labels=tmp_path / "train_day_tiny.list"))


def test_galleries_are_built_by_the_command(tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def build(*words: str) -> tuple[int, str]:
        command = ["build-gallery", "aerial", str(tree), "--out", str(tmp_path / "g.h5"), "--overwrite", *words]
        code = run(command)
        return code, capfd.readouterr().err

    for words, wanted in (
        (["--split", "val"], published_pairs(tree, ["val"])[1]),
        (["--uncentred"], published_pairs(tree, uncentred=True)[1]),
        (["--regions", "--split", "all"], published_regions(tree)),
    ):
        assert build("--layout", "gama", *words)[0] == 0
        found = read_gallery(tmp_path / "g.h5")
        assert {name: values.tolist() for name, values in found.labels.items()} == {
            name: values.tolist() for name, values in wanted.labels.items()
        }
        assert np.array_equal(found.latlon_deg, wanted.latlon_deg)
        assert found.attributes["pictures_digest"] == wanted.attributes["pictures_digest"]
        assert tile_pictures(found).read(1).shape == (256, 256, 3)
    for words, said in (
        (["--uncentred"], "--uncentred: says which tiles of a data set to take"),
        (["--layout", "msls"], "--layout msls: has no pictures from above"),
        (["--layout", "gama", "--zoom", "18"], "--zoom: does nothing with --layout gama"),
        (["--layout", "gama", "--around", "x"], "--around: does nothing with --layout gama"),
        (["--layout", "gama", "--regions", "--uncentred"], "--uncentred: does nothing with --regions"),
        (["--layout", "gama", "--split", "test"], "--split test: not in"),
    ):
        code, err = build(*words)
        assert code == 2 and said in err and err.count("vgeo: ") == 1


def test_what_is_missing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hole = [place for i, place in enumerate(drive("v1", 40).places) if not 10 <= i < 20]
    write_ride(tmp_path, drive("v0", 40, crops=frozenset(range(2, 41)), missing_frames=frozenset(range(300, 315))))
    write_ride(tmp_path, Ride("v1", 1200, hole))
    write_lists(tmp_path, {"val_gps.list": [f"v{v} {s} 5_5" for v in (0, 1) for s in range(40)]})
    with caplog.at_level(logging.WARNING):
        moments, tiles = published_pairs(tmp_path)
    found = pairs(moments, tiles)
    assert found["v0", 0] == "" and found["v0", 1].endswith("v0/02.jpeg")
    assert ("v0", 10) not in found and ("v0", 39) in found and ("v1", 38) in found
    assert [s for s in range(40) if ("v1", s) not in found] == list(range(10, 19))  # 8.3 and 19.3 are the nearest
    assert "1 aerial pictures of val are missing, satelite_data/val_gps/v0/01.jpeg first" in caplog.text
    assert "listed tiles are not where their locations lie" in caplog.text


def test_clips_alone_need_no_aerial_pictures(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "info").symlink_to(tree / "info")
    (tmp_path / "video_data").symlink_to(tree / "video_data")
    alone, (whole, _) = published_moments(tmp_path, ["val"]), published_pairs(tree, ["val"])
    assert (alone.tile_M == -1).all() and alone.video_ids == whole.video_ids and alone.labels == whole.labels
    for name in ("time_s", "latlon_deg", "first_row", "first_picture", "picture_time_s"):
        assert np.array_equal(getattr(alone, name), getattr(whole, name))


def test_errors_name_the_folder_or_the_file(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--split test: not in \S+, which holds train, val"):
        published_pairs(tree, ["test"])
    ride = write_ride(tmp_path, drive("v0", 40), aerial=False)
    for build in (published_pairs, published_regions):
        with pytest.raises(InputError, match=r"satelite_data: none of the wanted pictures is there, \S+v0\S* first"):
            build(tmp_path)
    with pytest.raises(InputError, match="unpack the aerial images"):
        published_pairs(tmp_path, uncentred=True)
    for path in (tmp_path / "video_data/val/v0.mov").iterdir():
        if int(path.stem) % 30:
            path.unlink()
    assert ride.frames == 1200
    with pytest.raises(InputError, match="no second of a video has the pictures of a clip"):
        write_aerial_only(tmp_path, ride)
        published_pairs(tmp_path)
    (tmp_path / "satelite_data/val_gps/v0/05.jpeg").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=r"v0/05\.jpeg"):
        published_pairs(tmp_path, ["val"])


def write_aerial_only(root: Path, ride: Ride) -> None:
    from gamamaker import write_aerial

    write_aerial(root, ride)
