"""Tracks of every kind in every format: valid, and read back by vgeo and by others as what they were.

A trial is a track in a format: its file is checked against the format's rules by code that knows nothing of vgeo, read
by another library, and read by vgeo, where it must be the same within 1e-7 degrees and a millisecond. Then ogr2ogr
reads files of many tracks, and `localize` writes tracks itself.
"""

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import forks
import gpx11
import numpy as np
import outputmaker
import rfc7946
from trials import Trial, some

from vgeo.records import Localization, Track

TITLE = "Output"
PROMISE = "What is written is valid, read by gpxpy, shapely and ogr2ogr, and comes back within 1e-7° and a millisecond."
COUNT, AT_ONCE, CHAIN = 1000, 40, 60
FORMATS = ("geojson", "geojsonl", "gpx", "kml", "csv")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CSV = re.compile(r'(?:(?:"(?:[^"]|"")*"|[^",\r\n]*)(?:,(?:"(?:[^"]|"")*"|[^",\r\n]*))*\r\n)*')  # RFC 4180
KML = "{http://www.opengis.net/kml/2.2}"
GX = "{http://www.google.com/kml/ext/2.2}"


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Each track alone, then in company for ogr2ogr, then by the command line."""
    made = outputmaker.localizations(some(COUNT, share))
    for format in FORMATS:
        for number, (about, said) in enumerate(made):
            wrong = _alone(scratch / f"track.{format}", said, format)
            facts = {"frames": len(said.track)}
            yield Trial(f"{number} ({about})", f"{format}, a track a file", not wrong, "; ".join(wrong[:3]), facts)
    for format in FORMATS:
        for first in range(0, len(made), AT_ONCE):
            batch = made[first : first + AT_ONCE]
            tracks = [said for _, said in batch]
            yield from _together(scratch / f"tracks.{format}", tracks, format, f"from {first}")
    yield from _by_command(scratch, share)


def _alone(path: Path, said: Localization, format: str) -> list[str]:
    from vgeo.formats.tracks import read_tracks, write_localizations

    try:
        write_localizations(path, [said])
        wrong = CHECKS[format](path.read_bytes(), said.track)
        found = read_tracks(path)
        wrong += _unlike([said.track], found)
        if format == "geojson":
            wrong += _line_alone(path, said.track)
    except Exception as error:
        wrong = [f"{type(error).__name__}: {error}"]
    return wrong


def report(made: list[Trial]) -> str:
    """What the counts are of."""
    frames = sum(trial.facts.get("frames", 0) for trial in made)
    others = "" if shutil.which("ogr2ogr") else " ogr2ogr is not installed here: it read nothing."
    return f"{frames} positions compared with what was written.{others}"


# --- validity, and other readers ---


def _geojson(data: bytes, track: Track) -> list[str]:
    text = data.decode()
    return rfc7946.problems(text) or _features(json.loads(text)["features"], track)


def _geojsonl(data: bytes, track: Track) -> list[str]:
    lines = data.decode().split("\n")
    wrong = [problem for line in lines[:-1] for problem in rfc7946.problems(line)]
    return wrong + ([] if lines[-1] == "" else ["no line feed at its end"]) or _features(
        [json.loads(line) for line in lines[:-1]], track
    )


def _features(features: list[dict], track: Track) -> list[str]:
    import shapely.geometry

    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    wrong = rfc7946.line_times(features[0])
    spots = np.array([shape.coords[0] for shape in shapes[1:]]).reshape(-1, 2)
    wrong += _off(track.latlon_deg, spots[:, ::-1], "shapely: frames")
    kinds = {"Point"} if len(track) == 1 else {"LineString", "MultiLineString"}
    if shapes[0].geom_type not in kinds:
        wrong.append(f"the clip's geometry is a {shapes[0].geom_type}")
    return wrong


def _gpx(data: bytes, track: Track) -> list[str]:
    import gpxpy

    wrong = gpx11.problems(data)
    if wrong:
        return wrong
    points = [point for trk in gpxpy.parse(data.decode()).tracks for seg in trk.segments for point in seg.points]
    spots = np.array([[point.latitude, point.longitude] for point in points])
    wrong += _off(track.latlon_deg, spots, "gpxpy")
    stamps = track.timestamps_utc()
    if stamps is not None and not wrong:
        late = max(abs((point.time - stamp).total_seconds()) for point, stamp in zip(points, stamps, strict=True))
        wrong += [f"gpxpy: times are off by {late} s"] if late > 1e-3 else []
    return wrong


def _kml(data: bytes, track: Track) -> list[str]:
    root = ElementTree.fromstring(data)
    order = [child.tag for place in root.iter(f"{KML}Placemark") for child in place]
    wrong = [] if root.tag == f"{KML}kml" else [f"the root is {root.tag}"]
    if order[:2] != [f"{KML}name", f"{KML}ExtendedData"] or len(order) != 3:
        wrong.append(f"a Placemark of {order}")  # the schema has a feature's elements in this order
    moving = root.find(f".//{GX}Track")
    if (moving is None) != (track.timestamps_utc() is None):
        wrong.append("a gx:Track without a clock, or the other way round")
    if moving is None:
        words = [word.split(",") for word in "".join(root.find(f".//{KML}coordinates").itertext()).split()]
        spots = np.array(words, np.float64)
    else:
        tags = [child.tag for child in moving]
        if tags != [f"{KML}when"] * len(track) + [f"{GX}coord"] * len(track):
            return [*wrong, "a gx:Track's times and positions are not as many, or not in order"]
        spots = np.array([child.text.split() for child in moving if child.tag == f"{GX}coord"], np.float64)
    if np.abs(spots[:, 0]).max() > 180:
        wrong.append("a longitude beyond 180")
    return wrong + _off(track.latlon_deg, spots[:, 1::-1], "kml")


def _csv_table(data: bytes, track: Track) -> list[str]:
    text = data.decode()
    if not _CSV.fullmatch(text):
        return ["not RFC 4180"]
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    if len({len(row) for row in rows}) != 1:
        return ["rows of different lengths"]
    cells = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    active = [cell for row in rows for cell in row if cell[:1] in "=+-@\t\r" and cell and not _is_number(cell)]
    wrong = [f"a cell that a spreadsheet runs: {active[0]!r}"] if active else []
    spots = np.array([[cell["lat_deg"], cell["lon_deg"]] for cell in cells], np.float64)
    return wrong + _off(track.latlon_deg, spots, "csv")


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell) is not None


CHECKS = {"geojson": _geojson, "geojsonl": _geojsonl, "gpx": _gpx, "kml": _kml, "csv": _csv_table}


def _line_alone(path: Path, track: Track) -> list[str]:
    """A reader that knows lines only (and their times) finds all positions too: the cuts at ±180° close again."""
    from vgeo.formats.tracks import parse_tracks

    line = json.loads(path.read_text())["features"][0]
    found = parse_tracks(json.dumps(line), str(path), "geojson")[0]
    wrong = _off(track.latlon_deg, found.latlon_deg, "the line alone")
    if not wrong and track.time_s is not None and found.time_s is not None:
        apart = np.abs(np.diff(found.time_s) - np.diff(track.time_s)).max(initial=0)
        wrong += [f"the line's times are off by {apart} s"] if apart > 2e-3 else []
    return wrong


# --- what came back, against what was written ---


def _unlike(written: list[Track], found: list[Track]) -> list[str]:
    if len(written) != len(found):
        return [f"{len(found)} tracks of {len(written)}"]
    return [problem for one, other in zip(written, found, strict=True) for problem in _unlike_one(one, other)]


def _unlike_one(one: Track, other: Track) -> list[str]:
    wrong = _off(one.latlon_deg, other.latlon_deg, "vgeo")
    if one.video_id != other.video_id and not _NOT_XML.search(one.video_id):
        wrong.append(f"vgeo: called {other.video_id!r}, was {one.video_id!r}")
    for name in ("time_s", "start_utc", "frame_index"):
        if (getattr(one, name) is None) != (getattr(other, name) is None):
            return [*wrong, f"vgeo: {name} came or went"]
    if wrong or one.time_s is None or other.time_s is None:
        return wrong
    if one.start_utc is not None and other.start_utc is not None:
        late = abs((one.start_utc - other.start_utc).total_seconds())
        wrong += [f"vgeo: the clock is off by {late} s"] if late > 1e-3 else []
    if np.abs(one.time_s - other.time_s).max() > 1e-3:
        wrong.append(f"vgeo: times are off by {np.abs(one.time_s - other.time_s).max()} s")
    if one.frame_index is not None and not np.array_equal(one.frame_index, other.frame_index):
        wrong.append("vgeo: other frame numbers")
    return wrong


def _off(written: np.ndarray, found: np.ndarray, who: str) -> list[str]:
    if written.shape != found.shape:
        return [f"{who}: {len(found)} positions of {len(written)}"]
    apart = np.abs(written - found)
    apart[:, 1] = np.minimum(apart[:, 1], 360 - apart[:, 1])
    return [f"{who}: off by {apart.max():.2g} degrees"] if apart.max() > 1e-7 + 1e-12 else []


# --- many tracks in a file, and ogr2ogr ---


def _together(path: Path, clips: list[Localization], format: str, name: str) -> Iterator[Trial]:
    from vgeo.formats.tracks import read_tracks, write_localizations

    write_localizations(path, clips)
    wrong = _unlike([said.track for said in clips], read_tracks(path))
    yield Trial(name, f"{format}, {AT_ONCE} tracks a file", not wrong, "; ".join(wrong[:3]))
    if shutil.which("ogr2ogr"):
        wrong = _ogr(path, clips, format)
        yield Trial(name, f"{format}, by ogr2ogr", not wrong, "; ".join(wrong[:3]))


_OGR = {
    "gpx": ("track_points",),
    "csv": ("-oo", "X_POSSIBLE_NAMES=lon_deg", "-oo", "Y_POSSIBLE_NAMES=lat_deg"),
}


def _ogr(path: Path, clips: list[Localization], format: str) -> list[str]:
    """Positions of all frames, as ogr2ogr copies them into a GeoJSON sequence."""
    source = f"GeoJSONSeq:{path}" if format == "geojsonl" else str(path)
    command = ["ogr2ogr", "-f", "GeoJSONSeq", "-lco", "COORDINATE_PRECISION=12", "-mapFieldType", "DateTime=String"]
    command += ["-a_srs", "EPSG:4326", "/vsistdout/", source]
    done = subprocess.run([*command, *_OGR.get(format, ())], capture_output=True, text=True, check=False)
    if done.returncode or done.stderr.strip():
        return [f"ogr2ogr ends with {done.returncode}: {done.stderr.strip()[:200]}"]
    features = [json.loads(line) for line in done.stdout.split("\n") if line]
    if format.startswith("geojson"):
        features = [feature for feature in features if feature["properties"]["kind"] == "frame"]
    lines = [feature["geometry"]["coordinates"] for feature in features]
    spots = [spot for line in lines for spot in (line if isinstance(line[0], list) else [line])]
    truth = np.concatenate([said.track.latlon_deg for said in clips])
    return _off(truth, np.array([spot[1::-1] for spot in spots]), "ogr2ogr")


# --- the command itself ---


def _by_command(scratch: Path, share: float) -> Iterator[Trial]:
    """`localize` over features that are each a place of the gallery: what it has to find is known."""
    from vgeo.formats.tracks import read_tracks

    folder = scratch / "chain"
    folder.mkdir()
    tracks = _feature_file(folder / "features.h5", max(8, some(CHAIN, share)))
    built = forks.fork(["build-gallery", "points", "features.h5", "--keep-features"], folder)
    if built.code != 0:
        yield Trial("build-gallery", "by localize", False, built.stderr[-300:])
        return
    for format in FORMATS:
        words = ["localize", "-m", "nearest", "--out", f"found.{format}"]
        ran = forks.fork(words, folder)
        if ran.code != 0 or ran.traceback:
            yield Trial(format, f"{format}, by localize", False, f"{ran.code}: {ran.stderr[-300:]}")
            continue
        found = {track.video_id: track for track in read_tracks(folder / f"found.{format}")}
        data = (folder / f"found.{format}").read_bytes()
        invalid = rfc7946.problems(data.decode()) if format == "geojson" else gpx11.problems(data) * (format == "gpx")
        for track in tracks:
            name = _NOT_XML.sub("?", track.video_id) if format in ("gpx", "kml") else track.video_id
            wrong = _unlike([track], [found[name]]) if name in found else ["is not there"]
            wrong += invalid
            yield Trial(track.video_id, f"{format}, by localize", not wrong, "; ".join(wrong[:3]))


def _feature_file(path: Path, count: int) -> list[Track]:
    from vgeo.encoders.base import EncoderSpec
    from vgeo.formats.features import FeatureWriter
    from vgeo.records import format_utc

    spec = EncoderSpec(name="gist", dim=16, weights="none", weights_hash="none", preprocessing="p", settings={})
    random = np.random.default_rng(6)
    tracks = []
    with FeatureWriter(path, {spec.name: spec}, "rate_hz=1", "pyav") as writer:
        for _, said in outputmaker.localizations(count, seed=1):
            if said.track.time_s is None:
                continue  # a feature file's frames have times
            name = said.track.video_id.encode(errors="replace").decode()  # as clips' names are read
            track = dataclasses.replace(said.track, video_id=name, frame_index=None)  # which it does not hold
            spots = np.round(track.latlon_deg, 7)
            looks = random.normal(size=(len(track), spec.dim))  # of equal positions, which are one place, the same
            _, which = np.unique(spots, axis=0, return_inverse=True)
            start = None if track.start_utc is None else format_utc(track.start_utc)
            writer.add(track.video_id, {spec.name: looks[which]}, track.time_s, spots, start_utc=start)
            tracks.append(track)
        writer.finish()
    return tracks
