"""Galleries: round trips through every format, the released gallery of GeoCLIP, and files that lie."""

import importlib.util
import io
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats import gallery_text
from vgeo.formats.gallery import Gallery, join, read_gallery, write_gallery


def spec(name: str, weights_hash: str = "abc") -> EncoderSpec:
    return EncoderSpec(name=name, dim=4, weights="w", weights_hash=weights_hash, preprocessing="224", settings={})


def texts(*values: str) -> np.ndarray:
    return np.array(values, object)


@pytest.fixture
def gallery() -> Gallery:
    rng = np.random.default_rng(0)
    name = "clip:openai/clip-vit-large-patch14"
    return Gallery(
        latlon_deg=np.array([[55.7054321, 13.1912345], [-17.0, -180.0], [1e-7, -1e-7]]),
        labels={"city": texts("Lund", "=cmd|' /C calc'!A0", ""), "a/b.c": texts("x, y", 'q"\n', "Ä")},
        features={name: rng.normal(size=(3, 4)).astype(np.float16)},
        encoders={name: spec(name)},
        keys={"0123456789abcdef": rng.normal(size=(3, 8)).astype(np.float32)},
        attributes={"kind": "points"},
    )


def plain(gallery: Gallery) -> Gallery:
    return Gallery(latlon_deg=gallery.latlon_deg, labels=gallery.labels)


def same_labels(a: Gallery, b: Gallery) -> bool:
    return list(a.labels) == list(b.labels) and all(a.labels[n].tolist() == b.labels[n].tolist() for n in a.labels)


def test_hdf5_keeps_everything(gallery: Gallery, tmp_path: Path) -> None:
    write_gallery(tmp_path / "g.h5", gallery)
    back = read_gallery(tmp_path / "g.h5")
    assert (back.latlon_deg == gallery.latlon_deg).all()
    assert {n: v.tolist() for n, v in back.labels.items()} == {n: v.tolist() for n, v in gallery.labels.items()}
    (name,) = gallery.features
    assert (back.features[name] == gallery.features[name]).all() and back.features[name].dtype == np.float16
    assert back.encoders == gallery.encoders and back.attributes == gallery.attributes
    assert (back.keys["0123456789abcdef"] == gallery.keys["0123456789abcdef"]).all()
    assert isinstance(back.keys["0123456789abcdef"], np.memmap)
    assert back.digest == gallery.digest


@pytest.mark.parametrize("suffix", [".csv", ".geojson", ".json"])
def test_text_formats_keep_positions_and_labels(gallery: Gallery, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"g{suffix}"
    write_gallery(path, plain(gallery))
    back = read_gallery(path)
    assert np.abs(back.latlon_deg - gallery.latlon_deg).max() < 1e-12
    assert same_labels(back, gallery)
    with pytest.raises(UsageError, match=r"\.h5"):
        write_gallery(path, gallery)


def test_a_gallery_that_lies_nowhere_is_for_those_who_ask_for_it(tmp_path: Path) -> None:
    write_gallery(
        tmp_path / "g.h5", Gallery(latlon_deg=np.array([[1.0, 2.0], [np.nan, np.nan]]), attributes={"kind": "classes"})
    )
    with pytest.raises(FormatError, match=r"g.h5: position 1 is not on the Earth"):
        read_gallery(tmp_path / "g.h5")
    assert np.isnan(read_gallery(tmp_path / "g.h5", nowhere=True).latlon_deg).tolist() == [[False] * 2, [True] * 2]


def test_a_formula_is_not_written_as_one(gallery: Gallery, tmp_path: Path) -> None:
    write_gallery(tmp_path / "g.csv", plain(gallery))
    assert "'=cmd" in (tmp_path / "g.csv").read_text()


def test_geojson_is_lon_lat(gallery: Gallery, tmp_path: Path) -> None:
    write_gallery(tmp_path / "g.geojson", plain(gallery))
    first = json.loads((tmp_path / "g.geojson").read_text())["features"][0]
    assert first["geometry"] == {"type": "Point", "coordinates": [13.1912345, 55.7054321]}
    assert first["properties"]["city"] == "Lund"


@pytest.mark.parametrize("suffix", [".h5", ".csv", ".geojson"])
def test_the_same_gallery_gives_the_same_bytes(gallery: Gallery, tmp_path: Path, suffix: str) -> None:
    thing = gallery if suffix == ".h5" else plain(gallery)
    for name in ("a", "b"):
        write_gallery(tmp_path / f"{name}{suffix}", thing)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".h5", ".csv", ".geojson"])
def test_an_empty_gallery(tmp_path: Path, suffix: str) -> None:
    write_gallery(tmp_path / f"g{suffix}", Gallery(latlon_deg=np.zeros((0, 2)), labels={"city": texts()}))
    assert len(read_gallery(tmp_path / f"g{suffix}")) == 0


def test_digest_follows_what_keys_are_made_of(gallery: Gallery) -> None:
    bare = Gallery(latlon_deg=gallery.latlon_deg)
    moved = gallery.latlon_deg.copy()
    moved[0, 0] += 1e-7
    features = {name: -values for name, values in gallery.features.items()}
    other = Gallery(latlon_deg=gallery.latlon_deg, features=features, encoders=gallery.encoders)
    assert bare.digest == plain(gallery).digest  # labels change no key
    assert len({bare.digest, Gallery(latlon_deg=moved).digest, other.digest, gallery.digest}) == 4
    assert len(bare.digest) == 16
    assert Gallery(latlon_deg=np.array([[0.0, -0.0]])).digest == Gallery(latlon_deg=np.array([[-0.0, 0.0]])).digest


def test_longitudes_are_brought_into_range() -> None:
    assert Gallery(latlon_deg=np.array([[0, 180.0], [0, 200.0]])).latlon_deg[:, 1].tolist() == [-180, -160]


def test_columns_must_be_as_long_as_the_positions() -> None:
    with pytest.raises(FormatError, match="2 of city for 1"):
        Gallery(latlon_deg=np.zeros((1, 2)), labels={"city": texts("a", "b")})


def test_take_and_join(gallery: Gallery) -> None:
    two = join([gallery.take(np.array([2])), gallery.take(np.array([True, False, False]))])
    assert two.latlon_deg.tolist() == gallery.latlon_deg[[2, 0]].tolist()
    assert two.labels["city"].tolist() == ["", "Lund"] and not two.keys
    (name,) = gallery.features
    assert (two.features[name] == gallery.features[name][[2, 0]]).all()
    mixed = join([Gallery(latlon_deg=np.zeros((1, 2)), labels={"x": texts("1")}), plain(gallery)])
    assert mixed.labels["x"].tolist() == ["1", "", "", ""]
    other = Gallery(latlon_deg=np.zeros((1, 2)), features={name: np.zeros((1, 4))}, encoders={name: spec(name, "zz")})
    with pytest.raises(FormatError, match="different encoders"):
        join([gallery, other])


def test_geoclips_own_gallery() -> None:
    found = importlib.util.find_spec("geoclip")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package geoclip is not installed")
    path = Path(found.submodule_search_locations[0]) / "model/gps_gallery/coordinates_100K.csv"
    gallery = read_gallery(path)
    lines = path.read_text().splitlines()[1:]
    assert len(gallery) == len(lines) == 100_000 and not gallery.labels
    assert len(np.unique(gallery.latlon_deg, axis=0)) == 94_123
    for row in (0, 77_777, 99_999):
        assert gallery.latlon_deg[row].tolist() == [float(text) for text in lines[row].split(",")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("name,height\na,1\n", "LAT"),
        ("LAT,LON\n1\n", "entry 1"),
        ("LAT,LON\n1,2,3\n", "3 columns"),
        ("LAT,LON\nnorth,2\n", "not degrees"),
        ("LAT,LON\nnan,2\n", "not on the Earth"),
        ("LAT,LON\n1e999,2\n", "not on the Earth"),
        ("LAT,LON\n2.3,95.0\n100.0,2\n", "swapped"),
        ("LAT,LON,LAT\n1,2,1\n", "several columns"),
        ("LAT,LON,x,x\n1,2,1,2\n", "same name"),
        ('LAT,LON\n1,"2\n', "not CSV"),
        ("LAT,LON,x\n1,2," + "y" * 200_000 + "\n", "not CSV"),
    ],
)
def test_hostile_csv(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "g.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=says):
        read_gallery(path)


def test_csv_of_others(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_bytes("\ufeffid;Longitude;Latitude\r\n7;13.2;55.7\r\n\r\n8;-70,5;1\r\n".encode())
    assert read_gallery(path).latlon_deg.tolist() == [[55.7, 13.2], [1, -70.5]], "commas of decimals"
    path.write_bytes("\ufeffid;Longitude;Latitude\r\n7;13.2;55.7\r\n\r\n8;-70x1;1\r\n".encode())
    with pytest.raises(FormatError, match="entry 2"):
        read_gallery(path)
    path.write_bytes("\ufeffid;Longitude;Latitude\r\n7;13.2;55.7\r\n".encode())
    gallery = read_gallery(path)
    assert gallery.latlon_deg.tolist() == [[55.7, 13.2]] and gallery.labels["id"].tolist() == ["7"]


def point(coordinates: object, properties: object = None) -> dict[str, object]:
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": coordinates}, "properties": properties}


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        '{"type":"FeatureCollection"}',
        '{"type":"FeatureCollection","features":[1]}',
        '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":null}]}',
        json.dumps({"features": [point([1])]}),
        json.dumps({"features": [point(["1", "x"])]}),
        json.dumps({"features": [point([True, False])]}),
        json.dumps({"features": [point([1, 95])]}),
        json.dumps({"features": [point([10**400, 5])]}),
        '{"features":[{"geometry":{"type":"Point","coordinates":[NaN,1]}}]}',
        "\xff",
    ],
)
def test_hostile_geojson(tmp_path: Path, value: str) -> None:
    path = tmp_path / "g.geojson"
    path.write_bytes(value.encode("latin-1"))
    with pytest.raises(FormatError):
        read_gallery(path)


def test_geojson_properties_become_labels(tmp_path: Path) -> None:
    path = tmp_path / "g.geojson"
    features = [
        point([13, 55, 80], {"name": "a", "n": 3, "list": [1], "Lat": 55}),
        point([14, 56]),
        point([1, 2], {"name": None}),
    ]
    features.append(point([1, 2], {"name": "half \ud800 pair"}))
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    gallery = read_gallery(path)
    assert gallery.labels["name"].tolist() == ["a", "", "", "half ? pair"]
    assert gallery.labels["n"].tolist() == ["3", "", "", ""] and set(gallery.labels) == {"name", "n"}
    write_gallery(tmp_path / "g.h5", gallery)


def test_a_trajectory_is_not_a_gallery() -> None:
    line = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}}
    with pytest.raises(gallery_text.NotPoints):
        gallery_text.parse_geojson({"features": [line]}, "x")


def test_other_files_in_hdf5_clothes(gallery: Gallery, tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    with pytest.raises(InputError):
        read_gallery(path)
    path.write_bytes(b"LAT,LON\n1,2\n")
    with pytest.raises(FormatError, match="not an HDF5"):
        read_gallery(path)
    with h5py.File(path, "w") as file:
        file["lat_deg"] = [1.0]
    with pytest.raises(FormatError, match="not a gallery"):
        read_gallery(path)


@pytest.mark.parametrize("break_it", ["lat_deg", "label_codes/city", "codes", "negative", "keys", "nan", "version"])
def test_damaged_hdf5(gallery: Gallery, tmp_path: Path, break_it: str) -> None:
    path = tmp_path / "g.h5"
    write_gallery(path, gallery)
    with h5py.File(path, "r+") as file:
        if break_it == "codes":
            file["label_codes/city"][0] = 99
        elif break_it == "negative":
            file["label_codes/city"][0] = -1
        elif break_it == "version":
            file.attrs["version"] = np.bytes_(b"2")
        elif break_it == "keys":
            del file["keys/0123456789abcdef"]
            file["keys/0123456789abcdef"] = np.zeros((2, 8), np.float32)
        elif break_it == "nan":
            file["lat_deg"][0] = np.nan
        else:
            del file[break_it]
    with pytest.raises(FormatError):
        read_gallery(path)


def test_formats_by_suffix(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.txt"):
        write_gallery(tmp_path / "g.txt", gallery)
    write_gallery(tmp_path / "g.txt", plain(gallery), format="csv")
    assert same_labels(read_gallery(tmp_path / "g.txt", format="csv"), gallery)
    with pytest.raises(UsageError, match="parquet"):
        read_gallery(tmp_path / "g.txt", format="parquet")


@pytest.mark.parametrize("format", ["csv", "geojson"])
def test_streams(gallery: Gallery, format: str, monkeypatch: pytest.MonkeyPatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    write_gallery("-", plain(gallery), format)
    sent = capfdbinary.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent)))
    assert same_labels(read_gallery("-"), gallery)
