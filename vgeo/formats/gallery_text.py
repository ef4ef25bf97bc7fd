"""Galleries as text: CSV with LAT,LON (GeoCLIP's own gallery is one) and GeoJSON points.

In GeoJSON, and only there, a position is [lon, lat] (RFC 7946).
"""

import csv
import io
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError
from vgeo.formats.fixes import number
from vgeo.formats.streams import dump_json, lines_of, parse_json, read_text
from vgeo.formats.tables import LAT, LON, guarded, unguarded
from vgeo.geo.sphere import DECIMALS

Labels = dict[str, NDArray[np.object_]]


class NotPoints(FormatError):  # noqa: N818  # the name says what the file is not
    """GeoJSON that holds something else than points: a trajectory, an area."""


def read(path: str | os.PathLike[str], format: str | None = None) -> tuple[NDArray[np.float64], Labels]:
    """Return positions [G, 2] and labels of a text gallery; without a format, the first character decides.

    Raises InputError, FormatError.
    """
    return parse(read_text(path), path, format)


def parse(text: str, where: str | os.PathLike[str], format: str | None = None) -> tuple[NDArray[np.float64], Labels]:
    """As `read`, of a text that was read already."""
    if format is None:
        format = "geojson" if text.lstrip()[:1] in ("{", "[") else "csv"
    return parse_csv(text, where) if format == "csv" else parse_geojson(parse_json(text, where), where)


def parse_csv(text: str, where: str | os.PathLike[str]) -> tuple[NDArray[np.float64], Labels]:
    """Parse a table with a header that names a latitude and a longitude; every other column becomes a label."""
    header_line = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=header_line.count)
    rows = _rows(text, delimiter, where)
    header = [name.strip() for name in next(rows, [])]
    if not header:
        raise FormatError(f"{where}: empty; expected a header LAT,LON and one line a place")
    lat, lon = (_column(header, names, where) for names in (LAT, LON))
    if len(set(header)) != len(header):
        raise FormatError(f"{where}: two columns have the same name: {header_line.strip()[:80]!r}")
    positions = array("d")
    others = [column for column in range(len(header)) if column not in (lat, lon)]
    texts: dict[int, list[str]] = {column: [] for column in others}
    same: dict[str, str] = {}  # millions of places share a few names
    for count, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise FormatError(f"{where}: entry {count} has {len(row)} columns, the header {len(header)}")
        pair = [row[lat], row[lon]]
        try:
            positions.extend(float(cell if delimiter == "," else cell.replace(",", ".")) for cell in pair)
        except ValueError as error:
            raise FormatError(
                f"{where}: entry {count}: {row[lat][:40]!r}, {row[lon][:40]!r} are not degrees"
            ) from error
        for column in others:
            text = unguarded(row[column])
            texts[column].append(same.setdefault(text, text))
    labels = {header[column]: _texts(texts[column]) for column in others}
    return np.array(positions, np.float64).reshape(-1, 2), labels


def _rows(text: str, delimiter: str, where: str | os.PathLike[str]) -> Iterator[list[str]]:
    try:
        yield from (row for row in csv.reader(lines_of(text), delimiter=delimiter, strict=True) if row)
    except csv.Error as error:
        raise FormatError(f"{where}: not CSV ({error})") from error


def _column(header: Sequence[str], names: Sequence[str], where: str | os.PathLike[str]) -> int:
    found = [column for column, name in enumerate(header) if name.lower() in names]
    if len(found) != 1:
        what = "no column" if not found else "several columns"
        raise FormatError(f"{where}: {what} for {names[1].upper()} in the first line, {','.join(header)[:80]!r}")
    return found[0]


def _texts(values: Sequence[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def parse_geojson(value: Any, where: str | os.PathLike[str]) -> tuple[NDArray[np.float64], Labels]:
    """Take the points of a FeatureCollection; their text and number properties become labels."""
    features = value.get("features") if isinstance(value, dict) else None
    if not isinstance(features, list):
        raise NotPoints(f"{where}: not a GeoJSON FeatureCollection of points")
    positions, records = [], []
    for count, feature in enumerate(features, 1):
        positions.append(_point(feature, f"{where}: feature {count}"))
        properties = feature.get("properties")
        records.append(properties if isinstance(properties, dict) else {})
    said = dict.fromkeys(name for record in records for name, text in record.items() if _is_label(text))
    names = [name for name in said if name.lower() not in (*LAT, *LON)]  # what the geometry says already
    labels = {name: _texts([_label(record.get(name)) for record in records]) for name in names}
    return np.array(positions, np.float64).reshape(-1, 2), labels


def _point(feature: Any, where: str) -> tuple[float, float]:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict) or geometry.get("type") != "Point":
        raise NotPoints(f"{where} is not a point")
    pair = geometry.get("coordinates")
    if not isinstance(pair, list) or len(pair) not in (2, 3):
        raise FormatError(f"{where}: its coordinates are not [longitude, latitude]")
    return number(pair[1], where), number(pair[0], where)


def _is_label(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _label(value: Any) -> str:
    """Text of a property; half of a surrogate pair, which JSON can hold and UTF-8 cannot, becomes "?"."""
    return str(value).encode(errors="replace").decode() if _is_label(value) else ""


def csv_lines(latlon_deg: NDArray[np.float64], labels: Mapping[str, NDArray[np.object_]]) -> Iterator[str]:
    """Yield a CSV file, line by line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["LAT", "LON", *labels])
    for (lat, lon), *row in zip(_pairs(latlon_deg), *labels.values(), strict=True):
        writer.writerow([_degrees(lat), _degrees(lon), *map(guarded, row)])
        yield _drain(buffer)
    yield _drain(buffer)


def geojson_lines(latlon_deg: NDArray[np.float64], labels: Mapping[str, NDArray[np.object_]]) -> Iterator[str]:
    """Yield a FeatureCollection of points, one feature a line."""
    yield '{"type":"FeatureCollection","features":['
    separator = "\n"
    for (lat, lon), *row in zip(_pairs(latlon_deg), *labels.values(), strict=True):
        properties = dump_json(dict(zip(labels, row, strict=True))).rstrip()
        yield (
            f'{separator}{{"type":"Feature","geometry":{{"type":"Point","coordinates":[{_degrees(lon)},{_degrees(lat)}]}},'
            f'"properties":{properties}}}'
        )
        separator = ",\n"
    yield "\n]}\n"


def _pairs(latlon_deg: NDArray[np.float64]) -> Iterator[list[float]]:
    """Positions as Python's numbers, which take 7 times the memory: some at a time."""
    for start in range(0, len(latlon_deg), 2**16):
        yield from latlon_deg[start : start + 2**16].tolist()


def _degrees(value: float) -> str:
    """Seven decimals at most, never an exponent, never -0."""
    text = f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _drain(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
