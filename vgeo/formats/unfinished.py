"""Files and folders that are not finished yet: how they are named, put on disk, and exchanged for what was there.

An unfinished file is locked as long as it is written, and has one name for each target. So the next process that writes
the same target tells what a killed one left, and takes its place; what another one is writing just now it leaves alone.
"""

import ctypes
import fcntl
import hashlib
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path

SUFFIX = ".partial"
_LONGEST = 200  # bytes of a name that go into another one; file systems take 255


def begin_file(target: Path) -> tuple[int, Path]:
    """Create the file that is to become `target` when it is finished: its handle and its path. Raises OSError."""
    path = target.with_name(f".{_short(target.name)}{SUFFIX}")
    _remove_left(path)
    with suppress(FileExistsError):
        handle = _create(path)
        if _hold(handle, path):
            return handle, path
        os.close(handle)  # what takes it for left has removed it by now, or will
    path = target.with_name(f".{_short(target.name)}.{secrets.token_hex(4)}{SUFFIX}")  # another process writes the same
    return _create(path), path


def sync(path: Path) -> None:
    """Put a file on disk, or the names in a folder. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Put the names in a folder on disk; not every file system lets a folder be opened."""
    with suppress(OSError):
        sync(path)


def sync_folders(path: Path) -> None:
    """Put the names in a folder and in all below it on disk."""
    for folder, _, _ in os.walk(path, topdown=False):
        sync_folder(Path(folder))


def exchange(new: Path, old: Path) -> None:
    """Swap two folders' names: in one step where the system can, else by three renames. Raises OSError."""
    if swap(new, old):
        return
    aside = old.with_name(new.name + ".old")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)


def swap(new: Path, old: Path) -> bool:
    """Swap two names in one step by Linux's renameat2; False where that cannot be done."""
    at_cwd, swapping = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    return rename is not None and rename(at_cwd, os.fsencode(new), at_cwd, os.fsencode(old), swapping) == 0


def _short(name: str) -> str:
    raw = os.fsencode(name)
    return name if len(raw) <= _LONGEST else f"{name[:40]}.{hashlib.sha256(raw).hexdigest()[:16]}"


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _remove_left(path: Path) -> None:
    """Remove a file that nobody writes any more."""
    with suppress(OSError):  # not there, or something else, or in use
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if _hold(handle, path):
                path.unlink()
        finally:
            os.close(handle)


def _hold(handle: int, path: Path) -> bool:
    """Lock an open file; False where another process has it, or the name is another file's by now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
