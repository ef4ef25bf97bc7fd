"""Pictures as clips: EXIF positions and times, and files that are damaged."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from vgeo.errors import FormatError
from vgeo.geo.sphere import distance_km
from vgeo.video.clips import find_clips, open_clip
from vgeo.video.images import Exif, image_times, read_exif, read_image
from vgeo.video.pixels import Shape
from vgeo.video.sampling import Sampling


def test_lund_positions_equal_the_table(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "opensfm-lund-walk"
    with (folder / "gps.csv").open() as file:
        expected = np.array([[float(row["lat"]), float(row["lon"])] for row in csv.DictReader(file)])
    (clip,) = find_clips([folder / "images"])
    with open_clip(clip, size=64) as opened:
        frames = list(opened)
    got = np.array([frame.latlon_deg for frame in frames])
    assert len(frames) == 29 and 1000 * distance_km(got, expected).max() < 0.01
    assert [frame.time_s for frame in frames] == list(range(29)) and "one picture a second" in opened.remarks[-1]


def test_lund_video_and_sidecar_equal_the_table(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "opensfm-lund-walk"
    with (folder / "gps.csv").open() as file:
        expected = np.array([[float(row["lat"]), float(row["lon"])] for row in csv.DictReader(file)])
    (clip,) = find_clips([folder / "derived_lund_walk.mp4"])
    with open_clip(clip, Sampling(rate_hz=1), size=64) as opened:
        got = np.array([frame.latlon_deg for frame in opened])
    assert got.shape == expected.shape and 1000 * distance_km(got, expected).max() < 0.1


def test_real_cameras(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "mapillary-tools-images"
    exif = read_exif(folder / "DSC00001.JPG")
    assert exif.latlon_deg == pytest.approx((45.51690, -122.57276), abs=1e-5)
    assert exif.taken is not None and exif.taken.replace(tzinfo=None, microsecond=0) == datetime(2018, 6, 8, 13, 24, 10)
    times, start, remark = image_times([exif, read_exif(folder / "DSC00497.JPG")])
    assert 7 * 60 < times[1] < 9 * 60 and remark == ""
    assert start == datetime(2018, 6, 8, 20, 24, 10, tzinfo=UTC), "13:24 in Portland, whose offset the camera wrote"
    assert image_times([Exif(taken=datetime(2024, 5, 1))])[1] is None, "no zone, no absolute time"
    assert read_exif(folder / "empty_exif.jpg").taken is None
    for name in ("corrupt_exif.jpg", "empty_exif.jpg", "fixed_exif.jpg", "test_exif.jpg"):
        read_exif(folder / name)
        assert read_image(folder / name, Shape(32)).shape[-1] == 3


def write(path: Path, *, gps: dict | None = None, details: dict | None = None, orientation: int = 1) -> Path:
    image = Image.new("RGB", (60, 40), "blue")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if gps:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    if details:
        exif.get_ifd(ExifTags.IFD.Exif).update(details)
    image.save(path, exif=exif, lossless=True, format="PNG")
    return path


def gps(lat: tuple, lat_ref: str, lon: tuple, lon_ref: str) -> dict:
    return {1: lat_ref, 2: lat, 3: lon_ref, 4: lon}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (gps((33, 52, 4.8), "S", (151, 12, 36.0), "E"), (-33.868, 151.21)),
        (gps((40, 30.5, 0), "N", (73, 59.25, 0), "W"), (40.508333, -73.9875)),
        (gps((0, 0, 0), "N", (0, 0, 0), "E"), None),
        (gps((95, 0, 0), "N", (10, 0, 0), "E"), None),
        ({2: (33, 0, 0)}, None),
    ],
)
def test_exif_positions(tags: dict, expected: tuple | None, tmp_path: Path) -> None:
    found = read_exif(write(tmp_path / "a.png", gps=tags)).latlon_deg
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-5))


def test_exif_times(tmp_path: Path) -> None:
    base = {36867: "2024:05:01 10:00:00", 37521: "250", 36881: "+02:00"}
    assert read_exif(write(tmp_path / "a.png", details=base)).taken == datetime(2024, 5, 1, 8, 0, 0, 250000, tzinfo=UTC)
    assert read_exif(write(tmp_path / "b.png", details={36867: "0000:00:00 00:00:00"})).taken is None


def test_times_of_a_folder() -> None:
    taken = [Exif(taken=datetime(2024, 5, 1, 10, 0, second, tzinfo=UTC)) for second in (1, 3, 8)]
    times, start, remark = image_times(taken)
    assert times.tolist() == [0, 2, 7] and start == taken[0].taken and not remark
    for other in (taken[::-1], [*taken, Exif()], [*taken, Exif(taken=datetime(2024, 5, 1, 11))], [taken[0], taken[0]]):
        times, start, remark = image_times(other)
        assert times.tolist() == list(range(len(other))) and start is None and remark


def test_one_picture_needs_no_clock() -> None:
    times, start, remark = image_times([Exif()])
    assert times.tolist() == [0] and start is None and remark == ""


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.png", orientation=6), Shape())
    assert image.shape == (60, 40, 3) and image[0, -1].tolist() == [255, 255, 255]


def test_nothing_is_made_up_between_pictures(tmp_path: Path) -> None:
    """Two pictures from two continents, and one between them in the order of names whose EXIF is empty."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    write(folder / "1.png", gps=gps((48, 51, 0), "N", (2, 21, 0), "E"))
    write(folder / "2.png")
    write(folder / "3.png", gps=gps((40, 42, 0), "N", (74, 0, 0), "W"))
    (clip,) = find_clips([folder])
    with open_clip(clip) as opened:
        assert [frame.latlon_deg is not None for frame in opened] == [True, False, True]
    records = [
        f'{{"video_id": "v", "frame_index": {i}, "time_s": {i}, "path": "pictures/{i + 1}.png"{position}}}\n'
        for i, position in enumerate((', "lat_deg": 48, "lon_deg": 2', "", ', "lat_deg": 48.001, "lon_deg": 2'))
    ]
    (tmp_path / "frames.jsonl").write_text("".join(records))
    (clip,) = find_clips([tmp_path / "frames.jsonl"])
    with open_clip(clip) as opened:
        assert [frame.latlon_deg is not None for frame in opened] == [True, False, True]


def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    folder.mkdir()
    for name in ("1.png", "2.png", "10.png"):
        write(folder / name)
    (folder / "3.png").write_bytes(b"no picture")
    whole = (folder / "2.png").read_bytes()
    (folder / "4.png").write_bytes(whole[: len(whole) // 2])
    (clip,) = find_clips([folder])
    with open_clip(clip) as opened:
        assert [frame.index for frame in opened] == [0, 1, 4]
    assert opened.decoded == 3 and opened.declared == 5
    assert sum("not a picture" in remark for remark in opened.remarks) == 2
    for name in ("1.png", "2.png", "10.png"):
        (folder / name).write_bytes(b"")
    with pytest.raises(FormatError, match="none of 5"), open_clip(clip) as opened:
        list(opened)
