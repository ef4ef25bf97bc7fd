"""KML: gx:Track and LineString as phones and globes write them, hostile documents, and what vgeo writes."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from track_samples import START, localization

from vgeo.errors import FormatError
from vgeo.formats.tracks import read_tracks, write_localizations

KML = "{http://www.opengis.net/kml/2.2}"
GX = "{http://www.google.com/kml/ext/2.2}"
TRACK = """<gx:Track><when>2020-01-01T00:00:00Z</when><when>2020-01-01T00:00:01Z</when>
<gx:coord>2 48 100</gx:coord><gx:coord>2.1 48.1 100</gx:coord></gx:Track>"""


def from_text(tmp_path: Path, body: str, attributes: str = 'xmlns="http://www.opengis.net/kml/2.2"'):
    text = f'<?xml version="1.0"?><kml {attributes} xmlns:gx="http://www.google.com/kml/ext/2.2">{body}</kml>'
    (tmp_path / "in.kml").write_text(text)
    return read_tracks(tmp_path / "in.kml")


def placemark(body: str, name: str = "ride") -> str:
    return f"<Placemark><name>{name}</name>{body}</Placemark>"


@pytest.mark.parametrize(
    "attributes", ['xmlns="http://www.opengis.net/kml/2.2"', 'xmlns="http://earth.google.com/kml/2.1"', ""]
)
def test_a_timed_track_in_any_namespace(tmp_path: Path, attributes: str) -> None:
    (found,) = from_text(tmp_path, f"<Document><Folder>{placemark(TRACK)}</Folder></Document>", attributes)
    np.testing.assert_array_equal(found.latlon_deg, [[48, 2], [48.1, 2.1]])
    np.testing.assert_array_equal(found.time_s, [0, 1])
    assert found.video_id == "in" and found.start_utc is not None and found.start_utc.year == 2020


def test_a_line_string(tmp_path: Path) -> None:
    line = "<LineString><coordinates>\n 2,48,0 2.1,48.1\n\t2.2,48.2,5 </coordinates></LineString>"
    (found,) = from_text(tmp_path, placemark(line))
    np.testing.assert_array_equal(found.latlon_deg, [[48, 2], [48.1, 2.1], [48.2, 2.2]])
    assert found.time_s is None


def test_multi_tracks_are_joined_and_placemarks_are_not(tmp_path: Path) -> None:
    later = TRACK.replace("2020-01-01", "2020-01-02")
    body = placemark(f"<gx:MultiTrack>{TRACK}{later}</gx:MultiTrack>", "a") + placemark(TRACK, "b")
    a, b = from_text(tmp_path, body)
    assert (a.video_id, len(a), b.video_id, len(b)) == ("a", 4, "b", 2)
    assert a.time_s.tolist() == [0, 1, 86400, 86401]


def test_points_where_there_is_no_line(tmp_path: Path) -> None:
    mark = "<TimeStamp><when>2020-01-01T00:00:0{}Z</when></TimeStamp><Point><coordinates>{},1</coordinates></Point>"
    (found,) = from_text(tmp_path, placemark(mark.format(0, 5)) + placemark(mark.format(3, 6)))
    np.testing.assert_array_equal(found.latlon_deg, [[1, 5], [1, 6]])
    np.testing.assert_array_equal(found.time_s, [0, 3])


HOSTILE = {
    "nan": (placemark("<LineString><coordinates>NaN,1 2,3</coordinates></LineString>"), "not finite"),
    "95": (placemark("<LineString><coordinates>1,95 2,3</coordinates></LineString>"), "not on the Earth"),
    "four": (placemark("<LineString><coordinates>1,2,3,4</coordinates></LineString>"), "at most an altitude"),
    "words": (placemark("<LineString><coordinates>here,there</coordinates></LineString>"), "not a number"),
    "times": (placemark(TRACK.replace("<when>2020-01-01T00:00:01Z</when>", "")), "2 positions and 1 times"),
    "empty": ("<Document/>", "holds no tracks"),
    "deep": ("<Folder>" * 100_000 + "</Folder>" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_or_mistaken_input_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    body, message = HOSTILE[case]
    with pytest.raises(FormatError, match=message) as caught:
        from_text(tmp_path, body)
    assert "\n" not in str(caught.value)


def test_entities_are_refused_and_quoted_documents_are_not(tmp_path: Path) -> None:
    path = tmp_path / "in.kml"
    path.write_text('<!DOCTYPE kml [<!ENTITY x SYSTEM "file:///etc/passwd">]><kml>&x;</kml>')
    with pytest.raises(FormatError, match="declares a document type"):
        read_tracks(path)
    quoted = placemark(f"<description><![CDATA[<!DOCTYPE html><b>ride</b>]]></description>{TRACK}")
    assert len(from_text(tmp_path, quoted)) == 1


def test_written_files(tmp_path: Path) -> None:
    clips = [
        localization([[48, 2], [-90, 3]], "a & b", start_utc=START),
        localization([[1, 2], [3, 4]], "c"),
        localization([[5, 6]], "d"),
    ]
    write_localizations(tmp_path / "t.kml", clips)
    root = ElementTree.parse(tmp_path / "t.kml").getroot()
    timed, untimed, one = root.iter(f"{KML}Placemark")
    # KML asks for this order: the feature's own elements, ExtendedData, then the geometry.
    assert [child.tag for child in timed] == [f"{KML}name", f"{KML}ExtendedData", f"{GX}Track"]
    assert [child.tag for child in untimed] == [f"{KML}name", f"{KML}ExtendedData", f"{KML}LineString"]
    assert [child.tag for child in one] == [f"{KML}name", f"{KML}ExtendedData", f"{KML}Point"]
    assert [when.text for when in timed.iter(f"{KML}when")] == ["2019-11-18T23:45:14.000Z", "2019-11-18T23:45:15.000Z"]
    assert [spot.text for spot in timed.iter(f"{GX}coord")] == ["2.0000000 48.0000000 0", "3.0000000 -90.0000000 0"]
    assert untimed.findtext(f"{KML}LineString/{KML}coordinates") == "2.0000000,1.0000000 4.0000000,3.0000000"


@pytest.mark.parametrize("words", ["0 1", "0 1 2 3", ""])
def test_times_that_are_not_one_a_position_are_not_guessed_at(tmp_path: Path, words: str) -> None:
    seconds = f'<ExtendedData><Data name="time_s"><value>{words}</value></Data></ExtendedData>'
    line = "<LineString><coordinates>1,2 3,4 5,6</coordinates></LineString>"
    (found,) = from_text(tmp_path, placemark(seconds + line))
    assert found.time_s is None
    assert len(found) == 3
