"""Files that vgeo wrote, cut into what they say of each clip, with the marks of shards taken out; see `shards`."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from vgeo.errors import FormatError
from vgeo.formats.shards import COLUMN, COMMENT, ELEMENTS, IN_JSON, MARK, Mark, Shard


@dataclass(frozen=True, slots=True)
class Piece:
    """What a file says of one clip or input, without its mark. name: what it is called in the file."""

    name: str
    mark: Mark | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Pieces:
    """A file in pieces: what stands before, between and after them is the same in each file of its kind."""

    head: bytes
    between: bytes
    tail: bytes
    each: Iterator[Piece]


def read_pieces(kind: str, lines: Iterator[bytes], where: str) -> Pieces:
    """Cut a file that vgeo wrote into pieces, one at a time in memory.

    kind: geojson, geojsonl, gpx, kml, csv or report. Raises FormatError, also while pieces are taken.
    """
    if kind == "csv":
        return _table(lines, where)
    if kind in ELEMENTS:
        return _xml(lines, ELEMENTS[kind], where)
    if kind == "report":
        return Pieces(b"", b"", b"", (_line(line, where) for line in lines))
    head = b""
    if kind == "geojson":
        head = next(lines, b"")
        if head != b'{"type": "FeatureCollection", "features": [\n':
            raise FormatError(f"{where}: not GeoJSON as 'vgeo localize' writes it")
    between, tail = (b",\n", b"\n]}\n") if head else (b"", b"")
    return Pieces(head, between, tail, _features(lines, bool(head), where))


def _features(lines: Iterator[bytes], in_collection: bool, where: str) -> Iterator[Piece]:
    """A clip's line, and the frames that follow it."""
    clip: list[bytes] = []
    line = b"\n"
    for line in lines:
        if in_collection and line == b"]}\n":
            break
        if not line.startswith(b'{"type": "Feature"') or not line.endswith((b"}\n", b"},\n")):
            raise FormatError(f"{where}: not as 'vgeo localize' writes it, or cut short; make it again")
        feature = line.rstrip(b"\n").removesuffix(b",") if in_collection else line
        if b'"kind": "track"' in feature:
            if clip:
                yield _clip(clip, in_collection, where)
            clip = []
        elif not clip:
            raise FormatError(f"{where}: not as 'vgeo localize' writes it: a frame before its clip")
        clip.append(feature)
    if in_collection and line != b"]}\n":
        raise FormatError(f"{where}: is cut short; make it again")
    if clip:
        yield _clip(clip, in_collection, where)


def _clip(features: list[bytes], in_collection: bool, where: str) -> Piece:
    first = features[0].rstrip(b"\n")
    end = features[0][len(first) :]
    bare, mark = _unmarked(first)
    said = _parsed(bare, where).get("properties")
    if not isinstance(said, dict) or "video_id" not in said:
        raise FormatError(f"{where}: a clip without video_id; not as 'vgeo localize' writes it")
    return Piece(str(said["video_id"]), mark, (b",\n" if in_collection else b"").join([bare + end, *features[1:]]))


def _line(line: bytes, where: str) -> Piece:
    bare, mark = _unmarked(line.rstrip(b"\n"))
    said = _parsed(bare, where)
    if "input" not in said or "status" not in said:
        raise FormatError(f"{where}: not a report, as --report writes it")
    return Piece(str(said["input"]), mark, bare + b"\n")


def _parsed(line: bytes, where: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise FormatError(f"{where}: a line is not a JSON object; is the file cut short?")
    return value


def _unmarked(line: bytes) -> tuple[bytes, Mark | None]:
    found = IN_JSON.search(line)
    return (line, None) if found is None else (line[: found.start()] + found[5], _mark(found))


def _mark(found: re.Match[bytes] | re.Match[str]) -> Mark:
    number, of, place, inputs = (int(found[group]) for group in range(1, 5))
    return Mark(Shard(number, of), place, inputs)


def _xml(lines: Iterator[bytes], element: str, where: str) -> Pieces:
    begin, end = f"<{element}>".encode(), f"</{element}>\n".encode()
    head, first = [], b""
    for first in lines:
        if first.startswith(begin) or COMMENT.fullmatch(first):
            break
        head.append(first)
    else:
        raise FormatError(f"{where}: holds no clips as 'vgeo localize' writes them")
    tail = b"</gpx>\n" if element == "trk" else b"</Document>\n</kml>\n"

    def each() -> Iterator[Piece]:
        clip, mark, line = list[bytes](), None, first
        while line and line not in tail.splitlines(keepends=True):
            found = COMMENT.fullmatch(line) if not clip else None
            mark = _mark(found) if found else mark
            clip += [] if found else [line]
            if line.endswith(end):
                yield _element(clip, mark, where)
                clip, mark = [], None
            line = next(lines, b"")
        if clip or not line:
            raise FormatError(f"{where}: is cut short; make it again")

    return Pieces(b"".join(head), b"", tail, each())


def _element(lines: list[bytes], mark: Mark | None, where: str) -> Piece:
    data = b"".join(lines)
    name = re.search(rb"<name>(.*?)</name>", data, re.DOTALL)
    if name is None:
        raise FormatError(f"{where}: a clip without a name; not as 'vgeo localize' writes it")
    return Piece(name[1].decode(errors="replace"), mark, data)


def _table(lines: Iterator[bytes], where: str) -> Pieces:
    first = next(lines, b"")
    end = "\r\n" if first.endswith(b"\r\n") else "\n"
    names = first.decode(errors="replace").rstrip("\r\n").split(",")
    if names[0] != "video_id":
        raise FormatError(f"{where}: not a table that vgeo writes: its first column is {names[0][:30] or 'empty'}")
    with_mark = names[-1] == COLUMN
    rows = csv.reader((line.decode(errors="replace") for line in lines), strict=True)

    def each() -> Iterator[Piece]:
        try:
            for name, group in groupby(rows, key=lambda row: row[0] if row else ""):
                cells = list(group)
                if any(len(row) != len(names) for row in cells):
                    raise FormatError(f"{where}: a row of {name} has not {len(names)} cells; is the file cut short?")
                found = re.fullmatch(MARK, cells[0][-1]) if with_mark else None
                if with_mark and found is None:
                    raise FormatError(f"{where}: {name} has no shard in the column of that name")
                text = io.StringIO()
                kept = (row[:-1] for row in cells) if with_mark else cells
                csv.writer(text, lineterminator=end).writerows(kept)
                yield Piece(name, _mark(found) if found else None, text.getvalue().encode())
        except csv.Error as error:
            raise FormatError(f"{where}: not a table ({error})") from error

    head = ",".join(names[:-1] if with_mark else names) + end
    return Pieces(head.encode(), b"", b"", each())
