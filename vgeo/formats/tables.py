"""Tables of positions: CSV as people write it, and JSON lines such as frames.jsonl.

Columns are found by name, in any case and order. Cells that a spreadsheet would run as a formula are written with an
apostrophe in front, and read without it.
"""

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

from vgeo.errors import FormatError
from vgeo.formats import votes
from vgeo.formats.fixes import Fixes, frame_number, number, parse_time, rounded_deg, short, stem_of
from vgeo.formats.streams import dump_json, lines_of, parse_json
from vgeo.records import LEVELS, Localization, Track, format_utc

log = logging.getLogger(__name__)

LAT = ("lat_deg", "lat", "latitude", "latitude_deg", "gps_latitude", "gpslatitude")
LON = ("lon_deg", "lon", "lng", "long", "longitude", "longitude_deg", "gps_longitude", "gpslongitude")
VIDEO = ("video_id", "video", "clip_id", "clip", "sequence_id", "sequence", "sequence_key", "track_id")
FRAME = ("frame", "frame_index", "frame_number", "frame_idx")
SECONDS = ("time_s", "t_s", "seconds", "elapsed_s", "relative_time_s")
CLOCK = (
    *("timestamp_utc", "utc", "time_utc", "datetime_utc", "timestamp", "time", "datetime", "datetime_local"),
    *("date_time", "gpsdatetime", "captured_at", "timestamp_ms", "time_ms", "t"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def read_csv(text: str, where: str) -> list[Track]:
    """Read a table with a header line: one track for each video_id, or a single one. Raises FormatError."""
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=header.count)
    try:
        rows = csv.reader(lines_of(text), delimiter=delimiter)
        names = [plain_name(name) for name in next(rows, [])]
        if not (set(LAT) & set(names) and set(LON) & set(names)):
            raise FormatError(
                f"{where}: the first line names no columns lat and lon, but {', '.join(names[:8]) or '-'}"
            )
        decimal_comma = delimiter != ","
        cells = (
            (rows.line_num, dict(zip(names, row, strict=False))) for row in rows if any(cell.strip() for cell in row)
        )
        return tracks_of_rows(cells, where, decimal_comma)
    except csv.Error as error:
        raise FormatError(f"{where}: not a table ({error})") from error


def read_json_lines(text: str, where: str) -> list[Track]:
    """Read one JSON object a line with lat and lon, such as frames.jsonl. Raises FormatError."""

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for line, record in enumerate(lines_of(text), start=1):
            if record.strip():
                value = parse_json(record, f"{where}:{line}")
                if not isinstance(value, dict):
                    raise FormatError(f"{where}:{line}: not a JSON object")
                yield line, {plain_name(name): cell for name, cell in value.items()}

    return tracks_of_rows(rows(), where)


def tracks_of_rows(
    rows: Iterable[tuple[int, Mapping[str, Any]]], where: str, decimal_comma: bool = False
) -> list[Track]:
    """Group rows (line number, cells by plain name) into tracks; rows without a position are left out."""
    groups: dict[str, Fixes] = {}
    unplaced = 0
    for line, cells in rows:
        here = f"{where}:{line}"
        lat, lon = pick(cells, LAT), pick(cells, LON)
        if lat is None and lon is None:
            unplaced += 1
            continue
        if decimal_comma:
            lat, lon = (str(cell).replace(",", ".") for cell in (lat, lon))
        group = groups.setdefault(unguarded(str(pick(cells, VIDEO) or "")) or stem_of(where), Fixes())
        time_s, utc, frame = moments(cells, here)
        group.add_both(number(lat, here), number(lon, here), time_s, utc, frame)
    if unplaced:
        log.info("%s: %d rows without a position are left out", where, unplaced)
    if not groups:
        raise FormatError(f"{where}: holds no positions")
    # The rows of a table need not be in order: not worth a warning.
    return [fixes.track(video_id, where, ordered=False) for video_id, fixes in groups.items()]


def moments(cells: Mapping[str, Any], here: str) -> tuple[float | None, Any, int | None]:
    """Seconds from the start, absolute time and frame number that a row tells, each None where it does not."""
    seconds = pick(cells, SECONDS)
    time_s = None if seconds is None else number(str(seconds).replace(",", "."), here)
    when = parse_time(pick(cells, CLOCK), here)
    if isinstance(when, float):
        scale = 1e-3 if pick(cells, ("timestamp_ms", "time_ms")) is not None else 1.0
        time_s, when = (when * scale if time_s is None else time_s), None
    frame = pick(cells, FRAME)
    return time_s, when, None if frame is None else frame_number(frame, here)


def pick(cells: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first cell that is there and not empty, by plain name."""
    for name in names:
        cell = cells.get(name)
        if cell is not None and cell != "":
            return cell
    return None


def write_csv(localizations: Iterable[Localization]) -> Iterator[str]:
    """Yield a table piece by piece, one row a frame; `candidates` is JSON: [[lat, lon, probability], ...].

    Where a clip was voted on, its city and what that lies in are in every row, all votes (JSON) in its first one.
    """
    yield ",".join(_COLUMNS) + "\r\n"
    for said in localizations:
        buffer = io.StringIO()
        rows = zip(_rows(said), _vote_cells(said), strict=False)
        csv.writer(buffer).writerows([*row, *cells] for row, cells in rows)
        yield buffer.getvalue()


_COLUMNS = (
    *("video_id", "frame", "time_s", "timestamp_utc", "lat_deg", "lon_deg", "confidence", "radius_km", "place"),
    *("candidates", *LEVELS, votes.COLUMN),
)


def _vote_cells(said: Localization) -> Iterator[list[str]]:
    """Cells for the first row, then for every other one."""
    if said.votes is None:
        yield from repeat([""] * (len(LEVELS) + 1))
        return
    names = [guarded(name) for name in said.votes.labels.from_level(0)]
    yield [*names, dump_json(votes.to_json(said.votes)).rstrip()]
    yield from repeat([*names, ""])


def _rows(said: Localization) -> Iterator[list[Any]]:
    track = said.track
    stamps = track.timestamps_utc()
    spots = rounded_deg(said.candidates_deg)
    for t, (lat, lon) in enumerate(rounded_deg(track.latlon_deg).tolist()):
        pairs = zip(spots[t].tolist(), said.candidate_scores[t], strict=True)
        yield [
            guarded(track.video_id),
            "" if track.frame_index is None else int(track.frame_index[t]),
            "" if track.time_s is None else round(float(track.time_s[t]), 6),
            "" if stamps is None else format_utc(stamps[t]),
            f"{lat:.7f}",
            f"{lon:.7f}",
            _cell(said.confidence[t]),
            _cell(said.radius_km[t]),
            guarded(said.places[t]) if said.places else "",
            dump_json([[*spot, short(score)] for spot, score in pairs]).rstrip(),
        ]


def _cell(value: float) -> float | str:
    found = short(value)
    return "" if found is None else found


def plain_name(name: str) -> str:
    """A column's name in lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def guarded(text: str) -> str:
    """Text that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def unguarded(text: str) -> str:
    """Undo `guarded`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
