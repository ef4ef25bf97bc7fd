"""Tracks from any file that holds them, found by suffix, by `format` or, failing both, by the content."""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from vgeo.errors import FormatError, InputError, UsageError, VgeoError
from vgeo.formats.fixes import refuse_twins
from vgeo.formats.geojson import read_geojson, write_geojson, write_geojsonl
from vgeo.formats.gpx import read_gpx, write_gpx
from vgeo.formats.kml import read_kml, write_kml
from vgeo.formats.ride_info import is_ride_info, read_ride_track
from vgeo.formats.shards import marked
from vgeo.formats.srt import read_srt
from vgeo.formats.streams import atomic_write, is_stdio, read_bytes
from vgeo.formats.tables import read_csv, read_json_lines, write_csv
from vgeo.records import Localization, Track

log = logging.getLogger(__name__)

_READERS: dict[str, Callable[[str, str], list[Track]]] = {
    "geojson": read_geojson,
    "geojsonl": read_geojson,
    "gpx": read_gpx,
    "kml": read_kml,
    "csv": read_csv,
    "srt": read_srt,
    "jsonl": read_json_lines,
    "bdd": read_ride_track,
}
_WRITERS: dict[str, Callable[[Iterable[Localization]], Iterator[str]]] = {
    "geojson": write_geojson,
    "geojsonl": write_geojsonl,
    "gpx": write_gpx,
    "kml": write_kml,
    "csv": write_csv,
}
FORMATS = tuple(_WRITERS)  # that localizations are written in
READ_FORMATS = (*_READERS, "h5")
_GEOJSON = r'"type"\s*:\s*"(Feature|FeatureCollection|Point|MultiPoint|LineString|MultiLineString)"'
# What the writers put into every file, by format: GeoJSON and its sequence, GPX, KML, CSV.
_PREDICTION = re.compile(
    rb'"kind": "track"|xmlns:vgeo="urn:vgeo:1"|<Data name="method">|\A[^\n]*,confidence,radius_km,place,'
)
_SUFFIXES = {
    ".geojson": "geojson",
    ".json": "geojson",
    ".geojsonl": "geojsonl",
    ".geojsons": "geojsonl",
    ".geojsonseq": "geojsonl",
    ".gpx": "gpx",
    ".kml": "kml",
    ".srt": "srt",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".h5": "h5",
    ".hdf5": "h5",
}


def format_of(path: str | Path, format: str | None = None) -> str | None:
    """The format asked for, else the one that the suffix tells, else None. Raises UsageError for an unknown one."""
    if format is not None and format not in READ_FORMATS:
        raise UsageError(f"no track format {format!r}; there are {', '.join(READ_FORMATS)}")
    return format or _SUFFIXES.get(Path(path).suffix.lower())


def read_tracks(path: str | Path, format: str | None = None) -> list[Track]:
    """Read every clip's track from a file, from stdin (`-`), or from all track files of a folder.

    Raises InputError if there is nothing to read, FormatError for damaged or mistaken content.
    """
    if not is_stdio(path) and Path(path).is_dir():
        return _read_folder(Path(path), format)
    where = str(path)
    kind = format_of(path, format)
    if kind == "h5":
        from vgeo.formats.features import FeatureFile

        tracks = FeatureFile.open(path).tracks()
        if not tracks:
            raise InputError(f"{where}: holds no positions; its frames had none")
        return tracks
    text = _text(read_bytes(path), where, kind)
    if format is None and kind == "geojson" and not re.search(_GEOJSON, text[:4000]) and is_ride_info(text):
        kind = "bdd"
    return parse_tracks(text, where, kind or sniff(text, where))


def parse_tracks(text: str, where: str, kind: str) -> list[Track]:
    """Tracks of a text in one of the formats that `sniff` tells apart. Raises FormatError that names `where`."""
    return refuse_twins(_READERS[kind](text, where), where)


def write_localizations(
    path: str | Path,
    localizations: Iterable[Localization],
    format: str | None = None,
    marks: Mapping[str, str] | None = None,
) -> None:
    """Write clips as they come, to a file that is complete once it has its name, or to stdout (`-`).

    format: one of FORMATS; None goes by the suffix, and takes GeoJSON for stdout. marks: of a divided run, by video,
    see `shards`. Raises UsageError, OutputError.
    """
    kind = format_of(path, format) or ("geojson" if is_stdio(path) else None)
    if kind not in _WRITERS:
        raise UsageError(f"{path}: localizations are written as {', '.join(FORMATS)}; choose a suffix or --format")
    write = _WRITERS[kind]
    texts = marked(kind, write, localizations, marks) if marks else write(localizations)
    pieces = (piece.encode(errors="replace") for piece in texts)
    if not is_stdio(path):
        with atomic_write(path) as file:
            for piece in pieces:
                file.write(piece)
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def is_prediction(path: str | Path) -> bool:
    """True for a file that `write_localizations` wrote: where a model says that a clip was, not where it was."""
    return _PREDICTION.search(read_bytes(path)) is not None


def _read_folder(folder: Path, format: str | None) -> list[Track]:
    """Tracks of all files in a folder; files that hold none are left out and said so, unless none is left."""
    visible = (file for file in folder.iterdir() if not file.name.startswith("."))
    files = sorted(file for file in visible if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not files:
        raise InputError(f"{folder}: holds no track files ({', '.join(sorted(_SUFFIXES))})")
    tracks: list[Track] = []
    refused: list[VgeoError] = []
    for file in files:
        try:
            tracks += read_tracks(file, format)
        except (FormatError, InputError) as error:
            refused.append(error)
    if not tracks:
        raise refused[0]
    for refusal in refused:
        log.warning("left out %s", refusal)
    return refuse_twins(tracks, str(folder))


def _text(data: bytes, where: str, kind: str | None) -> str:
    try:
        # Subtitles come in any encoding; what is read of them is ASCII.
        return data.decode("utf-8-sig", errors="replace" if kind == "srt" else "strict")
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: not UTF-8 text (byte {error.start})") from error


def sniff(text: str, where: str) -> str:
    """The format that a text looks like. Raises FormatError."""
    head = text[:4000].lstrip("\x1e \t\r\n")
    if head.startswith("{"):
        if re.search(_GEOJSON, head):
            return "geojson"
        return "bdd" if is_ride_info(text) else "jsonl"
    if head.startswith("<"):
        return "kml" if re.search(r"<(\w+:)?kml\b", head) else "gpx"
    if re.search(r"-->|GPS\s*\(|longt?itude\s*:", head):
        return "srt"
    if "lat" in head.split("\n", 1)[0].lower():
        return "csv"
    if not head:
        raise FormatError(f"{where or 'input'}: empty, holds no tracks; did the command that writes it fail?")
    raise FormatError(f"{where or 'input'}: neither GeoJSON, GPX, KML, CSV nor SRT; give it a name with such a suffix")
