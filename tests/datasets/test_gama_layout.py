"""GAMa: counts by hand on a small tree, and a slow, literal reading of a messy one."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gamamaker import START_MS, Ride, drive, info_of, make_tree, tile_name, write_frames, write_info, write_lists
from gamamaker import write_ride as write_all

from vgeo import datasets
from vgeo.datasets._gama_rides import Ride as Read
from vgeo.datasets.base import Part, Recipe
from vgeo.datasets.gama import Gama
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.stages.layouts import read_layout


def write_ride(root: Path, ride: Ride) -> Ride:
    return write_all(root, ride, aerial=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("gama"), aerial=False)


def read(root: Path, **recipe: object) -> tuple[Gama, dict[str, Part]]:
    layout = Gama(root, Recipe(**recipe))  # type: ignore[arg-type]
    return layout, {name: layout.read(name) for name in layout.parts()}


def rides(root: Path, split: str = "val", labels: Path | None = None) -> dict[str, Read]:
    layout = Gama(root, Recipe(labels=labels))
    found = layout.rides(split, layout.videos(split))
    return {one.video_id: one.ride for one in found if one.ride is not None}


def test_it_is_found_by_its_name() -> None:
    assert datasets.get("gama") is Gama


def test_counts_by_hand(tree: Path) -> None:
    layout, parts = read(tree)
    assert list(parts) == ["train", "val"] and [part.rows for part in parts.values()] == [3, 3]
    # Locations are at -0.7, 0.3, ..., of 40 s until 39.3: seconds 0 to 38 (39 becomes 38, 2 s before the end).
    assert np.diff(parts["train"].sequences.first).tolist() == [39, 39, 39]
    assert np.diff(parts["val"].sequences.first).tolist() == [39, 37, 35]
    lines = layout.summary(list(parts.values()))
    assert lines[0] == "gama: 6 videos there, taken with mu in [0.001, 0.004]; left out: nothing"
    assert lines[1] == "gama: 6 videos = 3 train + 3 val, 228 seconds (35 to 39 a video)"
    assert all(number in lines[2] for number in ("45,029", "6,506", "21,144", "3,103", "1.68 M", "116,000"))
    assert layout.remarks() == ["6 locations before the start are not used"]
    assert layout.describe() == "min_frames=1 mu=0.001..0.004"


def test_frames_are_those_of_whole_seconds(tree: Path) -> None:
    sequences = read(tree)[1]["val"].sequences
    for s, first in ((0, 0), (1, 1)):
        frames = sequences.frames(s)
        assert [frame.time_s for frame in frames] == list(range(len(frames)))
        assert [frame.frame_index for frame in frames] == [30 * i for i in range(len(frames))]
        assert [frame.path for frame in frames] == [f"{30 * i + first:04d}.png" for i in range(len(frames))]
        assert all((sequences.clips()[s].path.parent / frame.path).is_file() for frame in frames)
    ride = drive("v0", 40, 37.8, -122.4)
    frame = sequences.frames(0)[5]
    assert (frame.lat_deg, frame.lon_deg) == ride.places[6][1:]  # the location at 5.3 s, in float64
    assert frame.timestamp_utc == "2017-08-27T10:02:48.000Z" and frame.labels == {"split": "val"}


def test_mu_chooses_where_no_list_does(tmp_path: Path) -> None:
    def along(name: str, range_deg: float, lon: bool = False, split: str = "val") -> Ride:
        places = [(1000 * i, 40 + (0 if lon else range_deg * i / 4), 20 + range_deg * i / 4 * lon) for i in range(5)]
        return write_ride(tmp_path, Ride(name, 180, places, split))

    for name, mu in {"still": 0.0, "slow": 0.00099, "low": 0.001, "high": 0.004, "fast": 0.00401}.items():
        along(name, mu)
    along("east", 0.002, lon=True)
    along("eastfast", 0.005, lon=True)
    early = along("early", 0.002)
    write_info(tmp_path, replace(early, places=[(-500, 50.0, 0.0), *early.places]))  # what is left out does not count
    along("other", 0.0, split="train")
    write_lists(tmp_path, {"train.list": ["other 180"]})
    layout, parts = read(tmp_path)
    assert sorted(parts["val"].sequences.video_ids) == ["early", "east", "high", "low"]
    assert parts["val"].left_out == {"with mu outside 0.001 to 0.004 degrees": 4}
    assert parts["train"].sequences.video_ids == ["other"]  # the lists are the selection where there are some
    assert "4 videos with mu outside" in layout.remarks()[0]


def test_lists_name_videos_days_and_splits(tree: Path, tmp_path: Path) -> None:
    for entry in tree.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    lists = {
        "train.list": ["t0 1200", "t1 1200", "t2 1200", "gone 1200"],
        "train_day.list": ["t0 1200", "t1 1200"],
        "train_day_tiny.list": ["t1 1200"],
        "val_day_vid.list": ["v0", "v1"],
    }
    write_lists(tmp_path / "list", lists)
    layout, parts = read(tmp_path)
    labels = {
        name: said.get("daytime", "")
        for part in parts.values()
        for name, said in zip(part.sequences.video_ids, part.sequences.labels, strict=True)
    }
    assert labels == {"t0": "day", "t1": "day", "t2": "night", "v0": "day", "v1": "day"}  # v2 is not in a list
    assert parts["train"].left_out == {"without an info file": 1} and parts["train"].rows == 4
    lines = layout.summary(list(parts.values()))
    assert "named by train.list, train_day.list, val_day_vid.list" in lines[0]
    assert "3 train + 2 val, 4 by day, 1 by night" in lines[1]
    assert layout.describe() == "min_frames=1 train=train.list+train_day.list val=val_day_vid.list"
    given, parts = read(tmp_path, labels=tmp_path / "list/train_day_tiny.list")
    assert list(parts) == ["train"] and parts["train"].sequences.video_ids == ["t1"]
    assert given.describe() == "min_frames=1 train=train_day_tiny.list"
    days = tmp_path / "days"
    write_lists(days, {"train_day.list": ["t0 1200"], "val_day_vid.list": ["v0"]})
    _, parts = read(tmp_path, labels=days)
    assert [part.sequences.video_ids for part in parts.values()] == [["t0"], ["v0"]]


def test_a_large_split_is_read_in_pieces(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(tree)[1]["train"].sequences
    monkeypatch.setattr("vgeo.datasets.gama._PIECE", 2)
    layout, parts = read(tree)
    assert list(parts) == ["train 1 of 2", "train 2 of 2", "val 1 of 2", "val 2 of 2"]
    assert [part.rows for part in parts.values()] == [2, 1, 2, 1]
    names = [name for part in parts.values() for name in part.sequences.video_ids]
    assert names == ["t0", "t1", "t2", "v0", "v1", "v2"] and whole.video_ids == names[:3]
    assert "6 videos = 3 train + 3 val" in layout.summary(list(parts.values()))[1]


def test_a_list_that_counts_other_pictures_is_said(tree: Path, tmp_path: Path) -> None:
    for entry in tree.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    write_lists(tmp_path, {"train.list": ["t0 1200", "t1 1203", "t2 900"]})
    layout, parts = read(tmp_path)
    assert len(parts["train"].sequences) == 3
    assert "2 videos with other numbers of pictures than the list says (kept), t1 first" in layout.remarks()


def literally(ride: Ride, listed: Sequence[tuple[int, str, str]] | None) -> dict[int, tuple[object, ...]]:
    """second -> own picture, tile, position; and under -1 - second all its pictures. Every rule by a plain loop."""
    used = {}
    for g, (ms, lat, lon) in enumerate(ride.places):
        if ms >= 0 and not math.isnan(lat):
            used[g] = (ms / 1000, lat, lon)
    clip_len = int(ride.frames / 30)
    second_of = {g: min(round(t), clip_len - 2) for g, (t, _, _) in used.items() if clip_len >= 2}

    def nearest(second: int) -> tuple[int, float]:
        best = -1
        for g in sorted(used, key=lambda g: (used[g][0], g)):
            if best < 0 or abs(used[g][0] - second) <= abs(used[best][0] - second):
                best = g
        return best, abs(used[best][0] - second)

    shots: list[tuple[int, str, str, int]] = []  # second, picture, tile, g
    if listed is None:
        shots = [(s, f"{g:02d}.jpeg", tile_name(*used[g][1:]), g) for g, s in second_of.items()]
    else:
        turn: dict[int, int] = {}
        for second, tile, picture in listed:
            if picture:
                g = int(picture.split(".")[0])
            else:
                of = [g for g in sorted(second_of) if second_of[g] == second] or [
                    g for g, off in [nearest(second)] if off <= 1
                ]
                g = of[min(turn.get(second, 0), len(of) - 1)] if of else -1
                turn[second] = turn.get(second, 0) + 1
            shots.append((second, f"{g:02d}.jpeg" if g >= 0 else "", tile, g))
    found: dict[int, tuple[object, ...]] = {}
    for second in sorted({s for s, *_ in shots}):
        best = None
        for s, picture, tile, g in shots:
            off = abs(used[g][0] - second) if g in used else math.inf
            if s == second and (best is None or off <= best[0]):
                best = (off, picture, tile)
        assert best is not None
        g, off = nearest(second)
        found[second] = (best[1], best[2], used[g][1:] if off <= 1 else None)
        found[-1 - second] = tuple(dict.fromkeys((p, t) for s, p, t, _ in shots if s == second))
    return found


def as_read(ride: Read) -> dict[int, tuple[object, ...]]:
    found: dict[int, tuple[object, ...]] = {}
    tiles = ride.tiles()
    for k, second in enumerate(ride.second.tolist()):
        place = None if np.isnan(ride.latlon_deg[k, 0]) else tuple(ride.latlon_deg[k].tolist())
        found[second] = (ride.picture[ride.own[k]], tiles[ride.own[k]], place)
        found[-1 - second] = tuple(
            (picture, tile)
            for picture, tile, s in zip(ride.picture, tiles, ride.picture_second, strict=True)
            if s == second
        )
    return found


def messy(rng: np.random.Generator, name: str) -> Ride:
    """Unsorted, before the start, NaN, two in one second, holes of seconds, and beyond the end of the video."""
    seconds = int(rng.integers(4, 42))
    times = 1000 * np.arange(-2, seconds + 2) + int(rng.integers(0, 1000)) + rng.integers(-450, 450, seconds + 4)
    times = times[rng.random(len(times)) > 0.1]
    times = np.concatenate([times, rng.choice(times, 2) + 90])
    if rng.random() < 0.5:
        times = rng.permutation(times)
    places = [
        (int(ms), math.nan if rng.random() < 0.08 else 40.7 + ms * 5e-8, -73.95 + ms * 4e-8) for ms in times.tolist()
    ]
    return Ride(name, seconds * 30 + int(rng.integers(0, 30)), places, first_frame=int(rng.integers(0, 2)))


def test_joins_are_those_of_plain_loops(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    made = {f"m{i}": write_ride(tmp_path, messy(rng, f"m{i}")) for i in range(40)}
    write_lists(tmp_path / "all", {"val_vid.list": list(made)})
    found = rides(tmp_path, labels=tmp_path / "all/val_vid.list")
    assert len(found) == 40
    for name, ride in found.items():
        assert as_read(ride) == literally(made[name], None)
        assert np.array_equal(ride.second, np.unique(ride.second))
    assert sum(len(ride.picture) > len(ride.second) for ride in found.values()) > 20  # several in one second

    clips, crops = [], []
    wanted: dict[str, list[tuple[int, str, str]]] = {}
    for name, ride in made.items():
        for second in sorted(rng.choice(ride.frames // 30 + 2, 4)):  # twice the same, and none of a location
            tile = f"{rng.integers(1000)}_{rng.integers(1000)}"
            wanted.setdefault(name, []).append((int(second), tile, ""))
            clips.append(f"{name} {second} {tile}")
            crops.append(f"{name}/{rng.integers(12):02d}.jpeg {second} {tile}")
    write_lists(tmp_path / "clips", {"val_gps_day.list": clips})
    found = rides(tmp_path, labels=tmp_path / "clips")
    assert {name: as_read(ride) for name, ride in found.items()} == {
        name: literally(made[name], listed) for name, listed in wanted.items()
    }
    assert all(ride.daytime == "day" for ride in found.values())
    write_lists(tmp_path / "crops", {"val_gps_day.list": clips, "gallery_gps_day_center.list": crops})
    for name, listed in wanted.items():
        pictures = [line.split()[0].split("/")[1] for line in crops if line.startswith(f"{name}/")]
        wanted[name] = [(second, tile, p) for (second, tile, _), p in zip(listed, pictures, strict=True)]
    found = rides(tmp_path, labels=tmp_path / "crops")
    assert {name: as_read(ride) for name, ride in found.items()} == {
        name: literally(made[name], listed) for name, listed in wanted.items()
    }


def test_a_dictionary_names_pictures_too(tmp_path: Path) -> None:
    ride = write_ride(tmp_path, drive("v0", 10))
    tile = tile_name(*ride.places[3][1:])
    write_lists(tmp_path / "list", {"val_gps_day.list": [f"v0 2 {tile}", f"v0 3 {tile}"]})
    (tmp_path / "dict").mkdir()
    (tmp_path / "dict/dict_centered.json").write_text(json.dumps({"v0_2": "satelite_data/val_gps/v0/07.jpeg"}))
    found = rides(tmp_path)["v0"]
    assert found.picture == ["07.jpeg", "04.jpeg"]  # 3 s has the location of 3.3 s, which is number 4


def test_second_1_goes_with_02_jpeg(tmp_path: Path) -> None:
    write_ride(tmp_path, drive("v0", 40))
    found = rides(tmp_path)["v0"]
    assert dict(zip(found.picture_second.tolist(), found.picture, strict=True))[1] == "02.jpeg"


def test_tiles_that_lie_elsewhere_are_said(tmp_path: Path) -> None:
    ride = write_ride(tmp_path, drive("v0", 10))
    x, y = map(int, tile_name(*ride.places[3][1:]).split("_"))
    write_lists(tmp_path, {"val_gps.list": [f"v0 2 {x + 1}_{y}", f"v0 3 {x // 2}_{y // 2}", f"v0 3 {x}_{y}"]})
    layout, _ = read(tmp_path)
    remarks = layout.remarks()
    assert "val_gps.list: 1 lines are of a second that an earlier line names, too" in remarks
    assert "1 listed tiles are not where their locations lie; is the zoom 19?" in remarks  # a neighbour may be rounding


def test_clips_need_their_pictures(tmp_path: Path) -> None:
    write_ride(tmp_path, drive("v0", 25, missing_frames=frozenset({30, 90 + 14, 120 + 15})))
    found = rides(tmp_path)["v0"]
    assert found.second[~found.whole()].tolist() == [1, 3]
    layout, parts = read(tmp_path)
    assert parts["val"].sequences.time_s.tolist() == [0, *range(2, 24)]
    assert "1 seconds without a picture are left out" in layout.remarks()
    short = write_ride(tmp_path, replace(drive("short", 30), frames=59))
    assert int(short.frames / 30) == 1 and "short" not in rides(tmp_path)
    assert read(tmp_path)[1]["val"].left_out == {"without a second that has a location": 1}
    assert read(tmp_path, min_frames=24)[1]["val"].left_out["of fewer than 24 seconds"] == 1


def test_what_cannot_be_used_is_counted_and_named(tree: Path, tmp_path: Path) -> None:
    for name in ("good", "noinfo", "noshots", "damaged", "empty", "nan", "twice", "stray"):
        write_ride(tmp_path, drive(name, 40))
    info, shots = tmp_path / "info/val", tmp_path / "video_data/val"
    (info / "noinfo.json").unlink()
    (info / "damaged.json").write_text('{"locations": [')
    (info / "empty.json").write_text(json.dumps({"startTime": START_MS, "locations": []}))
    nowhere = json.dumps(info_of(replace(drive("nan", 40), places=[(0, math.nan, 0.0)])))
    (info / "nan.json").write_text(nowhere)
    for path in (shots / "noshots.mov").iterdir():
        path.unlink()
    (shots / "twice.mov/00005.png").touch()
    (shots / "stray.mov/notes.txt").touch()
    (shots / ".hidden").mkdir()
    layout = Gama(tmp_path, Recipe())
    parts, failures = read_layout(layout)
    assert not failures and parts[0].sequences.video_ids == ["good", "stray"] and parts[0].rows == 8
    assert parts[0].left_out == {
        "without an info file": 1, "without pictures": 1, "without a location that can be used": 2,
        "with an info file or pictures that cannot be read": 2,
    }  # fmt: skip
    remarks = "\n".join(layout.remarks())
    assert "damaged.json: not JSON" in remarks and "noinfo: without an info file" in remarks


def test_nothing_to_read(tmp_path: Path) -> None:
    write_ride(tmp_path, drive("v0", 40))
    (tmp_path / "info/val/v0.json").unlink()
    with pytest.raises(InputError, match=r"no video with pictures and locations \(1 without an info file, v0 first\)"):
        read_layout(Gama(tmp_path, Recipe()))


def test_folders_that_are_not_gama(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Gama(tmp_path / "none", Recipe())
    with pytest.raises(InputError, match="not a folder of GAMa, it holds no video_data/train"):
        Gama(tmp_path, Recipe())
    (tmp_path / "videos/val").mkdir(parents=True)
    (tmp_path / "info/100k/val").mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"'vgeo extract-frames \S+/videos/val --track \S+/info/100k/val --rate-hz 15'"
    ):
        Gama(tmp_path, Recipe())


def test_other_places_of_the_same_files(tmp_path: Path) -> None:
    ride = drive("v0", 40)
    write_frames(tmp_path, ride)
    (tmp_path / "video_data/val/v0.mov").rename(tmp_path / "video_data/val/v0")
    (tmp_path / "info/100k/val").mkdir(parents=True)
    (tmp_path / "info/100k/val/v0.json").write_text(json.dumps(info_of(ride)))
    assert len(rides(tmp_path)["v0"].second) == 39


def test_options_that_do_nothing_and_lists_that_cannot_serve(tree: Path, tmp_path: Path) -> None:
    for recipe, name in (
        (Recipe(split_gaps=True), "--split-gaps"), (Recipe(with_test=True), "--with-test"), (Recipe(seed=3), "--seed"),
        (Recipe(apart_m=5), "--apart-m"), (Recipe(cities=("sf",)), "--city"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"{name}: does nothing with --layout gama"):
            Gama(tree, recipe)
    write_lists(tmp_path, {"videos.list": ["v0"], "val_tiles.list": ["5_5 v0"], "val_bad.list": ["v0 x"]})
    for file, error, said in (
        ("none.list", InputError, "no such list"),
        ("videos.list", FormatError, "of which split"),
        ("val_tiles.list", FormatError, "a list of tiles"),
        ("val_bad.list", FormatError, "line 1: 'x' is no number of frames"),
        ("", InputError, "holds none of train.list"),
    ):
        with pytest.raises(error, match=said):
            Gama(tree, Recipe(labels=tmp_path / file))
    (tmp_path / "video_data/train").mkdir(parents=True)
    write_lists(tmp_path / "l", {"val_vid.list": ["v0"]})
    with pytest.raises(InputError, match="holds no video_data/val"):
        Gama(tmp_path, Recipe(labels=tmp_path / "l"))
