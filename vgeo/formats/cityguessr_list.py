"""The list file of CityGuessr68k: one video a line, without a header, 533 fields between commas.

    path, city id, state id, country id, continent id, 512 values of text, 16 values of scenes

Shapes: V videos.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vgeo.errors import FormatError, InputError
from vgeo.geo.hierarchy import Ids, Up, first_conflict
from vgeo.records import LEVELS

FIELDS = 1 + len(LEVELS) + 512 + 16
_LONGEST = 2**20  # bytes of a line; a true one has some 10,000
_DIGITS = 9  # of an id


def first_line(path: Path) -> str:
    """The first line of a file, whatever it is; "" when there is none. Raises InputError."""
    try:
        with path.open("rb") as file:
            return file.readline(_LONGEST).decode("utf-8-sig", errors="replace").strip()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def is_list(line: str) -> bool:
    """Whether a first line is that of such a list, be it damaged: a path and four ids."""
    cells = line.split(",", 1 + len(LEVELS))[1 : 1 + len(LEVELS)]
    return len(cells) == len(LEVELS) and all(cell.strip().isdecimal() for cell in cells)


def read_list(path: Path, up: Up | None = None, by: str = "earlier lines") -> tuple[list[str], Ids]:
    """Read paths [V] and ids [V, 4] of the videos; the values of text and scenes are counted, not read.

    up, by: what lies in what, which the ids must fit (without it, each other), and its file; see `geo/hierarchy.py`.
    A full list has 700 MB: it is read line by line. Raises InputError, and FormatError naming the line.
    """
    paths, ids, numbers = list[str](), list[tuple[int, ...]](), list[int]()
    for number, line in _lines(path):
        here = f"{path} line {number}"
        fields = line.count(b",") + 1
        if fields != FIELDS:
            raise FormatError(f"{here}: {fields} fields, not {FIELDS} (path, {len(LEVELS)} ids, 512 text, 16 scenes)")
        name, *cells = line.split(b",", 1 + len(LEVELS))[:-1]
        paths.append(_text(name, here))
        ids.append(tuple(_id(cell, level, here) for cell, level in zip(cells, LEVELS, strict=True)))
        numbers.append(number)
    if not paths:
        raise InputError(f"{path}: names no videos, it is empty")
    found = np.array(ids, np.int64)
    conflict = first_conflict(found, LEVELS, up, by)
    if conflict is not None:
        raise FormatError(f"{path} line {numbers[conflict[0]]}: {conflict[1]}")
    return paths, found


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), start=1):
                if line.strip():
                    yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _text(cell: bytes, here: str) -> str:
    try:
        return cell.decode().strip()
    except UnicodeDecodeError as error:
        raise FormatError(f"{here}: not UTF-8 text") from error


def _id(cell: bytes, level: str, here: str) -> int:
    digits = cell.strip()
    if not digits.isdigit() or len(digits) > _DIGITS:
        raise FormatError(f"{here}: {digits[:20].decode(errors='replace')!r} is no id of a {level}")
    return int(digits)
