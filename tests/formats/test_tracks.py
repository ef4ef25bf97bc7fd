"""All formats together: what is written is read back, by vgeo and by others; names, suffixes, folders, streams."""

import io
import json
import sys
from pathlib import Path

import gpxpy
import h5py
import numpy as np
import pytest
import shapely
from track_samples import START, localization, random_localizations

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.features import FeatureWriter
from vgeo.formats.tracks import FORMATS, read_tracks, write_localizations
from vgeo.geo.sphere import wrap_lon


def gap_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(max(np.abs(a[:, 0] - b[:, 0]).max(), np.abs(wrap_lon(a[:, 1] - b[:, 1])).max()))


@pytest.mark.parametrize("suffix", ["geojson", "geojsonl", "gpx", "kml", "csv"])
def test_200_tracks_come_back(tmp_path: Path, suffix: str) -> None:
    written = random_localizations(200)
    path = tmp_path / f"tracks.{suffix}"
    write_localizations(path, written)
    read = {track.video_id: track for track in read_tracks(path)}
    assert list(read) == [said.track.video_id for said in written]
    for said in written:
        track, back = said.track, read[said.track.video_id]
        assert gap_deg(back.latlon_deg, track.latlon_deg) <= 1e-7
        assert (back.latlon_deg[:, 1] >= -180).all() and (back.latlon_deg[:, 1] < 180).all()
        assert back.time_s is not None and track.time_s is not None and track.frame_index is not None
        np.testing.assert_allclose(back.time_s, track.time_s, atol=2e-6)
        np.testing.assert_array_equal(back.frame_index, track.frame_index)
        assert (back.start_utc is None) == (track.start_utc is None)
        if track.start_utc is not None and back.start_utc is not None:
            assert abs((back.start_utc - track.start_utc).total_seconds()) <= 0.001


def test_gpxpy_reads_what_is_written(tmp_path: Path) -> None:
    written = random_localizations(50)
    write_localizations(tmp_path / "t.gpx", written)
    gpx = gpxpy.parse((tmp_path / "t.gpx").read_text())
    assert [track.name for track in gpx.tracks] == [said.track.video_id for said in written]
    for track, said in zip(gpx.tracks, written, strict=True):
        points = track.segments[0].points
        positions = np.array([[point.latitude, point.longitude] for point in points])
        assert gap_deg(positions, said.track.latlon_deg) <= 1e-7
        assert (points[0].time is None) == (said.track.start_utc is None)


def test_shapely_reads_what_is_written(tmp_path: Path) -> None:
    written = random_localizations(50)
    write_localizations(tmp_path / "t.geojson", written)
    features = json.loads((tmp_path / "t.geojson").read_text())["features"]
    for said in written:
        mine = [f for f in features if f["properties"]["video_id"] == said.track.video_id]
        line, points = mine[0], mine[1:]
        shape = shapely.from_geojson(json.dumps(line["geometry"]))
        assert shape.is_valid
        spots = np.array([shapely.from_geojson(json.dumps(f["geometry"])).coords[0] for f in points])
        assert gap_deg(spots[:, ::-1], said.track.latlon_deg) <= 1e-7
        if shape.geom_type == "MultiLineString":  # nothing but the cuts was added, and no part spans the globe
            on_edge = int((np.abs(said.track.latlon_deg[:, 1]) == 180).sum())
            added = sum(len(part.coords) for part in shape.geoms) - 2 * (len(shape.geoms) - 1) - len(points)
            assert -on_edge <= added <= 0
        bounds = [part.bounds for part in getattr(shape, "geoms", [shape])]
        assert all(east - west < 180 for west, _, east, _ in bounds)


@pytest.mark.parametrize("format", FORMATS)
def test_stdin_and_stdout_are_files_too(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    written = [localization([[48, 2], [48.1, 2.1]], "a"), localization([[-10, 20]], "b", start_utc=START)]
    write_localizations("-", written, format)
    piped = capfdbinary.readouterr().out
    write_localizations(tmp_path / f"t.{format}", written)
    assert piped == (tmp_path / f"t.{format}").read_bytes()
    stdin = io.TextIOWrapper(io.BytesIO(piped))
    monkeypatch.setattr(sys, "stdin", stdin)
    read = read_tracks("-")  # the format is found in the content
    assert [track.video_id for track in read] == ["a", "b"]
    np.testing.assert_allclose(read[0].latlon_deg, [[48, 2], [48.1, 2.1]])


def test_geojson_sequences_stream_clip_by_clip(capfd: pytest.CaptureFixture[str]) -> None:
    seen = []

    def clips():
        for i in range(3):
            seen.append(capfd.readouterr().out.count("\n"))
            yield localization([[i, i]], f"clip{i}")

    write_localizations("-", clips(), "geojsonl")
    assert seen == [0, 2, 2]  # before a clip is asked for, the one before it is out


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def clips():
        yield localization([[1, 2]])
        raise RuntimeError("decoder")

    with pytest.raises(RuntimeError):
        write_localizations(tmp_path / "t.geojson", clips())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_read_by_file_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        text = '<gpx version="1.1"><trk><name>Morning ride</name><trkseg><trkpt lat="1" lon="2"/></trkseg></trk></gpx>'
        (tmp_path / f"{name}.gpx").write_text(text)
    (tmp_path / "notes.md").write_text("nothing")
    assert [track.video_id for track in read_tracks(tmp_path)] == ["a", "b"]


def test_other_files_of_a_folder_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text("lat,lon\n1,2\n")
    (tmp_path / "cities.csv").write_text("name,people\nParis,2\n")
    assert [track.video_id for track in read_tracks(tmp_path)] == ["a"]
    assert "left out" in caplog.text and "cities.csv" in caplog.text
    (tmp_path / "a.csv").unlink()
    with pytest.raises(FormatError, match=r"cities\.csv"):
        read_tracks(tmp_path)


def test_a_folder_without_tracks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no track files"):
        read_tracks(tmp_path)


def test_the_content_decides_where_the_suffix_does_not(tmp_path: Path) -> None:
    for format in FORMATS:
        write_localizations(tmp_path / "t.dat", [localization([[5, 6], [7, 8]])], format)
        np.testing.assert_allclose(read_tracks(tmp_path / "t.dat")[0].latlon_deg, [[5, 6], [7, 8]])


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"hello", b"\x89PNG\r\n\x1a\n\x00", b"PK\x03\x04", "é".encode("latin-1")]
)
@pytest.mark.parametrize("suffix", ["dat", "geojson", "geojsonl", "gpx", "kml", "csv", "srt", "jsonl"])
def test_other_content_is_refused_in_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_tracks(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_file_and_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_tracks(tmp_path / "nope.gpx")
    with pytest.raises(UsageError, match="shapefile"):
        read_tracks(tmp_path / "nope.gpx", "shapefile")
    with pytest.raises(UsageError, match=r"choose a suffix or --format"):
        write_localizations(tmp_path / "t.srt", [])


def test_names_that_are_not_text_survive(tmp_path: Path) -> None:
    """A file name in another encoding arrives as lone surrogates; control characters cannot stand in XML."""
    for format in FORMATS:
        path = tmp_path / f"t.{format}"
        write_localizations(path, [localization([[1, 2]], "caf\udce9 \x01 <b>&\"'")])
        (track,) = read_tracks(path)
        assert track.video_id.startswith(("caf? ", "caf\ufffd ")) and track.video_id.endswith("<b>&\"'")


def test_a_feature_file_holds_tracks(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(FormatError, match="not a feature file"):
        read_tracks(tmp_path / "other.h5")
    spec = EncoderSpec(name="gist", dim=2, weights="none", weights_hash="none", preprocessing="", settings={})
    writer = FeatureWriter(tmp_path / "f.h5", {"gist": spec}, "1 Hz", "pyav")
    known, unknown = np.array([[1.0, 2.0], [np.nan, np.nan], [1.5, 2.5]]), np.full((3, 2), np.nan)
    for name, positions in (("a", known), ("b", unknown)):
        writer.add(name, {"gist": np.zeros((3, 2), np.float32)}, np.arange(3.0), positions, start_utc=START.isoformat())
    writer.finish()
    (track,) = read_tracks(tmp_path / "f.h5")
    assert (track.video_id, track.start_utc) == ("a", START)
    np.testing.assert_array_equal(track.latlon_deg, [[1, 2], [1.5, 2.5]])
    np.testing.assert_array_equal(track.time_s, [0, 2])


@pytest.mark.parametrize("format", ["geojson", "geojsonl", "gpx", "kml", "csv"])
@pytest.mark.parametrize("name", ["car\rriage", " space before", "space after ", "\u2028line", "two\nlines"])
def test_odd_names_come_back(tmp_path: Path, format: str, name: str) -> None:
    path = tmp_path / f"t.{format}"
    write_localizations(path, [localization([[1, 2], [3, 4]], name)])
    assert [track.video_id for track in read_tracks(path)] == [name]


@pytest.mark.parametrize("format", ["geojson", "geojsonl", "gpx", "kml", "csv"])
def test_one_frame_without_a_time_is_one_frame(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"t.{format}"
    write_localizations(path, [localization([[1, 2]], time_s=None)])
    assert read_tracks(path)[0].latlon_deg.tolist() == [[1, 2]]
