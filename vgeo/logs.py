"""Logging and progress, on stderr only: stdout is data.

The library logs to `logging.getLogger(__name__)` and installs no handler; the command line installs one.
A stage that takes long accepts a `Progress`; the default one is silent, the command line passes a bar that
shows itself only where stderr is a terminal.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """What a stage tells whoever watches. This one tells nobody."""

    def start(self, title: str, total: float | None = None, unit: str = "") -> None:
        """Begin (or begin anew) a task of `total` units; None when the total is unknown."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Report `amount` more units done, and optionally a short note such as the current loss."""


SILENT = Progress()


def configure(verbosity: int) -> None:
    """Send the package's log records to stderr: 0 shows information, 1 and more debugging, -1 warnings, -2 errors.

    Of several processes that torchrun started, all but the first show errors only.
    """
    verbosity = -2 if _follows() else verbosity
    level = {1: logging.DEBUG, 0: logging.INFO, -1: logging.WARNING}.get(max(-2, min(verbosity, 1)), logging.ERROR)
    handler = _StderrHandler()
    handler.setFormatter(_LevelFormatter())
    logger = logging.getLogger("vgeo")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)
    # Python's own warnings become records too, shown with -v only: libraries warn about their own affairs.
    logging.captureWarnings(True)
    warnings_logger = logging.getLogger("py.warnings")
    warnings_logger.handlers[:] = [handler]
    warnings_logger.propagate = False
    warnings_logger.setLevel(logging.WARNING if verbosity > 0 else logging.CRITICAL)


class _StderrHandler(logging.StreamHandler):
    """Writes to what stderr is at the time: while a bar is drawn, rich puts the lines above it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self):  # type: ignore[no-untyped-def]
        return sys.stderr


class _LevelFormatter(logging.Formatter):
    """Plain text for information; the level in front of everything else."""

    def format(self, record: logging.LogRecord) -> str:
        # Names from a stranger's file may hold newlines and escape codes; the newlines of our own words stay.
        ours = "\n" if "\n" in str(record.msg) else ""
        text = "".join(letter if letter.isprintable() or letter in ours else " " for letter in record.getMessage())
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def wants_bar() -> bool:
    """True where a moving bar helps: stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI") and not _follows()


def _follows() -> bool:
    """Whether torchrun started this process, and not as the first: that one says it all."""
    return os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a rich bar (rate, time left, note) on a terminal, else the silent one."""
    if not wants_bar():
        yield SILENT
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichBar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # stdout is left alone: rich would draw what is written there above the bar, on stderr.
    with RichBar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        yield _RichProgress(bar)


class _RichProgress(Progress):
    def __init__(self, bar) -> None:  # type: ignore[no-untyped-def]  # rich is imported only where a bar is drawn
        self._bar = bar
        self._task = None
        self._unit = ""

    def start(self, title: str, total: float | None = None, unit: str = "") -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._unit = unit
        self._task = self._bar.add_task(title, total=total, unit=unit, rate="", note="")

    def advance(self, amount: float = 1, note: str = "") -> None:
        if self._task is None:
            return
        speed = self._bar.tasks[-1].finished_speed or self._bar.tasks[-1].speed
        fields = {"rate": f"{speed:.1f}/s"} if speed else {}
        if note:
            fields["note"] = note
        self._bar.update(self._task, advance=amount, **fields)
