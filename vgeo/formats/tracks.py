"""Tracks from any file that holds them, found by suffix, by `format` or, failing both, by the content."""

from collections.abc import Callable
from pathlib import Path

from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.fixes import refuse_twins
from vgeo.formats.geojson import read_geojson
from vgeo.formats.gpx import read_gpx
from vgeo.formats.streams import is_stdio, read_bytes
from vgeo.formats.tables import read_csv, read_json_lines
from vgeo.records import Track

_READERS: dict[str, Callable[[str, str], list[Track]]] = {
    "geojson": read_geojson,
    "geojsonl": read_geojson,
    "gpx": read_gpx,
    "csv": read_csv,
    "jsonl": read_json_lines,
}
_SUFFIXES = {
    ".geojson": "geojson",
    ".json": "geojson",
    ".geojsonl": "geojsonl",
    ".geojsons": "geojsonl",
    ".geojsonseq": "geojsonl",
    ".gpx": "gpx",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".h5": "h5",
    ".hdf5": "h5",
}


def read_tracks(path: str | Path, format: str | None = None) -> list[Track]:
    """Read every clip's track from a file, from stdin (`-`), or from all track files of a folder.

    Raises InputError if there is nothing to read, FormatError for damaged or mistaken content.
    """
    if not is_stdio(path) and Path(path).is_dir():
        return _read_folder(Path(path), format)
    where = str(path)
    kind = format or _SUFFIXES.get(Path(where).suffix.lower())
    if kind == "h5":
        from vgeo.formats.features import FeatureFile

        return FeatureFile.open(path).tracks()
    text = _text(read_bytes(path), where)
    kind = kind or _sniff(text, where)
    if kind not in _READERS:
        raise UsageError(f"no track format {kind!r}; there are {', '.join(_READERS)}, h5")
    return refuse_twins(_READERS[kind](text, where), where)


def _read_folder(folder: Path, format: str | None) -> list[Track]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not files:
        raise InputError(f"{folder}: holds no track files ({', '.join(sorted(_SUFFIXES))})")
    return refuse_twins((track for file in files for track in read_tracks(file, format)), str(folder))


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: not UTF-8 text (byte {error.start})") from error


def _sniff(text: str, where: str) -> str:
    """The format that a text looks like. Raises FormatError."""
    head = text[:2000].lstrip("\ufeff\x1e \t\r\n")
    if head.startswith("{"):
        return "geojson" if '"type"' in head else "jsonl"
    if head.startswith("<"):
        return "gpx"
    if "lat" in head.split("\n", 1)[0].lower():
        return "csv"
    raise FormatError(f"{where}: neither GeoJSON, GPX, KML, CSV nor SRT; say which with --format")
