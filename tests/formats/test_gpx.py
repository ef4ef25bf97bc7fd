"""GPX: real recordings, hostile documents, and written files against the rules of the 1.1 schema."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from track_samples import START, localization

from vgeo.errors import FormatError
from vgeo.formats.tracks import read_tracks, write_localizations

HEAD = '<?xml version="1.0"?><gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
GPX = "{http://www.topografix.com/GPX/1/1}"
# Children of each element in the order that the schema's xsd:sequence gives them.
ORDER = {
    "gpx": ["metadata", "wpt", "rte", "trk", "extensions"],
    "trk": ["name", "cmt", "desc", "src", "link", "number", "type", "extensions", "trkseg"],
    "trkseg": ["trkpt", "extensions"],
    "trkpt": [
        "ele",
        "time",
        "magvar",
        "geoidheight",
        "name",
        "cmt",
        "desc",
        "src",
        "link",
        "sym",
        "type",
        "extensions",
    ],
}


def from_text(tmp_path: Path, text: str):
    (tmp_path / "in.gpx").write_text(text)
    return read_tracks(tmp_path / "in.gpx")


def track(points: str, name: str = "") -> str:
    return f"<trk>{f'<name>{name}</name>' if name else ''}<trkseg>{points}</trkseg></trk>"


def test_a_real_recording(shared_dir: Path) -> None:
    path = shared_dir / "data/gps-sidecars/sf_30km_h.gpx"
    points = list(ElementTree.parse(path).iter(f"{GPX}trkpt"))
    (found,) = read_tracks(path)
    assert (found.video_id, len(found)) == ("sf_30km_h", 49)
    np.testing.assert_array_equal(found.latlon_deg, [[float(p.get("lat")), float(p.get("lon"))] for p in points])
    stamps = found.timestamps_utc()
    times = [p.findtext(f"{GPX}time") for p in points]
    assert stamps is not None
    assert [when.isoformat(timespec="milliseconds").replace("+00:00", "Z") for when in stamps] == times


def test_a_derived_track_equals_its_table(shared_dir: Path) -> None:
    (gpx,) = read_tracks(shared_dir / "data/opensfm-lund-walk/derived_lund_walk.gpx")
    (table,) = read_tracks(shared_dir / "data/opensfm-lund-walk/gps.csv")
    np.testing.assert_allclose(gpx.latlon_deg, table.latlon_deg, atol=1e-7)
    np.testing.assert_array_equal(gpx.time_s, np.arange(29))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_segments_are_joined_and_tracks_are_not(tmp_path: Path, version: str) -> None:
    segments = (
        '<trk><name>a</name><trkseg><trkpt lat="1" lon="2"/></trkseg><trkseg><trkpt lat="3" lon="4"/></trkseg></trk>'
    )
    text = f'<gpx version="{version}" xmlns="http://www.topografix.com/GPX/{version.replace(".", "/")}">'
    a, b, again = from_text(tmp_path, text + segments + track('<trkpt lat="5" lon="6"/>', "b") * 2 + "</gpx>")
    assert [t.video_id for t in (a, b, again)] == ["a", "b", "b-2"]
    np.testing.assert_array_equal(a.latlon_deg, [[1, 2], [3, 4]])
    assert a.time_s is None and a.start_utc is None


def test_routes_and_waypoints_where_there_is_no_track(tmp_path: Path) -> None:
    wpt = '<wpt lat="1" lon="2"/><wpt lat="3" lon="4"/>'
    rte = '<rte><rtept lat="5" lon="6"/></rte>'
    (found,) = from_text(tmp_path, HEAD + wpt + rte + "</gpx>")
    np.testing.assert_array_equal(found.latlon_deg, [[5, 6]])
    (found,) = from_text(tmp_path, HEAD + wpt + "</gpx>")
    np.testing.assert_array_equal(found.latlon_deg, [[1, 2], [3, 4]])


def test_points_without_time_are_left_out_of_a_timed_track(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    timed = '<trkpt lat="1" lon="2"><time>2020-01-01T00:00:0{}Z</time></trkpt>'
    (found,) = from_text(
        tmp_path, HEAD + track(timed.format(1) + '<trkpt lat="3" lon="4"/>' + timed.format(3)) + "</gpx>"
    )
    np.testing.assert_array_equal(found.time_s, [0, 2])
    assert found.start_utc is not None and found.start_utc.second == 1
    assert "1 of 3 positions have no time" in caplog.text


def test_a_time_that_cannot_be_read_is_no_time(tmp_path: Path) -> None:
    (found,) = from_text(tmp_path, HEAD + track('<trkpt lat="1" lon="2"><time>yesterday</time></trkpt>') + "</gpx>")
    assert found.time_s is None


POINT = '<trkpt lat="{}" lon="{}"/>'
HOSTILE = {
    "nan": (HEAD + track(POINT.format("NaN", 2)) + "</gpx>", "not on the Earth"),
    "inf": (HEAD + track(POINT.format(1, "inf")) + "</gpx>", "not on the Earth"),
    "95": (HEAD + track(POINT.format(95, 2)) + "</gpx>", "not on the Earth"),
    "swapped": (HEAD + track(POINT.format(-122.4, 37)) + "</gpx>", "swapped"),
    "no lat": (HEAD + track('<trkpt lon="2"/>') + "</gpx>", "not GPX|not on the Earth"),
    "text": (HEAD + track(POINT.format("x", 2)) + "</gpx>", "not GPX|not on the Earth"),
    "empty": (HEAD + "</gpx>", "holds no track points"),
    "empty track": (HEAD + track("") + "</gpx>", "holds no track points"),
    "cut off": (HEAD + track(POINT.format(1, 2)), "not XML"),
    "other XML": ("<html><body/></html>", "not GPX"),
    "kml": ("<kml><Document/></kml>", "not GPX"),
    "deep": ("<gpx>" + "<a>" * 100_000, "nested too deeply"),
    "external entity": (
        '<!DOCTYPE gpx [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + track(POINT.format(1, 2), "&x;"),
        "declares a document type",
    ),
    "laughs": (
        '<?xml version="1.0"?><!-- a --><!DOCTYPE gpx [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><gpx>&b;</gpx>',
        "declares a document type",
    ),
    "external DTD": ('<!DOCTYPE gpx SYSTEM "http://example.com/gpx.dtd"><gpx/>', "declares a document type"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_or_mistaken_input_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, message = HOSTILE[case]
    with pytest.raises(FormatError, match=message) as caught:
        from_text(tmp_path, text)
    assert "\n" not in str(caught.value) and str(tmp_path / "in.gpx") in str(caught.value)


def test_written_files_keep_to_the_schema(tmp_path: Path) -> None:
    clips = [
        localization([[48, 2], [-90, 179.99999999]], "a & <b>", start_utc=START, places=("Paris & <so on>", "")),
        localization([[1, 2]], "c"),
    ]
    write_localizations(tmp_path / "t.gpx", clips)
    root = ElementTree.parse(tmp_path / "t.gpx").getroot()
    assert (root.tag, root.get("version")) == (f"{GPX}gpx", "1.1") and root.get("creator", "").startswith("vgeo ")
    for element in root.iter():
        name = element.tag.removeprefix(GPX)
        if name in ORDER:
            places = [ORDER[name].index(child.tag.removeprefix(GPX)) for child in element]
            assert places == sorted(places), f"children of <{name}> are out of order"
        elif name == "extensions":
            assert all(child.tag.startswith("{urn:vgeo:1}") for child in element)
        elif not element.tag.startswith("{urn:vgeo:1}"):
            assert len(element) == 0 and name in ("name", "src", "time", "desc")
    for point in root.iter(f"{GPX}trkpt"):
        assert -90 <= float(point.get("lat", "")) <= 90 and -180 <= float(point.get("lon", "")) < 180
    assert [t.findtext(f"{GPX}name") for t in root.iter(f"{GPX}trk")] == ["a & <b>", "c"]
    assert [t.text for t in root.iter(f"{GPX}time")] == ["2019-11-18T23:45:14.000Z", "2019-11-18T23:45:15.000Z"]
