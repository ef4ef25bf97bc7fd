"""Galleries of tiles as cut, of crops around each second, and of regions; what is not covered is counted."""

import json
from pathlib import Path

import numpy as np
import pytest
from tilemaker import SIZE, square, tile_pixels, world_pixels, write_mbtiles, write_tiles

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.frames import format_frames
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.geo.tiles import pixel_of, position, square_of, tile_of
from vgeo.records import FrameRecord
from vgeo.stages.aerial_gallery import AerialRules, build_aerial
from vgeo.stages.build_gallery import build_gallery, describe

FIRST = tile_of((40.7, -74.0), 19)
X, Y = FIRST


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    return write_tiles(tmp_path / "tiles", square(X, Y, 9))


def drive(seconds: float, rate_hz: float, start: tuple[float, float] = (2.2, 3.1)) -> list[tuple[float, np.ndarray]]:
    """Eastward, a sixth of a tile a second; times as decoders give them, not quite whole."""
    times = np.arange(0, seconds, 1 / rate_hz) + 0.004
    return [(float(t), position(X + start[0] + t / 6, Y + start[1], 19)) for t in times]


def frames(folder: Path, videos: dict[str, list[tuple[float, np.ndarray]]], **labels: str) -> Path:
    folder.mkdir(exist_ok=True)
    records = [
        FrameRecord(video_id=video, frame_index=k, time_s=t, path="p.jpg", lat_deg=at[0], lon_deg=at[1], labels=labels)
        for video, track in videos.items()
        for k, (t, at) in enumerate(track)
    ]
    (folder / "frames.jsonl").write_text(format_frames(records))
    return folder


def csv(path: Path, videos: dict[str, list[tuple[float, np.ndarray]]]) -> Path:
    rows = [f"{video},{t:.3f},{at[0]:.8f},{at[1]:.8f}" for video, track in videos.items() for t, at in track]
    path.write_text("\n".join(["video_id,time_s,lat_deg,lon_deg", *rows, ""]))
    return path


def test_plain_tiles(tiles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tiles / "tiles.json").write_text(json.dumps({"attribution": "© city"}))
    made = build_gallery("aerial", [tiles], tmp_path / "g.h5")
    found = read_gallery(tmp_path / "g.h5")
    assert len(made) == len(found) == 81
    attributes = found.attributes
    assert (attributes["kind"], attributes["zoom"], attributes["size_px"]) == ("tiles", 19, SIZE)
    assert attributes["attribution"] == "© city" and set(found.labels) == {"tile"}
    pictures = tile_pictures(found)
    for row, name in enumerate(found.labels["tile"]):
        x, y = map(int, name.split("_"))
        assert found.latlon_deg[row] == pytest.approx(square_of(x, y)[0], abs=1e-12)
        assert np.array_equal(pictures.read(row), tile_pixels(x, y))
    assert "tiles of 32 pixels; GAMa's are of 256" in caplog.text
    assert "81 tiles, zoom 19" in describe(found, tmp_path / "g.h5")


def test_the_same_tiles_give_the_same_gallery_wherever_they_lie(tiles: Path, tmp_path: Path) -> None:
    other = build_aerial(write_mbtiles(tmp_path / "t.mbtiles", 19, square(X, Y, 9)))
    assert other.digest == build_aerial(tiles).digest
    (tiles / f"{X}_{Y}.png").write_bytes((tiles / f"{X}_{Y + 1}.png").read_bytes())
    assert other.digest != build_aerial(tiles).digest


@pytest.mark.parametrize("kind", ["frames", "frames.jsonl", "features", "csv"])
def test_crops_around_each_second(kind: str, tiles: Path, tmp_path: Path) -> None:
    videos = {"a_1.mov": drive(3.3, 15), "b": drive(2.2, 15, (4.0, 5.5))}
    source = frames(tmp_path / "frames", videos, split="val")
    if kind == "frames.jsonl":
        source /= kind
    elif kind == "csv":
        source = csv(tmp_path / "t.csv", videos)
    elif kind == "features":
        from vgeo.encoders.base import EncoderSpec
        from vgeo.formats.features import FeatureWriter

        source = tmp_path / "f.h5"
        spec = EncoderSpec(name="toy", dim=1, weights="w", weights_hash="abc", preprocessing="none", settings={})
        with FeatureWriter(source, {"toy": spec}, "15 Hz", "pyav") as writer:
            for name, track in videos.items():
                times, places = [t for t, _ in track], np.array([at for _, at in track])
                writer.add(name, {"toy": np.zeros((len(track), 1))}, times, places, labels={"split": "val"})
            writer.finish(list(videos))
    made = build_aerial(tiles, AerialRules(around=[source]))
    assert made.labels["tile"].tolist() == ["a_1.mov_0", "a_1.mov_1", "a_1.mov_2", "a_1.mov_3", "b_0", "b_1", "b_2"]
    assert made.labels["video"].tolist() == ["a_1.mov"] * 4 + ["b"] * 3
    if kind != "csv":
        assert made.labels["split"].tolist() == ["val"] * 7
    for row, (video, second) in enumerate([*(("a_1.mov", s) for s in range(4)), *(("b", s) for s in range(3))]):
        nearest = min(videos[video], key=lambda one: abs(one[0] - second))[1]
        assert made.latlon_deg[row] == pytest.approx(nearest, abs=1e-7)
        left, top = np.rint(pixel_of(made.latlon_deg[row], 19, SIZE) - SIZE / 2).astype(int)
        assert np.array_equal(tile_pictures(made).read(row), world_pixels(left, top, SIZE, SIZE))


def test_splits_of_the_videos(tiles: Path, tmp_path: Path) -> None:
    train = frames(tmp_path / "train", {"a": drive(3, 5)}, split="train")
    val = frames(tmp_path / "val", {"b": drive(2, 5)}, split="val")
    both = AerialRules(around=[train, val])
    assert len(build_aerial(tiles, both)) == len(build_aerial(tiles, both._replace(split="all"))) == 5
    assert set(build_aerial(tiles, both._replace(split="val")).labels["video"]) == {"b"}
    with pytest.raises(InputError, match=r"--split test: no video of .* is labelled so; there are train, val, all"):
        build_aerial(tiles, both._replace(split="test"))


def test_what_is_not_covered_is_left_out_and_counted(
    tiles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The drive leaves the tiles; the last crop that fits ends with them."""
    source = csv(tmp_path / "t.csv", {"a": drive(20, 1, (6.4, 4.5)), "b": [(0.0, np.array([86.0, 3.0]))]})
    made = build_aerial(tiles, AerialRules(around=[source]))
    inside = [t for t in range(20) if 6.4 + (t + 0.004) / 6 <= 8.5 + 0.5 / SIZE]
    assert made.labels["tile"].tolist() == [f"a_{t}" for t in inside]
    (warning,) = [r for r in caplog.records if "left out" in r.getMessage()]
    lost = 21 - len(inside)
    assert warning.getMessage() == (
        f"{lost} of 21 positions are not shown by the tiles and left out, a_{len(inside)} the first"
    )


def test_none_covered(tiles: Path, tmp_path: Path) -> None:
    rules = AerialRules(around=[csv(tmp_path / "t.csv", {"a": drive(3, 1)})])
    coarse = write_tiles(tmp_path / "coarse", square(X // 4 - 2, Y // 4 - 2, 6))
    with pytest.raises(
        InputError, match="none of the 3 positions: the tiles' numbers are those of zoom 17; say --zoom 17"
    ):
        build_aerial(coarse, rules)
    assert len(build_aerial(coarse, rules._replace(zoom=17))) == 3
    single = write_tiles(tmp_path / "single", [(X + 2, Y + 3)])
    with pytest.raises(InputError, match="has the tiles under them, but not those beside; fetch these too"):
        build_aerial(single, rules)
    away = write_tiles(tmp_path / "away", [tile_of((48.1, 11.5), 19)])
    with pytest.raises(InputError, match=r"tiles of zoom 19 lie near 48\.\d+, 11\.\d+, they near 40\.\d+, -7\d\."):
        build_aerial(away, rules)
    beyond = csv(tmp_path / "n.csv", {"a": [(float(t), np.array([85.5, 3.0])) for t in range(3)]})
    with pytest.raises(InputError, match=r"they lie outside Web Mercator, which ends at 85\.0511 degrees"):
        build_aerial(tiles, AerialRules(around=[beyond]))


def test_regions_over_all_tiles(tiles: Path) -> None:
    made = build_aerial(tiles, AerialRules(regions=True, across=4, step=2))
    assert (made.attributes["kind"], made.attributes["across"]) == ("regions", 4)
    assert "tile" not in made.labels
    pictures, covered = tile_pictures(made), set()
    for row, name in enumerate(made.labels["region"]):
        x, y, across = map(int, name.split("_"))
        assert across == 4
        covered |= set(square(x, y, 4))
        assert made.latlon_deg[row] == pytest.approx(position(x + 2, y + 2, 19), abs=1e-12)
        means = world_pixels(x * SIZE, y * SIZE, 4 * SIZE, 4 * SIZE).reshape(SIZE, 4, SIZE, 4, 3).mean(axis=(1, 3))
        assert np.abs(pictures.read(row)[2:-2, 2:-2] - means[2:-2, 2:-2]).mean() < 12
    assert covered == set(square(X, Y, 9))


def test_regions_with_gaps_are_left_out(tiles: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tiles / f"{X + 7}_{Y}.png").unlink()
    made = build_aerial(tiles, AerialRules(regions=True, across=3, step=2))
    hole = (X + 7, Y)
    assert all(hole not in square(*map(int, name.split("_")[:2]), 3) for name in made.labels["region"])
    assert "1 of 80 tiles lie in no region of 3 x 3" in caplog.text
    with pytest.raises(InputError, match="nowhere 9 x 9 tiles without a gap among its 80"):
        build_aerial(tiles, AerialRules(regions=True, across=9, step=1))


def test_a_region_a_video(tiles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    videos = {"a": drive(13, 1, (3.0, 4.2)), "b": drive(5, 1, (8.0, 4.2))}
    source = frames(tmp_path / "frames", videos, split="val")
    made = build_aerial(tiles, AerialRules(regions=True, around=[source], across=5))
    assert {name: values.tolist() for name, values in made.labels.items()} == {
        "region": ["a"],
        "video": ["a"],
        "split": ["val"],
    }
    assert made.latlon_deg[0] == pytest.approx(position(X + 4 + 0.004 / 6, Y + 4.2, 19), abs=1e-7)  # of its extent
    left, top = np.rint(pixel_of(made.latlon_deg[0], 19, SIZE) - 5 * SIZE / 2).astype(int)
    whole = world_pixels(left, top, 5 * SIZE, 5 * SIZE).reshape(SIZE, 5, SIZE, 5, 3).mean(axis=(1, 3))
    assert np.abs(tile_pictures(made).read(0).astype(float) - whole)[3:-3, 3:-3].mean() < 12
    assert "1 of 2 videos' regions are not shown by the tiles and left out, b the first" in caplog.text


def test_a_region_is_around_the_middle_of_the_way_however_long_the_car_stood(tiles: Path, tmp_path: Path) -> None:
    track = [(float(t), position(X + 3 + max(0, t - 6), Y + 4 + max(0, t - 6) / 2, 19)) for t in range(9)]
    made = build_aerial(tiles, AerialRules(regions=True, around=[csv(tmp_path / "c.csv", {"a": track})], across=3))
    assert made.latlon_deg[0] == pytest.approx(position(X + 4, Y + 4.5, 19), abs=1e-7)


def test_a_video_across_the_antimeridian(tmp_path: Path) -> None:
    zoom, last = 12, 2**12 - 1
    folder = write_tiles(tmp_path / "t", [(x, 2000 + j) for x in (last - 1, last, 0, 1) for j in range(4)])
    track = [(float(t), position((last + 0.5 + t / 4) % 2**12, 2002, zoom)) for t in range(5)]
    rules = AerialRules(around=[csv(tmp_path / "c.csv", {"a": track})], zoom=zoom)
    assert len(build_aerial(folder, rules)) == 5
    region = build_aerial(folder, rules._replace(regions=True, across=3))
    assert abs(abs(region.latlon_deg[0, 1]) - 180) < 1e-6


def test_a_gallery_of_one_tile(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path / "one", [FIRST])
    made = build_aerial(folder)
    assert len(made) == 1 and np.array_equal(tile_pictures(made).read(0), tile_pixels(*FIRST))
    source = csv(tmp_path / "t.csv", {"a": [(0.0, square_of(*FIRST)[0])]})
    crop = build_aerial(folder, AerialRules(around=[source]))
    assert np.array_equal(tile_pictures(crop).read(0), tile_pixels(*FIRST))


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"<html>", "holds HTML"), (b"", "empty"), (None, "48 x 48 pixels, the other tiles are 32 x 32")],
)
def test_a_bad_tile_is_named_where_it_is_needed(data: bytes | None, says: str, tiles: Path, tmp_path: Path) -> None:
    bad = tiles / f"{X + 8}_{Y + 8}.png"
    if data is None:
        write_tiles(tiles, [(X + 8, Y + 8)], size=48)
    else:
        bad.write_bytes(data)
    with pytest.raises(FormatError, match=says) as caught:
        build_gallery("aerial", [tiles], tmp_path / "g.h5")
    assert str(bad) in str(caught.value) and not (tmp_path / "g.h5").exists()
    source = csv(tmp_path / "t.csv", {"a": drive(3, 1)})
    assert len(build_aerial(tiles, AerialRules(around=[source]))) == 3  # elsewhere


def test_words_that_do_not_fit(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs HDF5"):
        build_gallery("aerial", [tiles], tmp_path / "g.csv")
    with pytest.raises(UsageError, match="one folder or file of tiles; positions follow --around"):
        build_gallery("aerial", [tiles, tiles], tmp_path / "g.h5")
    for across, step in ((0, 1), (7, 0), (7, 8)):
        with pytest.raises(UsageError, match="the step must be from 1 to the tiles across"):
            build_aerial(tiles, AerialRules(regions=True, across=across, step=step))
    near = build_aerial(tiles, AerialRules(regions=True, across=3))
    assert (
        near.labels["region"].tolist()
        == build_aerial(tiles, AerialRules(regions=True, across=3, step=3)).labels["region"].tolist()
    ), "no gap between regions that are smaller than the usual step"
    for rules in (AerialRules(across=3), AerialRules(step=2)):
        with pytest.raises(UsageError, match="give them with --regions"):
            build_aerial(tiles, rules)
    around = AerialRules(regions=True, step=2, around=[csv(tmp_path / "s.csv", {"a": drive(3, 1)})])
    with pytest.raises(UsageError, match="regions around videos lie where these do"):
        build_aerial(tiles, around)


def test_inputs_without_seconds(tiles: Path, tmp_path: Path) -> None:
    nowhere = [FrameRecord(video_id="a", frame_index=0, time_s=0.0, path="0.jpg")]
    (tmp_path / "frames.jsonl").write_text(format_frames(nowhere))
    for source, error, says in (
        (tmp_path / "frames.jsonl", InputError, "no place at any whole second; extract frames with"),
        (tmp_path / "absent", InputError, "absent: no such file or folder"),
    ):
        with pytest.raises(error, match=says):
            build_aerial(tiles, AerialRules(around=[source]))
    made = build_gallery("aerial", [tiles], tmp_path / "g.h5")
    assert isinstance(made, Gallery)
    with pytest.raises(InputError, match="a gallery, which says nothing of time"):
        build_aerial(tiles, AerialRules(around=[tmp_path / "g.h5"]))


def test_a_video_in_two_inputs_counts_once(tiles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = frames(tmp_path / "one", {"a": drive(3, 5)})
    two = frames(tmp_path / "two", {"a": drive(2, 5, (5.5, 5.5)), "b": drive(2, 5)})
    made = build_aerial(tiles, AerialRules(around=[one, two]))
    assert made.labels["tile"].tolist() == ["a_0", "a_1", "a_2", "b_0", "b_1"]
    assert "1 video is given more than once; the first of each counts" in caplog.text
