"""Parts of divided runs: which inputs are whose, and how each output says which of them it holds.

A mark, "2/4 5/12", is of the fifth of twelve inputs, which the second of four shards worked on. Outputs of a shard
carry it where their readers pass it by: as a property of the clip's line in GeoJSON, a last column in CSV, a comment in
GPX and KML, a last field in reports. `pieces` takes it out again, which leaves what an undivided run writes.
"""

import csv
import io
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vgeo.errors import UsageError
from vgeo.records import Localization

log = logging.getLogger(__name__)

COLUMN = "shard"
MARK = r"(\d{1,9})/(\d{1,9}) (\d{1,9})/(\d{1,9})"
IN_JSON = re.compile(rf', "{COLUMN}": "{MARK}"(\}}+)$'.encode())
COMMENT = re.compile(rf"<!-- {COLUMN} {MARK} -->\n".encode())
ELEMENTS = {"gpx": "trk", "kml": "Placemark"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """The inputs number, number + of, ... of a list, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "2/4". Raises UsageError."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text}: not of the form I/N, such as 2/4: the second of four parts")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def take(self, inputs: Sequence[T]) -> list[T]:
        """Those of all inputs that are this shard's."""
        return list(inputs[self.number - 1 :: self.of])

    def marks(self, names: Sequence[str], failed: Sequence[str] = ()) -> dict[str, str]:
        """The mark of each of all inputs, by name; failed: what comes before the first of them in reports."""
        places = dict.fromkeys(failed, 0) | {name: place for place, name in enumerate(names, start=1)}
        return {name: f"{self} {place}/{len(names)}" for name, place in places.items()}


def share_of(
    shard: Shard | None, inputs: Sequence[T], name: Callable[[T], str], failed: Sequence[str] = ()
) -> tuple[list[T], dict[str, str]]:
    """A shard's part of all inputs, and their marks by name; all of them and no marks without one.

    failed: inputs that come before the first in reports, those of the first shard.
    """
    if shard is None:
        return list(inputs), {}
    share = shard.take(inputs)
    if not share:
        log.warning("--shard %s: there are only %d inputs; nothing to do", shard, len(inputs))
    return share, shard.marks([name(one) for one in inputs], failed)


def check_shards(shards: Mapping[str, Shard | None], incomplete: bool, counts: Mapping[str, int] | None = None) -> bool:
    """Whether files are shards, all of one division; counts: of all inputs of the undivided run, as each file says.

    Raises UsageError for a shard that is missing, unless `incomplete`, or given twice.
    """
    found = {path: shard for path, shard in shards.items() if shard is not None}
    if not found:
        return False
    first, shard = next(iter(found.items()))
    seen: dict[int, str] = {}
    for path, other in shards.items():
        if other is None:
            raise UsageError(f"{path}: is of an undivided run, but {first} is shard {shard}; merge them apart")
        if other.of != shard.of:
            raise UsageError(f"{path}: is shard {other}, but {first} is shard {shard} of another division")
        if other.number in seen:
            raise UsageError(f"shard {other} is given twice: {seen[other.number]} and {path}")
        seen[other.number] = path
    missing = [str(Shard(number, shard.of)) for number in range(1, shard.of + 1) if number not in seen]
    for path, count in (counts or {}).items():
        if counts and count != counts[first]:
            raise UsageError(f"{path}: is of a run over {count} inputs, but {first} of {counts[first]}; do one anew")
    if counts:  # fewer inputs than shards leave the last ones nothing to write
        missing = [text for text in missing if int(text.partition("/")[0]) <= counts[first]]
    if missing and not incomplete:
        raise UsageError(f"missing: shard {', '.join(missing)}; give it, too, or --incomplete to do without")
    return True


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose an input is: this shard's; and which of all inputs it is, 0 for what came before the first."""

    shard: Shard
    place: int
    inputs: int


def marked(
    kind: str,
    write: Callable[[Iterable[Localization]], Iterator[str]],
    clips: Iterable[Localization],
    marks: Mapping[str, str],
) -> Iterator[str]:
    """What a writer of tracks yields, with each clip's mark; marks: by video."""
    written = deque[str]()

    def noted() -> Iterator[Localization]:
        for clip in clips:
            written.append(marks[clip.track.video_id])
            yield clip

    for number, piece in enumerate(write(noted())):
        if written:
            yield _marked(kind, piece, written.popleft())
        else:
            yield add_column(piece, COLUMN) if kind == "csv" and number == 0 else piece


def add_column(rows: str, cell: str) -> str:
    """Rows of CSV with one more cell each."""
    end = "\r\n" if rows.endswith("\r\n") else "\n"
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows([*row, cell] for row in csv.reader(io.StringIO(rows, newline="")))
    return text.getvalue()


def _marked(kind: str, piece: str, mark: str) -> str:
    if kind == "csv":
        return add_column(piece, mark)
    if kind in ELEMENTS:
        return f"<!-- {COLUMN} {mark} -->\n{piece}"
    return re.sub(r"\}\}(?=,?\n|\Z)", lambda _: f', "{COLUMN}": "{mark}"}}}}', piece, count=1)
