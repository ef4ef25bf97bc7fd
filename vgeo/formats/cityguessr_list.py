"""The list file of CityGuessr68k: one video a line, without a header, 533 fields between commas.

    path, city id, state id, country id, continent id, 512 values of text, 16 values of scenes

The text is that of the city, the same in all its lines; the scenes are shares of the video's frames. A full list is
700 MB long: it is read line by line.

Shapes: V videos, X values of text, P groups of scenes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.scenes import GROUPS, parse_shares
from vgeo.geo.hierarchy import Ids, Up, first_conflict
from vgeo.records import LEVELS

TEXT = 512
FIELDS = 1 + len(LEVELS) + TEXT + len(GROUPS)
_LONGEST = 2**20  # bytes of a line; a true one has some 10,000
_DIGITS = 9  # of an id
_SLACK = 1e-3  # between texts of one city, of its largest value: the same numbers may be written in several ways

Vector = NDArray[np.float32]


class _Line(NamedTuple):
    number: int
    path: str
    ids: tuple[int, ...]
    values: bytes  # of text and scenes


@dataclass(frozen=True, slots=True, eq=False)
class ListValues:
    """What a list says of its videos besides their places."""

    paths: list[str]  # [V]
    ids: Ids  # [V, 4]
    text_of_city: dict[int, Vector]  # city id -> [X]
    scenes: NDArray[np.float32]  # [V, P] shares that sum to 1, in the order of `formats.scenes.GROUPS`

    def text_by_clip(self) -> dict[str, Vector]:
        """The text [X] of each video, by its path."""
        return {path: self.text_of_city[city] for path, city in zip(self.paths, self.ids[:, 0].tolist(), strict=True)}

    def scenes_by_clip(self) -> dict[str, Vector]:
        """The scenes [P] of each video, by its path."""
        return dict(zip(self.paths, self.scenes, strict=True))


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
    Raises InputError, and FormatError naming the line.
    """
    lines = [line._replace(values=b"") for line in _videos(path)]
    return [line.path for line in lines], _ids(lines, path, up, by)


def read_values(path: Path) -> ListValues:
    """Read a list with its values. Raises InputError, and FormatError naming the line.

    Every line is read whole, but text that is, byte for byte, what the city had before is not parsed again.
    """
    lines, text, scenes = list[_Line](), _Texts(), list[Vector]()
    before: dict[str, int] = {}
    for line in _videos(path):
        here = f"{path} line {line.number}"
        values = line.values.decode("ascii", errors="replace").rsplit(",", len(GROUPS))
        text.add(line, values[0], here)
        scenes.append(parse_shares(values[1:], here))
        same = before.setdefault(line.path, len(lines))
        if same < len(lines) and (lines[same].ids != line.ids or (scenes[same] != scenes[-1]).any()):
            raise FormatError(f"{here}: says of {line.path} other things than line {lines[same].number}")
        lines.append(line._replace(values=b""))
    ids = _ids(lines, path, None, "earlier lines")
    return ListValues([line.path for line in lines], ids, text.of_city, np.stack(scenes))


class _Texts:
    """The text of each city, as its first line has it."""

    def __init__(self) -> None:
        self.of_city: dict[int, Vector] = {}
        self._first: dict[int, tuple[int, int]] = {}  # line number, and hash of what it says

    def add(self, line: _Line, text: str, here: str) -> None:
        """Parse the text of a line, or compare it with the city's. Raises FormatError."""
        city, said = line.ids[0], hash(text)
        number, before = self._first.setdefault(city, (line.number, said))
        if city in self.of_city and said == before:
            return
        vector = _vector(text.split(","), here)
        first = self.of_city.setdefault(city, vector)
        if np.abs(vector - first).max() > _SLACK * np.abs(first).max():
            raise FormatError(f"{here}: the text of city {city} is another than in line {number}")


def _vector(cells: list[str], here: str) -> Vector:
    try:
        with np.errstate(over="ignore"):
            vector = np.array(list(map(float, cells)), np.float64).astype(np.float32)
    except ValueError as error:
        raise FormatError(f"{here}: its text has {str(error).rpartition(' ')[2][:20]}, not a number") from error
    if not np.isfinite(vector).all():
        raise FormatError(f"{here}: its text has numbers that are not finite")
    if not vector.any():
        raise FormatError(f"{here}: its text is all zeros")
    return vector


def _videos(path: Path) -> Iterator[_Line]:
    """The lines of a list, with as many fields as they should have. Raises InputError, FormatError."""
    for number, line in _lines(path):
        here = f"{path} line {number}"
        fields = line.count(b",") + 1
        if fields != FIELDS:
            raise FormatError(
                f"{here}: {fields} fields, not {FIELDS} (path, {len(LEVELS)} ids, {TEXT} text, {len(GROUPS)} scenes)"
            )
        name, *cells, values = line.split(b",", 1 + len(LEVELS))
        ids = tuple(_id(cell, level, here) for cell, level in zip(cells, LEVELS, strict=True))
        yield _Line(number, _text(name, here), ids, values)


def _ids(lines: list[_Line], path: Path, up: Up | None, by: str) -> Ids:
    """The ids [V, 4] of lines that fit each other, or `up`. Raises InputError for none, FormatError."""
    if not lines:
        raise InputError(f"{path}: names no videos, it is empty")
    found = np.array([line.ids for line in lines], np.int64)
    conflict = first_conflict(found, LEVELS, up, by)
    if conflict is not None:
        raise FormatError(f"{path} line {lines[conflict[0]].number}: {conflict[1]}")
    return found


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
