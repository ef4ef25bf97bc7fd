"""The folder beside a feature file that is being filled: one finished, fsynced part a video.

Appending to one HDF5 file loses it whole when the process is killed at the wrong moment; a part is either there or
not. A lock keeps two processes from filling the same file.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vgeo.errors import BusyError
from vgeo.formats import streams

SUFFIX = ".parts"
LOCK = "lock"
ATTRIBUTES = "attributes.json"


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of a video besides its tables."""

    video_id: str
    frames: int
    start_utc: str
    source: str
    made_from: str
    labels: dict[str, str]


class PartsFolder:
    """The parts of one feature file, locked for this process until `close` or `remove`."""

    def __init__(
        self,
        target: Path,
        attributes: Mapping[str, Any],
        overwrite: bool,
        compare: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Lock the folder and find finished parts in it.

        compare: raises when parts of these attributes cannot be continued. With `overwrite`, only the parts of an
        earlier, interrupted run with `overwrite` and the same attributes are kept. Raises BusyError.
        """
        self._folder = streams.make_folder(target.with_name(target.name + SUFFIX))
        self._lock = _lock(self._folder, target)
        self.parts: dict[str, Part] = {}
        try:
            wanted = {"attributes": dict(attributes), "overwrite": overwrite}
            found = self._read_header()
            if overwrite and found != wanted:
                self._empty()
            elif found is not None:
                compare(found["attributes"])
                self._scan()
            if found != wanted:
                streams.write_output(self._folder / ATTRIBUTES, streams.dump_json(wanted))
        except BaseException:
            self.close()
            raise

    def write(self, part: Part, tables: Mapping[str, NDArray[Any]]) -> None:
        """Store a part durably under its final name. Raises DiskError."""
        whole = {name: np.ascontiguousarray(table) for name, table in tables.items()}  # save() ignores strides
        with streams.atomic_write(self._file(part.video_id)) as file:
            file.write(save(whole, metadata={"part": json.dumps(asdict(part))}))
        self.parts[part.video_id] = part

    def read(self, part: Part, name: str) -> NDArray[Any]:
        """Return one table of a part."""
        with safe_open(self._file(part.video_id), framework="np") as file:
            table: NDArray[Any] = file.get_tensor(name)
        return table

    def remove(self) -> None:
        """Remove the folder, and let go of the lock."""
        self._empty()
        (self._folder / LOCK).unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let go of the lock; a folder without parts goes."""
        if self._lock is None:
            return
        if not self.parts and self._folder.exists():
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    def _file(self, video_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(video_id.encode()).hexdigest()[:32]}.safetensors"

    def _read_header(self) -> dict[str, Any] | None:
        path = self._folder / ATTRIBUTES
        return streams.parse_json(streams.read_text(path), path) if path.exists() else None

    def _scan(self) -> None:
        for path in sorted(self._folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="np") as file:
                    part = Part(**json.loads(file.metadata()["part"]))
            except (SafetensorError, OSError, KeyError, TypeError, ValueError):
                continue  # not a part of ours: it is made again
            if self._file(part.video_id) == path:
                self.parts[part.video_id] = part

    def _empty(self) -> None:
        for path in self._folder.iterdir():
            if path.name != LOCK:
                path.unlink()
        self.parts = {}


def _lock(folder: Path, target: Path) -> int | None:
    """Take the folder's lock without waiting. Raises BusyError."""
    path = folder / LOCK
    busy = BusyError(f"{target}: another process fills it ({path} is locked); wait for it or choose another --out")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError as error:  # the other process finished and removed the folder just now
        raise busy from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino != os.stat(path).st_ino:
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError) as error:
        os.close(handle)
        raise busy from error
    return handle
