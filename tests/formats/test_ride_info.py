"""BDD100K's info files: every trap of their locations, and the same files as tracks of videos."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gamamaker import START_MS, Ride, drive, info_of, write_info

from vgeo.errors import FormatError, InputError
from vgeo.formats.ride_info import RideInfo, parse_ride_info, read_ride_info
from vgeo.formats.tracks import read_tracks
from vgeo.video.clips import TrackSource, files_of
from vgeo.video.finding import Clip
from vgeo.video.positions import Moment, find_fixes


def info(places: list[dict[str, Any]], start: Any = START_MS) -> RideInfo:
    return parse_ride_info(json.dumps({"startTime": start, "locations": places}), "ride.json")


def place(ms: Any, lat: Any = 40.7, lon: Any = -73.9) -> dict[str, Any]:
    return {"timestamp": START_MS + ms if isinstance(ms, int | float) else ms, "latitude": lat, "longitude": lon}


def test_locations_that_are_not_used_keep_their_places() -> None:
    found = info(
        [place(2000), place(-300), place(None), place(0, math.nan), {"timestamp": START_MS}, place(1000, "40.8"),
         place(500, 0, 0), place(700, 91), 7, place(math.inf), place(900, True)]
    )  # fmt: skip
    assert found.used.tolist() == [True] + [False] * 4 + [True] + [False] * 5
    assert found.seconds().tolist() == [2, -1, -1, -1, -1, 1, -1, -1, -1, -1, -1]
    assert found.latlon_deg[5].tolist() == [40.8, -73.9]
    assert found.left_out == {"before the start": 1, "without a time": 3, "without a place": 5}
    assert found.unusable() == "11 in the file, 1 before the start, 3 without a time, 5 without a place"


def test_seconds_are_rounded_as_python_does() -> None:
    times = [0, 499, 500, 501, 1500, 2500, 2501, 3499, 39_600]
    assert info([place(ms) for ms in times]).seconds().tolist() == [round(ms / 1000) for ms in times]


def test_the_nearest_location_by_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    times = rng.permutation(rng.integers(-3000, 40_000, 60)).tolist()
    found = info([place(ms, 40 + i / 1000) for i, ms in enumerate(times)])
    rows, off_s = found.at(np.arange(42))
    for second in range(42):
        best = None
        for i, ms in sorted(enumerate(times), key=lambda pair: (pair[1], pair[0])):
            if ms >= 0 and (best is None or abs(ms - 1000 * second) <= abs(times[best] - 1000 * second)):
                best = i
        assert rows[second] == best
        assert off_s[second] == pytest.approx(abs(times[best] - 1000 * second) / 1000)
    later = info([place(0), place(2000, 41.0), place(2000, 42.0)])
    assert later.at(np.array([1, 2]))[0].tolist() == [2, 2]  # the later of equals
    with pytest.raises(FormatError, match="no location to be used: 1 in the file, 1 before the start"):
        info([place(-1)]).at(np.array([0]))


def test_the_range_is_that_of_used_locations() -> None:
    found = info([place(-1, 50.0), place(0, 40.7, -73.9), place(1000, 40.7005, -73.8988), place(2000, math.nan)])
    assert found.range_deg() == pytest.approx(0.0012)
    assert info([place(0, 0.1, 179.999), place(1, 0.1, -179.999)]).range_deg() == pytest.approx(0.002)
    assert math.isnan(info([]).range_deg())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "ride.json: not JSON"),
        ("[]", "holds no list of locations"),
        ('{"startTime": 5}', "holds no list of locations"),
        ('{"locations": {}, "startTime": 5}', "holds no list of locations"),
        ('{"locations": []}', "startTime is None, not milliseconds"),
        ('{"locations": [], "startTime": "soon"}', "startTime is 'soon', not milliseconds"),
        ('{"locations": [], "startTime": NaN}', "startTime is nan"),
        ('{"locations": [], "startTime": 1e300}', "startTime is 1e"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_damaged_files(text: str, said: str) -> None:
    with pytest.raises(FormatError, match=r"ride\.json") as caught:
        parse_ride_info(text, "ride.json")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_ride_info(tmp_path / "none.json")


def test_it_is_a_track_of_the_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ride = drive("v0", 4)
    path = write_info(tmp_path, Ride("v0", 120, [ride.places[i] for i in (3, 0, 4, 1, 2)]))
    with caplog.at_level(logging.WARNING):
        (track,) = read_tracks(path)
    assert not caplog.records  # that locations are out of order is usual
    assert track.video_id == "v0" and track.start_utc is None
    assert track.time_s is not None and track.time_s.tolist() == pytest.approx([0.3, 1.3, 2.3, 3.3])
    assert track.latlon_deg.tolist() == [[lat, lon] for _, lat, lon in ride.places[1:]]


def test_other_json_is_read_as_before(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[-73.9, 40.7], [-73.8, 40.7]]}
    both = {"type": "Feature", "geometry": line, "properties": {"locations": [1], "startTime": 5}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(both))
    assert read_tracks(path)[0].latlon_deg.tolist() == [[40.7, -73.9], [40.7, -73.8]]
    path.write_text(json.dumps({"rideID": "x"}))
    with pytest.raises(FormatError):
        read_tracks(path)
    path.write_text(json.dumps({"locations": [place(-5)], "startTime": START_MS}))
    with pytest.raises(FormatError, match=r"a.json: none of its locations can be used \(1 in the file, 1 before the"):
        read_tracks(path)


def test_a_folder_of_them_gives_each_video_its_own(tmp_path: Path) -> None:
    for i in range(3):
        write_info(tmp_path, drive(f"v{i}", 5, 40.0 + i))
    (tmp_path / "info/val/v2.json").write_text("damaged")
    folder = tmp_path / "info/val"
    source = TrackSource(file=folder)
    for i in range(2):
        clip = Path(f"videos/val/v{i}.mov")
        fixes, remarks = find_fixes(
            Moment(video_id="other", path=clip, duration_s=5, start_utc=None), source, lambda: (None, "")
        )
        assert fixes is not None and fixes.time_s[0] == pytest.approx(0.3)  # not moved to the clip's start
        assert fixes.latlon_deg[0, 0] == pytest.approx(40.0 + i, abs=1e-3)
        assert remarks == [f"positions from v{i}.json, from the clip's start"]
        assert files_of(Clip("other", clip, "video"), source) == [clip, folder / f"v{i}.json"]
    lost = Moment(video_id="v9", path=Path("v9.mov"), duration_s=5, start_utc=None)
    with pytest.raises(FormatError, match="holds 2 tracks, and none is named v9"):
        find_fixes(lost, source, lambda: (None, ""))


def test_the_maker_writes_what_is_read(tmp_path: Path) -> None:
    ride = drive("v0", 7)
    found = read_ride_info(write_info(tmp_path, ride))
    assert found.seconds().tolist() == [-1, 0, 1, 2, 3, 4, 5, 6] and found.start_ms == info_of(ride)["startTime"]
