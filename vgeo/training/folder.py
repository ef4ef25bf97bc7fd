"""The folder that a run fills: the best model at its head, the last one in last/, state/ to resume, metrics.jsonl.

All of it is one snapshot: it is written beside and takes the folder's name in one step, so that a kill at any moment
leaves a whole one, whose model loads and whose state goes on.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgeo.errors import BusyError, DiskError, FormatError, InputError, OutputError
from vgeo.formats.checkpoints import CARD, CONFIG, GALLERY, WEIGHTS, is_unfinished
from vgeo.formats.gallery import Gallery, write_gallery
from vgeo.formats.streams import dump_json, make_folder, parse_json, read_text, write_output
from vgeo.training.state import State, Weights, read_state, write_state

LAST, METRICS = "last", "metrics.jsonl"
STATE = Path("state") / "state.safetensors"
_OURS = {CARD, CONFIG, GALLERY, WEIGHTS, LAST, METRICS, STATE.parts[0]}

# folder, weights, what is known of them, and what else goes into the folder before it takes its name
SaveModel = Callable[[Path, Weights, dict[str, Any], Callable[[Path], None]], None]


@dataclass(slots=True)
class RunFolder:
    """One run's folder on disk."""

    path: Path
    save: SaveModel
    gallery: Gallery
    _gallery_is_there: bool = False

    def resume(self) -> tuple[State, list[dict[str, Any]]]:
        """The state and the metrics of the epochs that led to it. Raises FormatError when they are damaged."""
        state = read_state(self.path / STATE)
        lines = read_text(self.path / METRICS).splitlines()
        metrics = [parse_json(line, self.path / METRICS) for line in lines]
        if not all(isinstance(line, dict) and isinstance(line.get("loss"), float) for line in metrics):
            raise FormatError(f"{self.path / METRICS}: damaged, cannot resume; train anew with --overwrite")
        self._gallery_is_there = (self.path / GALLERY).is_file()
        return state, metrics

    def write(
        self, best: Weights, about_best: dict[str, Any], state: State, about_last: dict[str, Any],
        metrics: Sequence[dict[str, Any]],
    ) -> None:  # fmt: skip
        """Replace the folder by this snapshot. Raises DiskError, OutputError; the old one stays then."""

        def more(unfinished: Path) -> None:
            self._put_gallery(unfinished)
            self.save(unfinished / LAST, state.model, about_last, self._put_gallery)
            make_folder((unfinished / STATE).parent)
            write_state(unfinished / STATE, state)
            write_output(unfinished / METRICS, "".join(map(dump_json, metrics)))

        try:
            self.save(self.path, best, about_best, more)
        except DiskError as error:  # it may name a file of the unfinished folder, which is gone
            again = " with --resume" if (self.path / STATE).is_file() else ""
            raise DiskError(
                f"{self.path}: not written, {error.reason or error}; make room, run again{again}"
            ) from error
        self._gallery_is_there = True

    def _put_gallery(self, folder: Path) -> None:
        """Give a model folder the run's gallery: another name for the same file where the disk can do that."""
        if not self._gallery_is_there:
            write_gallery(folder / GALLERY, self.gallery)
            return
        try:
            os.link(self.path / GALLERY, folder / GALLERY)
        except OSError:
            shutil.copyfile(self.path / GALLERY, folder / GALLERY)


def check_folder(path: Path, overwrite: bool, resume: bool) -> None:
    """Raise OutputError when there is something that may not be replaced, InputError when nothing to resume."""
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: is a file; give a folder with --out")
    # The whole folder is exchanged for a new one, which cannot be done to these.
    if path.is_dir() and path.samefile("."):
        raise OutputError(f"{path}: is the folder you are in; give one inside it with --out, such as models/geoclip")
    if path.is_mount():
        raise OutputError(f"{path}: is a mount point; give a folder inside it with --out, such as {path / 'model'}")
    if resume:
        if not (path / STATE).is_file():
            raise InputError(f"{path}: nothing to resume, no epoch was finished there; run without --resume")
        return
    content = sorted(item.name for item in path.iterdir()) if path.is_dir() else []
    if foreign := [name for name in content if name not in _OURS]:
        # Nobody else's file may go with it.
        raise OutputError(f"{path}: holds {foreign[0]}, which is no part of a model; give another folder with --out")
    if content and not overwrite:
        hint = "--resume to go on, " if (path / STATE).is_file() else ""
        raise OutputError(f"{path}: exists; use {hint}--overwrite to start anew, or --out for another folder")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder's name for one process, and sweep away what killed ones left beside it. Raises BusyError."""
    make_folder(path.parent)
    lock = path.parent / f".{path.name}.lock"
    handle = _lock(lock, path)
    try:
        for item in path.parent.iterdir():
            if is_unfinished(item.name, path.name):
                shutil.rmtree(item, ignore_errors=True)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _lock(lock: Path, path: Path) -> int:
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"{path.parent}: cannot be written ({error.strerror}); use another --out") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(lock) and os.path.samestat(os.stat(lock), os.fstat(handle)):
                return handle
            os.close(handle)  # its holder removed it between our two calls: try the new one
        except OSError as error:
            os.close(handle)
            raise BusyError(f"{path}: another process trains into it; wait for it, or use another --out") from error
