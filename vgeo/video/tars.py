"""WebDataset tars as input: the files of one key are one clip, and lie in a folder of their own while it is read.

A key is a file's name up to the first dot of its base name. A video is a clip; pictures are, as outside of tars, one
clip a folder, but those at the top of the tar are a clip each. Beside them lie a track (.gpx, .csv, .geojson, .kml,
.srt) and .json: GeoJSON, or an object with labels (city, state, country, continent, split) and one position (lat and
lon) for all of the sample.
"""

import fcntl
import logging
import math
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from vgeo.errors import FormatError, InputError, OutputError, first_line, writing_failed
from vgeo.formats.streams import file_name, parse_json, read_text

log = logging.getLogger(__name__)

SUFFIX = ".tar"
LABELS = ("city", "state", "country", "continent", "split")
_TRACKS = (".gpx", ".csv", ".geojson", ".kml", ".srt")
_LAT, _LON = ("lat", "latitude", "lat_deg"), ("lon", "lng", "longitude", "lon_deg")
_JSON_BYTES = 2**24
_FOLDER = "vgeo-tar-"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: its path there, and where its bytes lie."""

    name: str
    offset: int
    size: int

    @property
    def key(self) -> str:
        """What files of one sample share."""
        path = PurePosixPath(self.name)
        return str(path.parent / path.name.partition(".")[0])

    @property
    def suffix(self) -> str:
        """As .mp4; of several, the last."""
        return PurePosixPath(self.name).suffix.lower()


def members_of(path: Path) -> list[Member]:
    """The files of a tar, without what is hidden, a link or a device. Raises InputError, FormatError.

    Of a tar that ends too early those before the end are there.
    """
    found: list[Member] = []
    try:
        with tarfile.open(path, "r:") as tar:
            try:
                for entry in tar:
                    base = PurePosixPath(entry.name).name
                    if entry.isreg() and not entry.sparse and base and not base.startswith("."):  # ._x of macOS, too
                        found.append(Member(entry.name, entry.offset_data, entry.size))
                    tar.members = []  # type: ignore[attr-defined]  # else it keeps millions
            except (tarfile.TarError, ValueError, OverflowError) as error:
                log.warning("%s: ends in the middle (%s); what comes before is taken", path, first_line(error))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise FormatError(
            f"{path}: not a tar that can be read ({first_line(error)}); compressed ones are not"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return found


@dataclass(frozen=True, slots=True)
class Sample:
    """A clip in a tar: one video, or pictures, and what lies beside it."""

    media: tuple[Member, ...]
    beside: tuple[Member, ...] = ()


class Unpacked:
    """The files of one sample in a temporary folder, until `close`.

    path: the video, the picture or the folder of pictures. labels, latlon_deg: what its .json says. The folders that
    killed processes left behind go, when the next sample is unpacked.
    Raises FormatError where the tar has not all of it, OutputError, DiskError.
    """

    def __init__(self, tar: Path, video_id: str, sample: Sample) -> None:
        _sweep()
        self._tar = tar
        self._folder, self._lock = _own_folder()
        self.labels: dict[str, str] = {}
        self.latlon_deg: tuple[float, float] | None = None
        stem = file_name(video_id)
        try:
            if len(sample.media) == 1:
                self.path = self._folder / (stem + sample.media[0].suffix)
                self._copy(sample.media[0], self.path)
            else:
                self.path = self._folder / stem
                self.path.mkdir()
                for member in sample.media:
                    self._copy(member, self.path / file_name(PurePosixPath(member.name).name))
            for member in sample.beside:
                self._beside(member, stem)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def speak_of(self, name: str, text: str) -> str:
        """A text in which the tar's clip stands for its unpacked files."""
        return text.replace(str(self.path), name).replace(str(self._folder), str(self._tar))

    def close(self) -> None:
        """Remove the folder."""
        if self._lock >= 0:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _beside(self, member: Member, stem: str) -> None:
        """Unpack a track, or read the sample's .json; other files are not ours."""
        if member.suffix in _TRACKS:
            self._copy(member, self._folder / (stem + member.suffix))
        elif member.suffix == ".json" and member.size <= _JSON_BYTES:
            target = self._folder / (stem + member.suffix)
            self._copy(member, target)
            said = parse_json(read_text(target, _JSON_BYTES), f"{self._tar}:{member.name}")
            target.unlink()
            if isinstance(said, dict) and "Feature" in str(said.get("type")):
                self._copy(member, target.with_suffix(".geojson"))
            elif isinstance(said, dict):
                self.labels |= {name: str(said[name]) for name in LABELS if isinstance(said.get(name), str | int)}
                self.latlon_deg = _position(said)

    def _copy(self, member: Member, target: Path) -> None:
        try:
            with self._tar.open("rb") as source, target.open("xb") as copy:
                left = member.size
                source.seek(member.offset)
                while left and (piece := source.read(min(left, 2**20))):
                    copy.write(piece)
                    left -= len(piece)
        except FileExistsError as error:
            raise FormatError(f"{self._tar}: holds {member.name} twice") from error
        except OSError as error:
            raise writing_failed(target, error, "set TMPDIR to a folder with room") from error
        if left:
            raise FormatError(f"{self._tar}: ends in the middle of {member.name}, {left} bytes of it are missing")


def _position(said: Mapping[str, Any]) -> tuple[float, float] | None:
    """One position for a whole sample, under the names that are in use; None where there is none on Earth."""
    lower = {str(name).lower(): value for name, value in said.items()}
    values = [next((lower[name] for name in names if name in lower), None) for names in (_LAT, _LON)]
    try:
        lat, lon = (float(value) for value in values)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return (lat, lon) if math.isfinite(lat + lon) and abs(lat) <= 90 and abs(lon) <= 180 else None


def _own_folder() -> tuple[Path, int]:
    """Make a temporary folder, and lock it. Raises OutputError."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
        except OSError as error:
            raise OutputError(f"{tempfile.gettempdir()}: cannot be written ({error.strerror}); set TMPDIR") from error
        with suppress(FileNotFoundError):  # swept by another process before the lock was there
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _sweep() -> None:
    """Remove the folders of processes that are gone: the lock of each folder ended with its process."""
    for path in Path(tempfile.gettempdir()).glob(_FOLDER + "*"):
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)
