"""Working through many inputs: one that fails is accounted for, and the others go on."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Self

from vgeo.errors import FULL_ERRNOS, IO_ERROR, BusyError, DiskError, VgeoError, writing_failed
from vgeo.formats.shards import COLUMN
from vgeo.formats.streams import dump_json, is_stdio, make_folder
from vgeo.records import Outcome

log = logging.getLogger(__name__)

# Not the input's fault: the next one would meet the same.
_FATAL = (DiskError, BusyError)


@dataclass(slots=True)
class Item:
    """What the work on one input has to say; set while it goes on."""

    frames: int = 0
    declared_frames: int | None = None
    outputs: Sequence[str] = ()
    message: str = ""
    skipped: bool = False

    def skip(self, reason: str) -> None:
        """Mark the input as finished before."""
        self.skipped, self.message = True, reason


class Batch:
    """Outcomes of a batch, and the report that is written as they come.

    report: a file that gets one JSON line for every input, replaced at the start (`-` is stdout); None writes none.
    marks: of a divided run, by input, see `shards`.
    Raises OutputError when it cannot be written.
    """

    def __init__(self, report: Path | None = None, fail_fast: bool = False, marks: Mapping[str, str] = {}) -> None:
        self.outcomes: list[Outcome] = []
        self.fail_fast = fail_fast
        self.marks = marks
        self._report = report
        self._file: FileIO | None = None
        if report is not None and not is_stdio(report):
            make_folder(report.parent)
            try:
                self._file = report.open("wb", buffering=0)
            except OSError as error:
                raise writing_failed(report, error, "nothing was done") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @contextmanager
    def item(self, name: str) -> Iterator[Item]:
        """Work on one input: an error of the input becomes a failed outcome. A full disk ends the batch."""
        item = Item()
        try:
            yield item
        except VgeoError as error:
            self._add(name, item, "failed", str(error), error.exit_code)
            if self.fail_fast or isinstance(error, _FATAL):
                raise
            log.error("%s", error)
        except OSError as error:
            message = f"{error.filename or name}: {(error.strerror or str(error)).lower()}"
            self._add(name, item, "failed", message, IO_ERROR)
            if error.errno in FULL_ERRNOS:
                raise writing_failed(error.filename or name, error, "what was finished is kept") from error
            if self.fail_fast:
                raise
            log.error("%s", message)
        else:
            self._add(name, item, "skipped" if item.skipped else "done", item.message, 0)

    def take(self, outcome: Outcome) -> None:
        """Account for an input that another process worked on."""
        self._account(outcome)
        if outcome.status == "failed" and self.fail_fast:
            kinds = {kind.exit_code: kind for kind in VgeoError.__subclasses__()}
            raise kinds.get(outcome.exit_code, VgeoError)(outcome.message)
        if outcome.status == "failed":
            log.error("%s", outcome.message)

    def _add(self, name: str, item: Item, status: str, message: str, exit_code: int) -> None:
        outcome = Outcome(
            input=name,
            status=status,
            message=message,
            exit_code=exit_code,
            frames=item.frames,
            declared_frames=item.declared_frames,
            outputs=() if status == "failed" else tuple(item.outputs),
        )
        self._account(outcome)

    def _account(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        mark = {COLUMN: self.marks[outcome.input]} if outcome.input in self.marks else {}
        line = dump_json(asdict(outcome) | mark)
        if self._file is not None:
            self._write(self._file, line.encode())
        elif self._report is not None:
            sys.stdout.write(line)
            sys.stdout.flush()

    def _write(self, file: FileIO, line: bytes) -> None:
        """Append a whole line to the report, or nothing. Raises DiskError."""
        before, left = file.tell() if file.seekable() else 0, line
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            if file.seekable():
                file.truncate(before)
                file.seek(before)
            assert self._report is not None
            kept = "what was finished is kept"
            raise writing_failed(self._report, error, kept, before + len(line)) from error
