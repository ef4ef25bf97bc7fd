"""CSV in the dialects of spreadsheets, recorders and vgeo itself; JSON lines."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from track_samples import START, localization

from vgeo.errors import FormatError
from vgeo.formats.tracks import read_tracks, write_localizations


def from_text(tmp_path: Path, text: str, name: str = "in.csv"):
    (tmp_path / name).write_bytes(text.encode())
    return read_tracks(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "lat,lon\n48.5,2.5\n49,3\n",
        "\ufefflat,lon\r\n48.5,2.5\r\n49,3\r\n",
        "LAT,LON\n48.5,2.5\n49,3",
        "name;Longitude;Latitude\nx;2,5;48,5\ny;3;49\n",
        "lng\tLat (deg)\tlat_deg\n2.5\tz\t48.5\n3\tz\t49\n",
        '"lat_deg"|"lon_deg"|note\n48.5|2.5|"a|b"\n\n49|3|\n',
        "GPSLatitude,GPSLongitude,alt\n48.5,2.5,\n49,3,7\n",
    ],
)
def test_dialects(tmp_path: Path, text: str) -> None:
    (track,) = from_text(tmp_path, text)
    np.testing.assert_array_equal(track.latlon_deg, [[48.5, 2.5], [49, 3]])
    assert (track.video_id, track.time_s, track.frame_index) == ("in", None, None)


@pytest.mark.parametrize(
    ("column", "cells", "seconds", "start"),
    [
        ("time_s", ["0.5", "1.5"], [0.5, 1.5], None),
        ("time", ["10", "12"], [10, 12], None),
        ("timestamp", ["1577836810", "1577836812"], [0, 2], "2020-01-01T00:00:10+00:00"),
        ("timestamp_ms", ["1577836810000", "1577836812500"], [0, 2.5], "2020-01-01T00:00:10+00:00"),
        ("time_ms", ["500", "1500"], [0.5, 1.5], None),
        ("captured_at", ["1577836810000", "1577836812500"], [0, 2.5], "2020-01-01T00:00:10+00:00"),
        ("timestamp_utc", ["2020-01-01T00:00:10Z", "2020-01-01 00:00:12"], [0, 2], "2020-01-01T00:00:10+00:00"),
        ("datetime", ["2020:01:01 00:00:10.25", "2020/1/1 00:00:12"], [0, 1.75], "2020-01-01T00:00:10.250000+00:00"),
        (
            "datetime_local",
            ["2020-01-01T02:00:10+02:00", "2020-01-01T02:00:11+02:00"],
            [0, 1],
            "2020-01-01T02:00:10+02:00",
        ),
    ],
)
def test_times(tmp_path: Path, column: str, cells: list[str], seconds: list[float], start: str | None) -> None:
    (track,) = from_text(tmp_path, f"lat,lon,{column}\n1,2,{cells[0]}\n3,4,{cells[1]}\n")
    np.testing.assert_allclose(track.time_s, seconds)
    assert (track.start_utc.isoformat() if track.start_utc else None) == start


def test_both_times_keep_the_clip_s_own_seconds(tmp_path: Path) -> None:
    text = "lat,lon,time_s,timestamp_utc,frame\n1,2,5,2020-01-01T00:00:05Z,150\n3,4,6,2020-01-01T00:00:06Z,180\n"
    (track,) = from_text(tmp_path, text)
    assert track.time_s.tolist() == [5, 6] and track.frame_index.tolist() == [150, 180]
    assert track.start_utc.isoformat() == "2020-01-01T00:00:00+00:00"


def test_clips_may_be_mixed_and_out_of_order(tmp_path: Path) -> None:
    b, a = from_text(tmp_path, "video_id,time_s,lat,lon\nb,2,1,1\na,0,5,5\nb,1,2,2\nb,3,,\n")
    assert (a.video_id, b.video_id) == ("a", "b")
    assert b.time_s.tolist() == [1, 2] and b.latlon_deg.tolist() == [[2, 2], [1, 1]]


def test_a_published_table(shared_dir: Path) -> None:
    path = shared_dir / "data/global-streetscapes-sample/meta/02_metadata_common_attributes.csv"
    tracks = read_tracks(path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {track.video_id: len(track) for track in tracks} == {
        name: sum(row["sequence_id"] == name for row in rows) for name in {row["sequence_id"] for row in rows}
    }
    assert all(track.start_utc is not None for track in tracks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lat,lon\nNaN,2\n", "in.csv:2: a number is nan"),
        ("lat,lon\n1,inf\n", "in.csv:2: a number is inf"),
        ("lat,lon\n1,2\n95,2\n", "not on the Earth"),
        ("lat,lon\n-122,37\n", "swapped"),
        ("lat,lon\none,2\n", "in.csv:2: 'one' is not a number"),
        ("lat,lon\n1\n", "in.csv:2: 'None' is not a number"),
        ("lat,lon\n", "holds no positions"),
        ("lat,lon\n,\n", "holds no positions"),
        ("x,y\n1,2\n", "names no columns lat and lon, but x, y"),
        ("2017:04:17 17:31:03.000,33.1,-117.3\n", "names no columns"),
        ("lat,lon,time\n1,2,noon\n", "in.csv:2: 'noon': not an RFC 3339 time"),
        ('lat,lon\n1,"' + "2" * 200_000 + '"\n', "not a table|not a number|not finite"),
    ],
)
def test_mistakes_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        from_text(tmp_path, text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_frames_jsonl(tmp_path: Path) -> None:
    frame = {"video_id": "a", "frame_index": 0, "time_s": 0.0, "path": "a/0.jpg", "timestamp_utc": None, "labels": {}}
    rows = [
        frame | {"lat_deg": 1.5, "lon_deg": 2.5},
        frame | {"lat_deg": None, "lon_deg": None, "time_s": 1.0, "frame_index": 30},
        frame | {"lat_deg": 1.6, "lon_deg": 2.6, "time_s": 2.0, "frame_index": 60},
    ]
    (track,) = from_text(tmp_path, "\n".join(json.dumps(row) for row in rows) + "\n", "frames.jsonl")
    assert track.latlon_deg.tolist() == [[1.5, 2.5], [1.6, 2.6]] and track.frame_index.tolist() == [0, 60]
    with pytest.raises(FormatError, match=r"frames.jsonl:2: not JSON"):
        from_text(tmp_path, json.dumps(rows[0]) + "\n{\n", "frames.jsonl")


def test_written_tables(tmp_path: Path) -> None:
    said = localization([[-48.5, 2], [1, 3]], "=cmd|' /C calc'!A0", start_utc=START, places=("@Paris", 'A "b", c'))
    write_localizations(tmp_path / "t.csv", [said])
    with open(tmp_path / "t.csv", newline="") as file:
        first, second = list(csv.DictReader(file))
    assert first == {
        "video_id": "'=cmd|' /C calc'!A0",
        "frame": "0",
        "time_s": "0.0",
        "timestamp_utc": "2019-11-18T23:45:14.000Z",
        "lat_deg": "-48.5000000",
        "lon_deg": "2.0000000",
        "confidence": "0.1",
        "radius_km": "1.0",
        "place": "'@Paris",
        "candidates": "[[-48.5, 2.0, 0.5], [-48.5, 2.0, 0.1]]",
        **dict.fromkeys(("city", "state", "country", "continent", "place_votes"), ""),
    }
    assert second["place"] == 'A "b", c'
    assert read_tracks(tmp_path / "t.csv")[0].video_id == "=cmd|' /C calc'!A0"
