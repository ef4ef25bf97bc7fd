"""A video file as a source of frames, decoded in another process: whatever its decoder does costs this clip only."""

import logging
import os
import shlex
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from vgeo import errors
from vgeo.errors import FormatError, VgeoError
from vgeo.records import Floats
from vgeo.video.child import encode_path
from vgeo.video.children import CHILDREN, Children, LostError, NoChildError
from vgeo.video.messages import Message
from vgeo.video.pixels import Pixels, Shape
from vgeo.video.recording import VideoSource
from vgeo.video.telemetry import Fixes

log = logging.getLogger(__name__)


class IsolatedVideo:
    """What `VideoSource` is, asked of another process. Close it, so that the process can be used for the next clip.

    Raises InputError, FormatError (also where the process crashes, hangs or needs too much memory) or
    MissingModelError; NoChildError where no process can be started.
    """

    presampled = False

    def __init__(self, path: Path, decoder: str, children: Children = CHILDREN) -> None:
        self._path = path
        self._child = children.take()
        self._let_go = weakref.finalize(self, children.give_back, self._child)
        folder = "" if path.is_absolute() else encode_path(os.getcwd())
        try:
            words, raw = self._ask("opening it", do="open", path=encode_path(path), folder=folder, decoder=decoder)
        except BaseException:
            self.close()
            raise
        self.time_s: Floats = raw.view(np.float64)
        self.frame_index = np.arange(len(self.time_s), dtype=np.int64)
        self.duration_s = float(words["duration_s"])
        self.declared: int | None = words["declared"]
        self.start_utc: datetime | None = _time(words["start_utc"])
        self.labels: dict[str, str] = {}
        self._remarks: list[str] = words["remarks"]

    def close(self) -> None:
        """Give the process back."""
        self._let_go()

    def carried(self) -> tuple[Fixes | None, str]:
        """GoPro telemetry."""
        words, raw = self._ask("reading its telemetry", do="carried")
        if not words["fixes"]:
            return None, str(words["remark"])
        table = raw.view(np.float64).reshape(-1, 3)
        start = _time(words["start_utc"])
        return Fixes(time_s=table[:, 0], latlon_deg=table[:, 1:], start_utc=start), str(words["remark"])

    def images(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        """Decode the wanted rows."""
        came = 0
        message = self._ask("decoding", do="images", rows=list(rows), size=shape.size, square=shape.square)
        while message[0]["is"] == "image":
            self._child.idle = False  # whoever leaves here leaves it at work
            with self._told("decoding", came, len(rows)):
                image = self._child.image(message)
            yield int(message[0]["row"]), image
            came += 1
            message = self._answer("decoding", came, len(rows))
        self._child.end_images()
        self._remarks = message[0]["remarks"]

    def remarks(self) -> list[str]:
        """What `VideoSource` remarks, complete after the last image."""
        return list(self._remarks)

    def _ask(self, doing: str, **request: Any) -> Message:
        with self._told(doing):
            self._child.ask(request)
        return self._answer(doing)

    def _answer(self, doing: str, came: int = 0, wanted: int = 0) -> Message:
        """The next message. Raises what the process says it cannot do, or FormatError for what became of it."""
        with self._told(doing, came, wanted):
            words, raw = self._child.receive()
            self._child.idle = True
            if words["is"] == "no memory":
                raise LostError("needs more memory than it may have")
        if words["is"] == "error":
            kind = getattr(errors, str(words["kind"]), FormatError)
            raise kind(words["said"]) if issubclass(kind, VgeoError) else FormatError(words["said"])
        if words["is"] == "os error":
            raise OSError(words["number"], words["said"], str(self._path))
        if words["is"] == "fault":
            raise RuntimeError(f"the process that decodes {self._path} failed:\n{words['said']}")
        return words, raw

    @contextmanager
    def _told(self, doing: str, came: int = 0, wanted: int = 0) -> Iterator[None]:
        """Have the loss of the process said of the clip."""
        try:
            yield
        except LostError as error:
            when = f" after {came} of {wanted} wanted frames" if wanted else ""
            way_out = f"try to convert it: ffmpeg -i {shlex.quote(str(self._path))} converted.mp4"
            raise FormatError(f"{self._path}: {doing} {error}{when}; {way_out}") from error


def open_video(path: Path, decoder: str) -> IsolatedVideo | VideoSource:
    """Open a video to be decoded in another process, or in this one where none can be started, which is said once.

    Raises InputError, FormatError, MissingModelError.
    """
    try:
        return IsolatedVideo(path, decoder)
    except NoChildError as error:
        if not _said:
            _said.append(str(error))
            log.warning("no process for decoding can be started (%s): a video that crashes FFmpeg ends this", error)
        return VideoSource(path, decoder)


_said: list[str] = []


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
