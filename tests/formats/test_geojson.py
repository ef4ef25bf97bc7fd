"""GeoJSON: what RFC 7946 asks of a writer, and every shape of input that a reader meets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from track_samples import START, localization

from vgeo.errors import FormatError
from vgeo.formats.tracks import read_tracks, write_localizations
from vgeo.records import Localization


def written(tmp_path: Path, *clips: Localization) -> list[dict[str, Any]]:
    write_localizations(tmp_path / "t.geojson", clips)
    text = (tmp_path / "t.geojson").read_text()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"holds {name}"))
    assert document["type"] == "FeatureCollection" and set(document) == {"type", "features"}
    for feature in document["features"]:
        assert feature["type"] == "Feature" and set(feature) == {"type", "geometry", "properties"}
        check_geometry(feature["geometry"])
    return document["features"]


def check_geometry(geometry: dict[str, Any]) -> None:
    """RFC 7946, section 3.1."""
    depth = {"Point": 0, "LineString": 1, "MultiLineString": 2}[geometry["type"]]
    parts = [geometry["coordinates"]]
    for _ in range(depth):
        assert depth == 0 or all(len(part) >= 1 for part in parts)
        parts = [inner for part in parts for inner in part]
    for lon, lat in parts:  # never an altitude, never a time
        assert -180 <= lon <= 180 and -90 <= lat <= 90
        assert round(lon, 7) == lon and round(lat, 7) == lat
    lines = {0: [], 1: [geometry["coordinates"]], 2: geometry["coordinates"]}[depth]
    assert all(len(line) >= 2 for line in lines)


def from_text(tmp_path: Path, value: Any, name: str = "in.geojson"):
    (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return read_tracks(tmp_path / name)


def feature(geometry: dict[str, Any] | None, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


LINE = {"type": "LineString", "coordinates": [[2, 48], [2.1, 48.1, 35], [2.2, 48.2]]}
ROWS = [[48, 2], [48.1, 2.1], [48.2, 2.2]]


# --- written ---


def test_a_line_and_a_point_a_frame(tmp_path: Path) -> None:
    said = localization([[48.12345678, 2], [48.2, -0.00000001]], places=("Paris, France", ""))
    line, first, second = written(tmp_path, said)
    assert line["geometry"] == {"type": "LineString", "coordinates": [[2.0, 48.1234568], [0.0, 48.2]]}
    assert line["properties"] == {
        "kind": "track",
        "video_id": "clip",
        "method": "nearest",
        "source": "clips/clip.mp4",
        "relativeTimes": [0.0, 1.0],
        "coordinateProperties": {"times": [0.0, 1.0]},
    }
    assert first["geometry"] == {"type": "Point", "coordinates": [2.0, 48.1234568]}
    assert first["properties"] == {
        "kind": "frame",
        "video_id": "clip",
        "frame": 0,
        "time_s": 0.0,
        "confidence": 0.1,
        "radius_km": 1.0,
        "place": "Paris, France",
        "candidates": [
            {"lat_deg": 48.1234568, "lon_deg": 2.0, "probability": 0.5},
            {"lat_deg": 48.1234568, "lon_deg": 2.0, "probability": 0.1},
        ],
    }
    assert second["properties"]["frame"] == 30


def test_a_clip_with_a_clock_has_absolute_times(tmp_path: Path) -> None:
    line, first, second = written(tmp_path, localization([[1, 2], [3, 4]], start_utc=START))
    times = ["2019-11-18T23:45:14.000Z", "2019-11-18T23:45:15.000Z"]
    assert line["properties"]["coordTimes"] == line["properties"]["coordinateProperties"]["times"] == times
    assert "relativeTimes" not in line["properties"]
    assert [first["properties"]["timestamp_utc"], second["properties"]["timestamp_utc"]] == times


def test_one_frame_is_a_point(tmp_path: Path) -> None:
    line, frame = written(tmp_path, localization([[1, 2]]))
    assert line["geometry"] == frame["geometry"] == {"type": "Point", "coordinates": [2.0, 1.0]}
    assert line["properties"]["relativeTimes"] == [0.0]
    assert [len(track) for track in read_tracks(tmp_path / "t.geojson")] == [1]


def test_a_line_is_cut_at_the_antimeridian(tmp_path: Path) -> None:
    line, *_ = written(tmp_path, localization([[10, 179], [11, -179], [10, 179.5]]))
    assert line["geometry"] == {
        "type": "MultiLineString",
        "coordinates": [
            [[179.0, 10.0], [180.0, 10.5]],
            [[-180.0, 10.5], [-179.0, 11.0], [-180.0, 10.3333333]],
            [[180.0, 10.3333333], [179.5, 10.0]],
        ],
    }
    assert line["properties"]["relativeTimes"] == [[0.0, 0.5], [0.5, 1.0, 1.666667], [1.666667, 2.0]]


def test_a_position_on_the_antimeridian_is_its_own_crossing(tmp_path: Path) -> None:
    line, *_ = written(tmp_path, localization([[0, -180], [0, 179], [0, 178]]))
    assert line["geometry"] == {"type": "LineString", "coordinates": [[180.0, 0.0], [179.0, 0.0], [178.0, 0.0]]}


def test_rounding_does_not_reach_180(tmp_path: Path) -> None:
    _, frame = written(tmp_path, localization([[0, 179.99999999]]))
    assert frame["geometry"]["coordinates"] == [-180.0, 0.0]


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    said = localization([[0, 1]])
    said.confidence[0] = said.radius_km[0] = np.nan
    _, frame = written(tmp_path, said)
    assert "confidence" not in frame["properties"] and "radius_km" not in frame["properties"]


def test_no_clip_is_an_empty_collection(tmp_path: Path) -> None:
    assert written(tmp_path) == []


# --- read ---


@pytest.mark.parametrize(
    ("properties", "start", "times"),
    [
        ({"coordTimes": ["2020-01-01T00:00:10Z", "2020-01-01T00:00:11.5Z", "2020-01-01T00:00:13Z"]}, 10, [0, 1.5, 3]),
        ({"coordinateProperties": {"times": [1577836810000, 1577836811000, 1577836812000]}}, 10, [0, 1, 2]),
        ({"relativeTimes": [5, 6, 7.25]}, None, [5, 6, 7.25]),
        ({"times": [1577836810, 1577836811, 1577836812]}, 10, [0, 1, 2]),
        ({}, None, None),
    ],
)
def test_times_of_a_line(tmp_path: Path, properties: dict[str, Any], start: int | None, times: Any) -> None:
    (track,) = from_text(tmp_path, feature(LINE, **properties))
    np.testing.assert_array_equal(track.latlon_deg, ROWS)
    assert track.video_id == "in"
    assert (track.start_utc.second if track.start_utc else None) == start
    if times is None:
        assert track.time_s is None
    else:
        np.testing.assert_allclose(track.time_s, times)


def test_a_cut_line_is_put_together(tmp_path: Path) -> None:
    parts = [[[179, 10], [180, 10.5]], [[-180, 10.5], [-179, 11]]]
    line = {"type": "MultiLineString", "coordinates": parts}
    (track,) = from_text(tmp_path, feature(line, coordTimes=[[0, 1], [1, 2]], video_id="suva"))
    assert track.video_id == "suva"
    np.testing.assert_array_equal(track.latlon_deg, [[10, 179], [11, -179]])
    np.testing.assert_array_equal(track.time_s, [0, 2])


def test_parts_that_do_not_meet_at_the_antimeridian_keep_all_positions(tmp_path: Path) -> None:
    line = {"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4]], [[3, 4], [5, 6]]]}
    (track,) = from_text(tmp_path, line)
    np.testing.assert_array_equal(track.latlon_deg, [[2, 1], [4, 3], [4, 3], [6, 5]])


def test_points_win_over_the_line_of_their_clip(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [7, 8]}
    tracks = from_text(
        tmp_path,
        collection(
            feature(LINE, video_id="a"), feature(LINE, video_id="b"), feature(point, video_id="a", frame=30, time_s=1.0)
        ),
    )
    a, b = tracks
    assert (a.video_id, len(a), a.frame_index.tolist(), a.time_s.tolist()) == ("a", 1, [30], [1.0])
    assert (b.video_id, len(b), b.frame_index) == ("b", 3, None)


def test_marks_beside_a_line_are_no_frames(tmp_path: Path) -> None:
    mark = feature({"type": "Point", "coordinates": [9, 9]}, name="Start", icon="flag")
    (track,) = from_text(tmp_path, collection(mark, feature(LINE, name="walk")))
    np.testing.assert_array_equal(track.latlon_deg, ROWS)


def test_bare_points_are_one_track(tmp_path: Path) -> None:
    (track,) = from_text(
        tmp_path, collection(*(feature({"type": "Point", "coordinates": p}) for p in [[1, 2], [3, 4]]))
    )
    np.testing.assert_array_equal(track.latlon_deg, [[2, 1], [4, 3]])
    (track,) = from_text(tmp_path, {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]})
    np.testing.assert_array_equal(track.latlon_deg, [[2, 1], [4, 3]])


def test_several_lines_are_called_by_name(tmp_path: Path) -> None:
    tracks = from_text(tmp_path, collection(*(feature(LINE, name=name) for name in ("x", "y", "x", None))))
    assert [track.video_id for track in tracks] == ["x", "y", "x-2", "in"]


@pytest.mark.parametrize("separator", ["\n", "\n\x1e", "\r\n"])
def test_sequences(tmp_path: Path, separator: str) -> None:
    texts = [json.dumps(feature(LINE, video_id=name)) for name in "abc"]
    text = ("\x1e" if "\x1e" in separator else "") + separator.join(texts) + "\n"
    for name in ("in.geojsonl", "in.geojsons", "in.geojson"):  # the name may be wrong
        assert [track.video_id for track in from_text(tmp_path, text, name)] == ["a", "b", "c"]


def test_pretty_printed_records_between_separators(tmp_path: Path) -> None:
    text = "".join("\x1e" + json.dumps(feature(LINE, video_id=name), indent=2) + "\n" for name in "ab")
    assert len(from_text(tmp_path, text, "in.geojsons")) == 2


def test_times_that_run_backwards_are_sorted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (track,) = from_text(tmp_path, feature(LINE, relativeTimes=[2, 1, 3]))
    np.testing.assert_array_equal(track.time_s, [1, 2, 3])
    np.testing.assert_array_equal(track.latlon_deg, [ROWS[1], ROWS[0], ROWS[2]])
    assert "times run backwards in 1 places" in caplog.text


def test_positions_without_a_time_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (track,) = from_text(tmp_path, feature(LINE, coordTimes=["2020-01-01T00:00:00Z", None, "2020-01-01T00:00:09Z"]))
    np.testing.assert_array_equal(track.time_s, [0, 9])
    assert "1 of 3 positions have no time" in caplog.text


def test_longitudes_beyond_180_come_round(tmp_path: Path) -> None:
    (track,) = from_text(tmp_path, {"type": "LineString", "coordinates": [[179, 0], [181, 0], [180, 0], [-190, 0]]})
    np.testing.assert_array_equal(track.latlon_deg[:, 1], [179, -179, -180, 170])


HOSTILE = {
    "nan": ('{"type":"LineString","coordinates":[[NaN,1],[2,3]]}', "NaN"),
    "overflow": ('{"type":"LineString","coordinates":[[1e999,1],[2,3]]}', "not finite"),
    "long integer": ('{"type":"LineString","coordinates":[[' + "9" * 400 + ",1],[2,3]]}", "not a number"),
    "endless integer": ('{"type":"LineString","coordinates":[[' + "9" * 9999 + ",1],[2,3]]}", "not JSON"),
    "95 degrees": ('{"type":"LineString","coordinates":[[1,95],[2,3]]}', "not on the Earth.*swapped"),
    "swapped": ('{"type":"LineString","coordinates":[[48.1,-122.3],[2,3]]}', "swapped"),
    "four numbers": ('{"type":"LineString","coordinates":[[1,2,3,4],[2,3]]}', "not 4 numbers"),
    "one number": ('{"type":"Point","coordinates":[1]}', "not 1 numbers"),
    "text": ('{"type":"Point","coordinates":["a","b"]}', "'b' is not a number"),
    "true": ('{"type":"Point","coordinates":[true,false]}', "not a number"),
    "no list": ('{"type":"LineString","coordinates":7}', "not a list"),
    "null": ('{"type":"LineString","coordinates":null}', "not a list"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "deep object": ('{"type":"LineString","coordinates":' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    "cut off": ('{"type":"FeatureCollection","features":[{"type":"Fea', "not JSON"),
    "other JSON": ('{"type":"LineString"}', "not a list"),
    "array": ("[1,2,3]", "not GeoJSON"),
    "empty": ('{"type":"FeatureCollection","features":[]}', "holds no lines or points"),
    "no geometry": ('{"type":"Feature","geometry":null,"properties":null}', "holds no lines or points"),
    "polygon": ('{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}', "holds no lines or points"),
    "empty line": ('{"type":"LineString","coordinates":[]}', "holds no positions"),
    "too few times": (json.dumps(feature(LINE, coordTimes=[1])), "1 of coordTimes for 3 positions"),
    "no date": (json.dumps(feature(LINE, coordTimes=["a", "b", "c"])), "not an RFC 3339 time"),
    "twins": (json.dumps(collection(feature(LINE, video_id="a"), feature(LINE, video_id="a"))), "give each clip once"),
    "features": ('{"type":"FeatureCollection","features":7}', "without a list"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_or_mistaken_input_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, message = HOSTILE[case]
    with pytest.raises(FormatError, match=message) as caught:
        from_text(tmp_path, text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "lons",
    [[179, -180, -180, -180], [-180, -180, 179], [179, -180, 179], [179, -180, -179], [-180, -180], [-179, -180, 178]],
)
def test_stops_on_the_antimeridian_stay_in_the_line(tmp_path: Path, lons: list[float]) -> None:
    line, *_ = written(tmp_path, localization([[i, lon] for i, lon in enumerate(lons)]))
    (track,) = from_text(tmp_path, line)
    assert track.latlon_deg.tolist() == [[i, lon] for i, lon in enumerate(lons)]
    assert track.time_s is not None and track.time_s.tolist() == list(range(len(lons)))
