"""Folders of frames as seconds with tiles."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgeo.errors import InputError, SettingError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.geo.tiles import position, tile_of
from vgeo.stages.moments import open_moments, whole_seconds

ZOOM, X, Y = 19, 154_000, 197_000


def at(east: float, south: float) -> tuple[float, float]:
    """A position so many tiles from the corner of tile X, Y."""
    lat, lon = position(X + east, Y + south, ZOOM)
    return float(lat), float(lon)


def write_frames(
    folder: Path, video: str, seconds: float, rate_hz: float = 15.0, gaps: tuple[int, ...] = (), **labels: str
) -> None:
    """A video that drives a tile east in 4 seconds; it has no position in some seconds."""
    (folder / video).mkdir(parents=True)
    lines = []
    for i in range(round(seconds * rate_hz)):
        time_s = i / rate_hz
        lat, lon = at(0.5 + time_s / 4, 0.5)
        place = {} if int(time_s) in gaps else {"lat_deg": lat, "lon_deg": lon}
        record = {"video_id": video, "frame_index": i, "time_s": round(time_s, 6), "path": f"{video}/{i:04d}.jpg"}
        lines.append(json.dumps(record | place | ({"labels": labels} if labels else {})))
    with (folder / "frames.jsonl").open("a") as file:
        file.write("\n".join(lines) + "\n")


def plain(*tiles: tuple[int, int]) -> Gallery:
    centres = [at(x + 0.5 - X, y + 0.5 - Y) for x, y in tiles]
    names = np.array([f"{x}_{y}" for x, y in tiles], object)
    return Gallery(latlon_deg=np.array(centres), labels={"tile": names}, attributes={"kind": "tiles", "zoom": ZOOM})


def test_seconds_lie_on_the_tile_that_holds_them(tmp_path: Path) -> None:
    write_frames(tmp_path, "a", 5.5, split="train")
    write_frames(tmp_path, "b", 3.0, gaps=(1,), split="val")
    found = open_moments([tmp_path], plain((X + 1, Y), (X, Y)), 15.0)
    assert found.video_ids == ["a", "b"] and found.labels["split"] == ["train", "val"]
    # East at s is 0.5 + s/4: tile X up to second 1, X+1 from second 2 on. The last second begins at 5.
    assert found.time_s.tolist() == [0, 1, 2, 3, 4, 5, 0, 2]
    assert found.first_row.tolist() == [0, 6, 8]
    assert found.tile_M.tolist() == [1, 1, 0, 0, 0, 0, 1, 0]
    for place, row in zip(found.latlon_deg, found.tile_M, strict=True):
        x, y = tile_of(place, ZOOM)
        assert (x, y) == ((X + 1, Y) if row == 0 else (X, Y))
    assert found.first_picture.tolist() == [0, 82, 127]
    assert found.picture(82 + 3) == tmp_path / "b" / "0003.jpg"


def test_tiles_made_around_the_seconds_are_found_by_id(tmp_path: Path) -> None:
    write_frames(tmp_path, "drive_7", 3.0)
    names = np.array(["drive_7_2", "other_0", "drive_7_0"], object)
    tiles = Gallery(latlon_deg=np.zeros((3, 2)), labels={"tile": names}, attributes={"kind": "tiles", "zoom": ZOOM})
    assert open_moments([tmp_path], tiles, 15.0).tile_M.tolist() == [2, -1, 0]


def test_a_second_without_tile_has_none(tmp_path: Path) -> None:
    write_frames(tmp_path, "a", 4.0)
    assert open_moments([tmp_path], plain((X, Y)), 15.0).tile_M.tolist() == [0, 0, -1, -1]


@pytest.mark.parametrize("rate_hz", [15.0, 30.0, 29.97, 14.0])
def test_enough_pictures_are_enough(tmp_path: Path, rate_hz: float) -> None:
    write_frames(tmp_path, "a", 4.0, rate_hz=rate_hz)
    assert open_moments([tmp_path], plain((X, Y)), 15.0).time_s.tolist() == [0, 1, 2, 3]


def test_what_cannot_be_trained_on_is_said(tmp_path: Path) -> None:
    write_frames(tmp_path / "slow", "a", 6.0, rate_hz=2.0)
    with pytest.raises(SettingError, match=r"2 pictures a second, and clips are made of 15; .*--rate-hz 15"):
        open_moments([tmp_path / "slow"], plain((X, Y)), 15.0)
    assert len(open_moments([tmp_path / "slow"], plain((X, Y)), None)) == 6, "where rates do not matter"
    write_frames(tmp_path / "nearly", "a", 6.0, rate_hz=12.5)
    with pytest.raises(SettingError, match=r"12\.5 pictures a second"):
        open_moments([tmp_path / "nearly"], plain((X, Y)), 15.0)
    (tmp_path / "bare").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "bare" / "1.png")
    with pytest.raises(InputError, match=r"pictures without frames\.jsonl"):
        open_moments([tmp_path / "bare"], plain((X, Y)), 15.0)
    (tmp_path / "clip.mp4").write_bytes(b"video")
    with pytest.raises(UsageError, match="a video"):
        open_moments([tmp_path / "clip.mp4"], plain((X, Y)), 15.0)


def test_whole_seconds_of_uneven_times() -> None:
    """Against a loop: the nearest picture of a second, unless it is further than half of what lies between pictures."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        time_s = np.sort(rng.uniform(rng.uniform(0, 2), 9, rng.integers(2, 60)))
        reach = min(float(np.median(np.diff(time_s))) / 2, 0.5) + 1e-6
        expected = []
        for second in range(11):
            nearest = min(range(len(time_s)), key=lambda n: (abs(time_s[n] - second), -n))
            if abs(time_s[nearest] - second) <= reach:
                expected.append((second, time_s[nearest]))
        seconds, at_M = whole_seconds(time_s)
        assert [(int(s), time_s[n]) for s, n in zip(seconds, at_M, strict=True)] == expected


def test_a_clock_that_jumps_costs_no_memory() -> None:
    seconds, at_M = whole_seconds(np.array([0.0, 0.5, 1.0, 1e12, 1e12 + 0.5, 1e12 + 1]))
    assert seconds.tolist() == [0, 1, 1e12, 1e12 + 1] and at_M.tolist() == [0, 2, 3, 5]
