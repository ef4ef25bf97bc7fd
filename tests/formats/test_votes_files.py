"""Votes in files: GeoJSON and CSV read back whole, and the tables of others."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest
from track_samples import localization

from vgeo.errors import FormatError, InputError
from vgeo.formats import votes
from vgeo.formats.localizations import read_localizations
from vgeo.formats.place_predictions import read_votes
from vgeo.formats.tracks import is_prediction, read_tracks, write_localizations
from vgeo.records import Localization, PlaceLabels, PlaceVote, PlaceVotes

SAID = PlaceVotes(
    rule="majority",
    ranking=(
        (
            PlaceVote(labels=PlaceLabels(city='=São "P"', country="Brazil"), share=0.75, probability=0.5),
            PlaceVote(labels=PlaceLabels(city="Lund", state="Skåne", country="Sweden"), share=0.25, probability=0.125),
        ),
        (),
        (PlaceVote(labels=PlaceLabels(country="Brazil"), share=1, probability=1),),
        (),
    ),
)


def clips() -> list[Localization]:
    said = localization([[1, 2], [3, 4]])
    other = dataclasses.replace(said, track=dataclasses.replace(said.track, video_id="other"), votes=None)
    return [dataclasses.replace(said, votes=SAID), other]


def test_json_round_trip() -> None:
    said = votes.to_json(SAID)
    assert said["city"][1] == {
        "city": "Lund", "state": "Skåne", "country": "Sweden", "share": 0.25, "probability": 0.125
    }  # fmt: skip
    assert "state" not in said and "state" not in said["city"][0]
    assert votes.from_json(json.loads(json.dumps(said)), "x") == SAID


@pytest.mark.parametrize("suffix", ["geojson", "geojsonl", "csv"])
def test_files_hold_them_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"said.{suffix}"
    write_localizations(path, clips())
    assert read_votes(path) == {clips()[0].track.video_id: SAID}
    assert is_prediction(path) and len(read_tracks(path)) == 2


def test_geojson_localizations_bring_them_back(tmp_path: Path) -> None:
    write_localizations(tmp_path / "said.geojson", clips())
    assert [said.votes for said in read_localizations(tmp_path / "said.geojson")] == [SAID, None]


def test_the_table_names_the_city_in_every_row(tmp_path: Path) -> None:
    write_localizations(tmp_path / "said.csv", clips())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "said.csv").read_text())))
    first = [row for row in rows if row["video_id"] != "other"]
    assert {(row["city"], row["state"], row["country"]) for row in first} == {('\'=São "P"', "", "Brazil")}
    assert json.loads(first[0]["place_votes"])["rule"] == "majority"
    assert all(row["place_votes"] == "" for row in rows[1:]) and rows[-1]["city"] == ""


def test_tables_of_others(tmp_path: Path) -> None:
    path = tmp_path / "said.csv"
    path.write_text("Path;Country;City\na/b.mp4;Sweden;Lund\na/b.mp4;Sweden;Ystad\nc.mp4;Peru;\n")
    (video, said), *more = read_votes(path).items()
    assert (video, said.labels, more) == ("a/b.mp4", PlaceLabels(city="Lund", country="Sweden"), [])
    assert [len(ranked) for ranked in said.ranking] == [1, 0, 1, 0] and said.rule == ""


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("video_id,lat,lon\na,1,2\n", InputError, "build-gallery cities"),
        ("", InputError, "says of no clip"),
        ('{"type":"FeatureCollection","features":[]}', InputError, "says of no clip"),
        ("{", FormatError, "JSON"),
        ("video_id,place_votes\na,{\n", FormatError, "p:2"),
        ('video_id,place_votes\na,"{""city"": []}"\n', FormatError, "no city"),
        ('video_id,place_votes\na,"{""city"": [{""city"": 3}]}"\n', FormatError, "3 is not text"),
        ("video_id,place_votes\na,[]\n", FormatError, "p:2: its place_votes cannot be read"),
        ('video_id,place_votes\na,"{""city"": [{""city"": ""x""}]}"\n', FormatError, "share"),
    ],
)
def test_what_is_no_prediction(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(error, match=says):
        read_votes(tmp_path / "p")
