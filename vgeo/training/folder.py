"""The folder that a run fills: the best model at its head, the last one in last/, state/ to resume, metrics.jsonl.

Everything is replaced atomically, and the state is written after all else: whatever a kill leaves behind is loadable,
and what a resumed run repeats, it writes again.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vgeo.errors import BusyError, InputError, OutputError
from vgeo.formats.streams import atomic_write, dump_json, make_folder, parse_json
from vgeo.training.state import State, write_state

LAST = "last"
GALLERY = "gallery.h5"
_STATE = Path("state") / "state.safetensors"
_LOCK = Path("state") / "lock"
_METRICS = "metrics.jsonl"


class RunFolder:
    """Paths of a run and its metrics."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def state(self) -> Path:
        """The file to resume from."""
        return self.path / _STATE

    @property
    def last(self) -> Path:
        """The folder of the last model."""
        return self.path / LAST

    @property
    def gallery(self) -> Path:
        """The gallery that the model was validated on and goes with."""
        return self.path / GALLERY

    def check(self, overwrite: bool, resume: bool) -> None:
        """Raise OutputError when there is something that may not be replaced, InputError when nothing to resume."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is a file; give a folder with --out")
        if resume:
            if not self.state.exists():
                raise InputError(f"{self.path}: nothing to resume, no epoch has been finished; run without --resume")
            return
        if self.path.is_dir() and any(self.path.iterdir()) and not overwrite:
            hint = "use --resume to go on, " if self.state.exists() else "use "
            raise OutputError(f"{self.path}: exists; {hint}--overwrite to start anew, or --out for another folder")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process. Raises BusyError."""
        make_folder(self.state.parent)
        handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BusyError(f"{self.path}: another process trains into it; wait, or use another --out") from error
            yield
        finally:
            os.close(handle)

    def clear(self) -> None:
        """Forget an earlier run; its model stays until the first epoch replaces it."""
        for path in (self.state, self.path / _METRICS):
            path.unlink(missing_ok=True)

    def write_state(self, state: State) -> None:
        """Write the state, atomically."""
        make_folder(self.state.parent)
        write_state(self.state, state)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add one epoch's line."""
        with open(self.path / _METRICS, "a", encoding="utf-8") as file:
            file.write(dump_json(line))

    def cut_metrics(self, epochs: int) -> None:
        """Keep the lines of the first so many epochs (over all phases): what follows is about to be repeated."""
        path = self.path / _METRICS
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        if len(lines) > epochs:
            with atomic_write(path) as file:
                file.write("".join(lines[:epochs]).encode())

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete lines."""
        path = self.path / _METRICS
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [parse_json(line, path) for line in text.splitlines(keepends=True) if line.endswith("\n")]
