"""Killing a run of vgeo, at some moment or at its n-th change of the disk, and seeing what it left behind.

`watch` runs in the fork: it wraps the calls that change a disk (files opened to be written, bytes, fsync, names made,
moved and removed), notes each in a file, and ends the process by SIGKILL right before or right after the one it is
told, a write in its middle. What a C library writes by itself is not seen; vgeo lets none.
"""

import builtins
import io
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forks

OUTLIVES_S = 2  # seconds that a process may outlive the one that started it


@dataclass(frozen=True, slots=True)
class At:
    """A change of the disk: its number, from 1, and on which side of it the process ends."""

    number: int
    after: bool


@dataclass(frozen=True, slots=True)
class Event:
    """What was done to which file or folder, or to two of them."""

    kind: str
    paths: tuple[str, ...]


class _Steps:
    """Notes each step, and dies at the one it is told."""

    def __init__(self, notes: Path, at: At | None) -> None:
        self._notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._at, self._count, self._write = at, 0, os.write

    def note(self, kind: str, *paths: Any) -> None:
        words = [_name(path) for path in paths]
        self._write(self._notes, (json.dumps([kind, *words]) + "\n").encode())

    def step(self, kind: str, paths: tuple[Any, ...], act: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        self._count += 1
        self.note(kind, *paths)
        here = self._at is not None and self._at.number == self._count
        if here and self._at is not None and not self._at.after:
            if half is not None:
                half()
            _die()
        found = act()
        if here:
            _die()
        return found


def watch(notes: Path, at: At | None) -> None:
    """Wrap what changes a disk; called in the fork, before vgeo begins."""
    steps = _Steps(notes, at)
    for name, paths in (("rename", 2), ("replace", 2), ("link", 2), ("unlink", 1), ("remove", 1), ("mkdir", 1),
                        ("rmdir", 1), ("fsync", 1)):  # fmt: skip
        setattr(os, name, _wrapped(steps, name, getattr(os, name), paths))
    _wrap_opening(steps)
    from vgeo.formats import unfinished

    swap = unfinished.swap
    unfinished.swap = lambda new, old: steps.step("exchange", (new, old), lambda: swap(new, old), None)
    _note_items(steps)


def _note_items(steps: _Steps) -> None:
    """Note what is begun: an input of a batch; an epoch, when it has been computed; so a part of a gallery's keys."""
    from vgeo.stages.batch import Batch
    from vgeo.stages.key_parts import KeyParts
    from vgeo.training.run import Run

    item, finish, write = Batch.item, Run._finish, KeyParts.write

    def begin_item(self: Batch, name: str) -> Any:
        steps.note("begin", f"={name}")
        return item(self, name)

    def begin_epoch(self: Run, result: Any, left: int) -> None:
        steps.note("begin", f"={result.phase} {result.epoch}")
        finish(self, result, left)

    def begin_part(self: KeyParts, number: int, keys: Any) -> None:
        steps.note("begin", f"={number}")
        write(self, number, keys)

    Batch.item, Run._finish, KeyParts.write = begin_item, begin_epoch, begin_part  # type: ignore[method-assign]


def _wrapped(steps: _Steps, kind: str, real: Callable[..., Any], paths: int) -> Callable[..., Any]:
    def call(*args: Any, **more: Any) -> Any:
        folder = more.get("dir_fd")  # rmtree names what it removes by its folder's handle
        named = args[:paths] if folder is None else (Path(_name(folder)) / os.fsdecode(args[0]),)
        return steps.step(kind, named, lambda: real(*args, **more), None)

    return call


def _wrap_opening(steps: _Steps) -> None:
    real_open, real_os_open = io.open, os.open

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            part = memoryview(data)[: len(data) // 2]
            write = super().write
            done: int = steps.step("write", (self.fileno(),), lambda: write(data), lambda: write(part))
            return done

    def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
               newline: Any = None, closefd: bool = True, opener: Any = None) -> Any:  # fmt: skip
        if not set(mode) & set("wax") or "+" in mode or buffering == 0:
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw_mode = mode.replace("b", "").replace("t", "")
        make = lambda: Raw(file, raw_mode, closefd, opener)  # noqa: E731
        raw = make() if isinstance(file, int) else steps.step("open", (file,), make, None)
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def os_opened(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if not flags & os.O_CREAT:
            return real_os_open(path, flags, mode, **more)
        handle: int = steps.step("open", (path,), lambda: real_os_open(path, flags, mode, **more), None)
        return handle

    builtins.open = io.open = opened  # type: ignore[assignment]
    os.open = os_opened


def _name(path: Any) -> str:
    """The absolute path of a file or folder that is named, or open under a number; other words stay."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    text = os.fsdecode(path)
    return text if text.startswith("=") else os.path.abspath(text)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def read_notes(notes: Path) -> tuple[list[Event], list[str]]:
    """The changes of the disk in their order, and the inputs that were begun. The notes go."""
    events, begun = [], []
    for line in notes.read_text().splitlines() if notes.exists() else []:
        kind, *paths = json.loads(line)
        if kind == "begin":
            begun.append(paths[0].removeprefix("="))
        else:
            events.append(Event(kind, tuple(paths)))
    notes.unlink(missing_ok=True)
    return events, begun


def run(
    args: list[str],
    folder: Path,
    notes: Path,
    *,
    at: At | None = None,
    after_s: float | None = None,
    env: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> tuple[forks.Ran, list[str]]:
    """Run vgeo, killed at a step or after a time, or not at all; also what outlived it, as command lines.

    Only the process itself is killed: what it started must see that it is gone.
    """
    outlived: list[str] = []

    def prepare() -> None:
        import tempfile

        tempfile.tempdir = None  # of the environment of this run
        watch(notes, at)
        if before is not None:
            before()

    def meanwhile(child: int) -> None:
        if after_s is not None:
            time.sleep(after_s)
            os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        deadline = time.monotonic() + OUTLIVES_S
        while (left := _others(child, folder)) and time.monotonic() < deadline:
            time.sleep(0.01)
        outlived.extend(left)

    return forks.fork(args, folder, env=env, before=prepare, meanwhile=meanwhile), outlived


def _others(leader: int, folder: Path) -> list[str]:
    """Processes of the leader's group, or that work in its folder, besides itself."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == leader:
            continue
        try:
            if Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue  # dead, and nobody has asked after it
            ours = os.getpgid(int(entry)) == leader or os.readlink(f"/proc/{entry}/cwd") == str(folder)
            if ours:
                found.append(Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:80] or entry)
        except OSError:
            continue
    return found
