"""The folder that extract-frames fills: frames/<video_id>/000123.jpg, and frames.jsonl that names them all.

A video's pictures are written into a hidden folder that is renamed when the last of them is on disk, so a video's
folder is complete or not there. Each has a frames.jsonl of its own and says in clip.json what it was made from; the
folder's frames.jsonl joins them, and clips.csv names the cities of those that have one. settings.json says how all
were made.
"""

import io
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgeo.errors import BusyError, FormatError, InputError, OutputError, SettingError, writing_failed
from vgeo.formats.claims import Claims
from vgeo.formats.clip_table import update_clip_table
from vgeo.formats.frames import format_frames, read_frames
from vgeo.formats.streams import (
    dump_json,
    file_name,
    make_folder,
    parse_json,
    read_bytes,
    read_text,
    write_output,
)
from vgeo.formats.unfinished import exchange, sync
from vgeo.records import FrameRecord

FRAMES_FILE = "frames.jsonl"
SETTINGS_FILE, CLIP_FILE = "settings.json", "clip.json"
_PARTIAL = ".partial"
Fingerprint = list[list[str | int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedVideo:
    """What is on disk of a video: its frames, and clip.json."""

    records: list[FrameRecord]
    facts: dict[str, Any]


class FrameFolder:
    """A folder of frames that this process fills, perhaps with others. Use as a context; leaving it joins frames.jsonl.

    settings: what decides how frames come out. A folder made with others is refused (SettingError) unless `overwrite`,
    which removes the frames that were made with them. claims: which videos others work on.
    Raises OutputError, BusyError.
    """

    def __init__(self, path: Path, settings: dict[str, Any], overwrite: bool = False) -> None:
        self._made = not path.exists()
        self.path = make_folder(path)
        if not os.access(path, os.W_OK):
            raise OutputError(f"{path}: cannot be written; choose another folder with --out")
        self.claims = Claims(path, path, overwrite)
        with self.claims.entering() as alone:
            self._take_over(settings, overwrite, alone)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.claims.leaving() as last:
            if self._videos():
                self._join(last)
            elif last:
                (self.path / SETTINGS_FILE).unlink(missing_ok=True)
        if self._made:  # and left without a video
            with suppress(OSError):
                self.path.rmdir()

    def finished(self, video_id: str, fingerprint: Fingerprint) -> FinishedVideo | None:
        """What is there of a video that was finished before from the same files, else None."""
        folder = self.folder_of(video_id)
        try:
            facts = parse_json(read_text(folder / CLIP_FILE), video_id)
            if not isinstance(facts, dict) or facts.get("made_from") != fingerprint:
                return None
            return FinishedVideo(records=read_frames(folder / FRAMES_FILE), facts=facts)
        except (InputError, FormatError):  # not there, or not whole
            return None

    def relabel(self, video_id: str, found: FinishedVideo, labels: Mapping[str, str]) -> bool:
        """Give a finished video these labels, where it has others; its pictures stay. Raises DiskError."""
        if all(record.labels == labels for record in found.records):
            return False
        records = [replace(record, labels=dict(labels)) for record in found.records]
        write_output(self.folder_of(video_id) / FRAMES_FILE, format_frames(records))
        return True

    def video(self, video_id: str) -> "VideoFrames":
        """Begin a video. Raises OutputError when a folder of that name is there which this program did not make."""
        final = self.folder_of(video_id)
        if final.exists() and not (final / CLIP_FILE).is_file():
            raise OutputError(f"{final}: exists and was not made by extract-frames; choose another folder with --out")
        return VideoFrames(final)

    def take(self, video: Path) -> None:
        """Have a finished video of another folder, too: linked, or copied. Raises OutputError, DiskError."""
        final = self.path / video.name
        if final.exists():
            shutil.rmtree(final) if (final / CLIP_FILE).is_file() else self.video(video.name)
        with VideoFrames(final) as frames:
            frames.finish_as(video)

    def remove(self, video_id: str) -> None:
        """Remove a video that was made here before."""
        folder = self.folder_of(video_id)
        if (folder / CLIP_FILE).is_file():
            (folder / CLIP_FILE).unlink()  # first: what is half removed is no video
            shutil.rmtree(folder)

    def folder_of(self, video_id: str) -> Path:
        """Where a video's frames are: in this folder, whatever an id from a stranger's frames.jsonl says."""
        return self.path / file_name(video_id)

    def _join(self, last: bool) -> None:
        """Write frames.jsonl of all finished videos, and clips.csv, unless another process has joined the same.

        last: no other process is there; one of these may be replacing a video, and joins it afterwards.
        """
        folders = self._videos()
        state = "".join(f"{folder.name} {fingerprint([folder / FRAMES_FILE])}\n" for folder in folders)
        if self.claims.note("joined") == state:
            return
        records: list[FrameRecord] = []
        for folder in folders:
            with suppress(*(() if last else (InputError, FormatError))):
                records += [replace(r, path=f"{folder.name}/{r.path}") for r in read_frames(folder / FRAMES_FILE)]
        write_output(self.path / FRAMES_FILE, format_frames(records))
        update_clip_table(self.path, records)
        if not last:
            self.claims.note("joined", state)

    def _videos(self) -> list[Path]:
        folders = [entry for entry in self.path.iterdir() if (entry / CLIP_FILE).is_file() and entry.name[0] != "."]
        return sorted(folders, key=lambda folder: [int(p) if p.isdecimal() else p for p in _split(folder.name)])

    def _take_over(self, settings: dict[str, Any], overwrite: bool, alone: bool) -> None:
        file = self.path / SETTINGS_FILE
        for leftover in self.path.glob(f".*{_PARTIAL}") if alone else ():
            shutil.rmtree(leftover, ignore_errors=True)
        if file.is_file() and (self._videos() or not alone):
            before = parse_json(read_text(file), file)
            different = differences(before if isinstance(before, dict) else {}, settings)
            if different and not overwrite:
                raise SettingError(
                    f"{self.path}: was made with {different}; use the same, --overwrite, or --out for another folder"
                )
            if different and not alone:
                raise BusyError(f"{self.path}: other processes fill it with {different}; wait for them")
            if different:
                for folder in self._videos():
                    shutil.rmtree(folder)
        elif (self.path / FRAMES_FILE).exists() and not overwrite:
            raise OutputError(
                f"{self.path / FRAMES_FILE}: exists and was not made by extract-frames; use another --out"
            )
        if alone:
            write_output(file, dump_json(settings, indent=1))


class VideoFrames:
    """The frames of one video while they are written; `finish` makes them appear, leaving without it drops them."""

    def __init__(self, final: Path) -> None:
        self._final, self._partial = final, final.with_name(f".{final.name}{_PARTIAL}")
        self.records: list[FrameRecord] = []

    def __enter__(self) -> Self:
        shutil.rmtree(self._partial, ignore_errors=True)
        make_folder(self._partial)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, image: NDArray[np.uint8], record: FrameRecord, quality: int) -> None:
        """Write one frame [H, W, 3] as JPEG; `record.path` is set here. Raises DiskError."""
        name = f"{record.frame_index:06d}.jpg"
        data = io.BytesIO()
        Image.fromarray(image).save(data, "JPEG", quality=quality)
        self._write(name, data.getvalue())
        self.records.append(replace(record, path=name))

    def finish(self, made_from: Fingerprint, facts: dict[str, Any]) -> None:
        """Put everything on disk and give the video its name, replacing what was there. Raises DiskError."""
        self._write(FRAMES_FILE, format_frames(self.records).encode())
        self._write(CLIP_FILE, dump_json({"made_from": made_from, **facts}, indent=1).encode())
        self._appear()

    def finish_as(self, video: Path) -> None:
        """Be the same as a finished video elsewhere. Raises DiskError."""
        for entry in sorted(video.iterdir()):
            try:
                os.link(entry, self._partial / entry.name, follow_symlinks=False)
            except OSError:  # another file system, or one without links
                self._write(entry.name, read_bytes(entry))
        self._appear()

    def _appear(self) -> None:
        try:
            for entry in [*self._partial.iterdir(), self._partial]:
                sync(entry)
            if self._final.exists():
                exchange(self._partial, self._final)  # the old one goes with what is left under the other name
            else:
                self._partial.rename(self._final)
            sync(self._final.parent)
        except OSError as error:
            raise writing_failed(self._final, error, "finished videos are kept") from error

    def _write(self, name: str, data: bytes) -> None:
        try:
            with (self._partial / name).open("wb") as file:
                file.write(data)
        except OSError as error:
            raise writing_failed(self._final / name, error, "finished videos are kept", len(data)) from error


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """Names, sizes and times of files: tells whether frames were made from the same ones."""
    found: Fingerprint = []
    for path in paths:
        with suppress(OSError):
            state = path.stat()
            found.append([path.name, state.st_size, state.st_mtime_ns])
    return found


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say how two settings.json differ; "" when they do not."""
    names = [name for name in now | before if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)} (now {now.get(name)})" for name in names)


def _split(name: str) -> list[str]:
    return re.split(r"(\d+)", name)
