"""Clips on disk: readable, complete, the same again, and their GPX is where the camera was."""

import csv
from datetime import timedelta
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vgeo.formats.tracks import read_tracks
from vgeo.geo import sphere
from vgeo.geo.tiles import tile_of
from vgeo.world.clips import clip_path, drive_of, frames_of, make_clips, make_tiles, plan_clips
from vgeo.world.world import World

SECONDS, RATE_HZ = 3.5, 4.0


def make(folder: Path, **changes: int) -> list[Path]:
    return make_clips(folder, World(5, 2), 4, SECONDS, rate_hz=RATE_HZ, size=(128, 72), **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make(folder)
    return folder


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_videos_hold_every_frame(made: Path) -> None:
    plans = plan_clips(World(5, 2), 4, SECONDS, rate_hz=RATE_HZ, size=(128, 72))
    for plan in plans:
        frames = decoded(clip_path(made, plan))
        assert frames.shape == (14, 72, 128, 3)
        raw = np.stack(list(frames_of(plan)))
        assert np.abs(frames.astype(float) - raw).mean() < 12  # compressed, but the same pictures


def test_gpx_is_the_drive(made: Path) -> None:
    for plan in plan_clips(World(5, 2), 4, SECONDS, rate_hz=RATE_HZ, size=(128, 72)):
        track = read_tracks(clip_path(made, plan).with_suffix(".gpx"))[0]
        drive = drive_of(plan)
        assert track.video_id == plan.video_id
        assert track.time_s is not None and track.start_utc is not None
        assert track.time_s.tolist() == [0, 1, 2, 3, 3.25]
        picks = (track.time_s * RATE_HZ).astype(int)
        assert sphere.distance_km(track.latlon_deg, drive.latlon_deg[picks]).max() * 1e6 < 20  # mm: 7 decimals
        with av.open(str(clip_path(made, plan))) as container:
            said = container.metadata["creation_time"]
        assert said.startswith((track.start_utc + timedelta(0)).strftime("%Y-%m-%dT%H:%M:%S"))


def test_table_of_labels(made: Path) -> None:
    with (made / "clips.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["video_id"] for row in rows] == ["san-francisco-01", "lisbon-01", "san-francisco-02", "lisbon-02"]
    assert [row["split"] for row in rows] == ["train", "train", "val", "val"]
    assert all((made / row["path"]).is_file() for row in rows)
    assert rows[1]["country"] == "Portugal" and rows[1]["continent"] == "Europe"


def test_same_again_in_another_process(made: Path, tmp_path: Path) -> None:
    for old, new in zip(
        sorted(made.rglob("*.*")), sorted(make(tmp_path, workers=2) and tmp_path.rglob("*.*")), strict=True
    ):
        assert old.name == new.name
        if old.suffix != ".mp4":
            assert old.read_bytes() == new.read_bytes()
        else:
            assert np.array_equal(decoded(old), decoded(new))


def test_finished_clips_are_kept(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.mp4")}
    missing = next(iter(before))
    content = missing.read_bytes()
    missing.unlink()
    make(made)
    assert missing.read_bytes() == content
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path != missing)


def test_every_city_has_both_splits() -> None:
    plans = plan_clips(World(0, 3), 14, 5.0)
    assert len({plan.video_id for plan in plans}) == 14
    for city in World(0, 3).cities:
        splits = [plan.split for plan in plans if plan.city == city.name]
        assert splits == sorted(splits) and set(splits) == {"train", "val"}  # train first


def test_tiles_under_a_track(tmp_path: Path) -> None:
    world = World(5, 2)
    drive = world.drive("Lisbon", np.random.default_rng(0), 20, rate_hz=1)
    paths = make_tiles(tmp_path, world, drive.latlon_deg, size_px=64)
    assert {path.stem for path in paths} == {"{}_{}".format(*tile_of(at)) for at in drive.latlon_deg}
    assert all(Image.open(path).size == (64, 64) for path in paths)
