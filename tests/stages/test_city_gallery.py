"""Galleries of the cities that tables and feature files name."""

import logging
from pathlib import Path

import numpy as np
import pytest

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError
from vgeo.formats.features import FeatureWriter
from vgeo.formats.frames import format_frames
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.place_labels import read_place_labels
from vgeo.geo.sphere import distance_km
from vgeo.records import LEVELS, FrameRecord
from vgeo.stages.build_gallery import build_gallery
from vgeo.stages.city_gallery import named_cities

LISBON, STUTTGART, SINGAPORE = (38.7167, -9.1333), (48.7823, 9.177), (1.2897, 103.8501)


def table(folder: Path, text: str, name: str = "places.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def rows(gallery: Gallery) -> list[tuple[str, ...]]:
    return list(zip(*(gallery.labels[level] for level in LEVELS), strict=True))


def test_each_city_once_as_the_table_spells_it(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "path,City,country,state\na.mp4,lisbon,PORTUGAL,\nb.mp4,Sao Paulo,Brazil,\nc.mp4,Lisbon,Portugal,\n"
        "d.mp4,Portland,USA,Maine\ne.mp4,Portland,USA,OR\nf.mp4,,Brazil,\n",
    )
    gallery = named_cities([path])
    assert rows(gallery) == [
        ("lisbon", "Lisbon", "PORTUGAL", "Europe"),
        ("Sao Paulo", "São Paulo", "Brazil", "South America"),
        ("Portland", "Maine", "USA", "North America"),
        ("Portland", "OR", "USA", "North America"),
    ]
    centres = [LISBON, (-23.55, -46.63), (43.66, -70.26), (45.52, -122.68)]
    assert distance_km(gallery.latlon_deg, np.array(centres)).max() < 5
    assert gallery.attributes["kind"] == "cities"


def test_more_and_less_of_one_name_is_one_city(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gallery = named_cities([table(tmp_path, "city,country,continent\nParis,,\nPARIS,France,\nParis,FR,Europa\n")])
    assert rows(gallery) == [("Paris", "Île-de-France", "France", "Europa")]
    assert "another name" not in caplog.text
    gallery = named_cities([table(tmp_path, "city\nBombay\nMumbai\n")])
    assert rows(gallery)[0][0] == "Bombay" and len(gallery) == 1
    assert "Mumbai is Bombay under another name" in caplog.text


def test_states_without_a_name_stay_unknown(tmp_path: Path) -> None:
    assert rows(named_cities([table(tmp_path, "city\nSingapore\n")])) == [("Singapore", "", "Singapore", "Asia")]


def test_own_positions_are_taken_as_they_are(tmp_path: Path) -> None:
    path = table(
        tmp_path, "city;country;LAT;lng\nAtlantis;Nowhere;31,5;-24,25\nLisbon;Portugal;;\nAtlantis;Nowhere;;\n"
    )
    gallery = named_cities([path])
    assert rows(gallery)[0] == ("Atlantis", "", "Nowhere", "")
    assert gallery.latlon_deg[0].tolist() == [31.5, -24.25] and len(gallery) == 2
    assert distance_km(gallery.latlon_deg[1], LISBON) < 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("city,lat,lon\nA,1,2\na,1,3\n", r"A|a: lies at \(1.0, 2.0\) and at \(1.0, 3.0\)"),
        ("city,lat,lon\nA,1,\n", "only one of lat and lon"),
        ("city,lat,lon\nA,91,2\n", "not on the Earth"),
        ("city,lat,lon\nA,x,2\n", "places.csv:2"),
        ("town,country\nLund,Sweden\n", "no column city, but town, country"),
        ("", "no column city"),
    ],
)
def test_tables_that_do_not_serve(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        named_cities([table(tmp_path, text)])


def test_the_antimeridian_is_one_place(tmp_path: Path) -> None:
    assert len(named_cities([table(tmp_path, "city,lat,lon\nA,1,180\nA,1,-180\n")])) == 1


def test_all_that_cannot_be_told_are_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = table(tmp_path, "city,country\nPortland,USA\nLisbon,\nHyderabad,\nXyzzy,\n")
    with pytest.raises(FormatError, match="3 of 4 cities"):
        build_gallery("cities", [path], tmp_path / "g.h5")
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.split(":")[0] for line in said] == ["Portland, USA", "Hyderabad", "Xyzzy"]
    assert not (tmp_path / "g.h5").exists()
    rows = "city,country,lat,lon\nPortland,USA,45.5,-122.7\nHyderabad,India,,\nXyzzy,,0,0\n"
    build_gallery("cities", [table(tmp_path, rows)], tmp_path / "g.h5")
    assert len(read_gallery(tmp_path / "g.h5")) == 3


def test_feature_files_and_frames(tmp_path: Path) -> None:
    """Positions of frames are not those of the city."""
    spec = EncoderSpec(name="gist", dim=2, weights="none", weights_hash="none", preprocessing="none", settings={})
    with FeatureWriter(tmp_path / "f.h5", {"gist": spec}, "1 Hz", "pyav") as writer:
        for name, labels in (("a", {"city": "Stuttgart"}), ("b", {"city": "Singapore"}), ("c", {})):
            writer.add(name, {"gist": np.zeros((2, 2))}, np.arange(2), np.full((2, 2), 9.0), labels=labels)
        writer.finish(["a", "b", "c"])
    gallery = named_cities([tmp_path / "f.h5"])
    assert gallery.labels["city"].tolist() == ["Stuttgart", "Singapore"]
    assert distance_km(gallery.latlon_deg, [STUTTGART, SINGAPORE]).max() < 5
    frame = FrameRecord(video_id="a", frame_index=0, time_s=0, path="a.jpg", labels={"city": "Lisbon"})
    (tmp_path / "frames.jsonl").write_text(format_frames([frame, frame]))
    for source in (tmp_path / "frames.jsonl", tmp_path):
        assert distance_km(named_cities([source]).latlon_deg, LISBON).max() < 5


def test_inputs_without_cities(tmp_path: Path) -> None:
    for text in ("city,country\n,Sweden\n", "city\n"):
        with pytest.raises(InputError, match="says in which city"):
            named_cities([table(tmp_path, text)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"frames\.jsonl"):
        named_cities([tmp_path / "empty"])
    with pytest.raises(InputError, match="read once"):
        named_cities(["-", "-"])


def test_real_tables(shared_dir: Path) -> None:
    """Street images of two cities, labelled by others (simplemaps) than the places are looked up in (GeoNames)."""
    path = shared_dir / "data/global-streetscapes-sample/meta/01_simplemaps.csv"
    said = read_place_labels(path)
    assert len(said) > 2000
    gallery = named_cities([path])
    assert sorted(rows(gallery)) == [
        ("Singapore", "Central Singapore", "Singapore", "Asia"),
        ("Stuttgart", "Baden-Württemberg", "Germany", "Europe"),
    ]
    order = np.argsort(gallery.labels["city"])
    assert distance_km(gallery.latlon_deg[order], [SINGAPORE, STUTTGART]).max() < 5


def test_of_many_unknown_cities_the_first_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = table(tmp_path, "city,country\n" + "".join(f"Xqzv{i:03d},France\n" for i in range(50)))
    with pytest.raises(FormatError, match="50 of 50 cities have no certain position"):
        named_cities([path])
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 21 and said[0].startswith("Xqzv000") and said[-1] == "and 30 more"
