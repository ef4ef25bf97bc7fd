"""The folder beside a feature file that is being filled: one finished, fsynced part a video.

Appending to one HDF5 file loses it whole when the process is killed at the wrong moment; a part is either there or
not. Several processes may fill it together, see `claims`.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vgeo.errors import BusyError, SettingError
from vgeo.formats import streams
from vgeo.formats.claims import FOLDER, Claims

SUFFIX = ".parts"
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
    """The parts of one feature file, which this process fills, perhaps with others, until `join` or `close`.

    parts: by video; what other processes have finished since is in it after `find`, and in `join`.
    """

    def __init__(
        self,
        target: Path,
        attributes: Mapping[str, Any],
        overwrite: bool,
        compare: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Join those who fill the folder, and find finished parts in it.

        compare: raises SettingError when parts of these attributes cannot be continued. With `overwrite`, only the
        parts of an earlier, interrupted run with `overwrite` and the same attributes are kept. Raises BusyError when
        other processes are there whose parts would have to go.
        """
        self._folder = streams.make_folder(target.with_name(target.name + SUFFIX))
        self.claims = Claims(self._folder, target, overwrite)
        self.parts: dict[str, Part] = {}
        self._attributes = dict(attributes)
        with self._vanishing(), self.claims.entering() as alone:
            found = self._read_header()
            if alone and overwrite and found != self._header(overwrite):
                self._empty()
            elif found is not None:
                _compare(compare, found["attributes"], target, busy=overwrite and not alone)
            if alone and found != self._header(overwrite):
                self._write_header(overwrite)
            self._scan()

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

    def find(self, video_id: str) -> Part | None:
        """A video's part, whoever made it."""
        part = _read_part(self._file(video_id))
        if part is None or part.video_id != video_id:
            return None
        self.parts[video_id] = part
        return part

    @contextmanager
    def join(self) -> Iterator[bool]:
        """Go; the block puts all parts that are there into the file, and then they are removed. Others wait meanwhile.

        Yields whether the file is made anew, and what is in it left out.
        """
        with self._vanishing(), self.claims.leaving() as last:
            self._scan()
            header = self._read_header()
            anew = header is not None and bool(header["overwrite"])
            yield anew
            if anew and self.parts and not last:
                self._write_header(False)  # what others finish from now on is added
            for video_id in self.parts:
                self._file(video_id).unlink(missing_ok=True)
            self.parts = {}
            if last:
                self._empty()

    def close(self) -> None:
        """Go; finished parts stay."""
        with self._vanishing(), self.claims.leaving() as last:
            if last and next(self._folder.glob("*.safetensors"), None) is None:
                self._empty()

    @contextmanager
    def _vanishing(self) -> Iterator[None]:
        """Remove the folder after the block, where nobody is in it and nothing kept in it."""
        try:
            yield
        finally:
            with suppress(OSError):
                self._folder.rmdir()

    def _file(self, video_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(video_id.encode()).hexdigest()[:32]}.safetensors"

    def _header(self, overwrite: bool) -> dict[str, Any]:
        return {"attributes": self._attributes, "overwrite": overwrite}

    def _read_header(self) -> dict[str, Any] | None:
        path = self._folder / ATTRIBUTES
        return streams.parse_json(streams.read_text(path), path) if path.exists() else None

    def _write_header(self, overwrite: bool) -> None:
        streams.write_output(self._folder / ATTRIBUTES, streams.dump_json(self._header(overwrite)))

    def _scan(self) -> None:
        self.parts = {}
        for path in sorted(self._folder.glob("*.safetensors")):
            part = _read_part(path)
            if part is not None and self._file(part.video_id) == path:  # else it is made again
                self.parts[part.video_id] = part

    def _empty(self) -> None:
        for path in self._folder.iterdir():
            if path.name != FOLDER:
                path.unlink()
        self.parts = {}


def _read_part(path: Path) -> Part | None:
    """What a part says of itself; None where it is not there, or not one of ours."""
    try:
        with safe_open(path, framework="np") as file:
            return Part(**json.loads(file.metadata()["part"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def _compare(
    compare: Callable[[Mapping[str, Any]], None], attributes: Mapping[str, Any], target: Path, *, busy: bool
) -> None:
    """Raise what `compare` does; a BusyError instead while other processes fill the file with other settings."""
    try:
        compare(attributes)
    except SettingError as error:
        if busy:
            raise BusyError(f"{target}: other processes fill it with other settings; wait for them") from error
        raise
