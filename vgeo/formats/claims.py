"""Several processes that fill one store: each item is claimed by one of them, and none does what another has done.

Where they meet is a hidden folder of the store, which the last of them removes:

    present   locked by every process together, so that each can tell whether it is the only one
    gate      locked by one process for the moment in which it comes, joins results or leaves
    mode      whether the store is filled or made anew (--overwrite): all of them do the same
    <hash>    one file an item: locked while somebody works on it, and then what came of it

All are flock's, which the kernel takes from whoever dies, however it dies; they hold over NFS too. A process must not
leave children that outlive it: `flock` is inherited.
"""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgeo.errors import BusyError, OutputError, writing_failed
from vgeo.formats.streams import dump_json

FOLDER = ".claims"
_GATE, _PRESENT, _MODE = "gate", "present", "mode"
_TRIES = 1000  # at a folder that others remove while this process comes in


@dataclass(slots=True, eq=False)
class Claim:
    """One item: this process's to work on, until `settle` or `drop`; or settled, with what came of it elsewhere."""

    settled: dict[str, Any] | None = None
    _handle: int = -1
    _stamp: str = ""

    def settle(self, said: dict[str, Any]) -> None:
        """Let go of the item, and tell the others what came of it."""
        if self._handle < 0:
            return
        with suppress(OSError):  # of a full disk: then the others look whether it is in the store
            os.pwrite(self._handle, dump_json({"stamp": self._stamp, "said": said}).encode(), 0)
        self.drop()

    def drop(self) -> None:
        """Let go of the item; whoever claims it next works on it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Claims:
    """This process among those that fill a store: come in by `entering`, go by `leaving`.

    store: a folder, made if need be. name: what people call it. overwrite: the store is made anew.
    """

    def __init__(self, store: Path, name: Path, overwrite: bool = False) -> None:
        self.name, self.overwrite = name, overwrite
        self._folder = store / FOLDER
        self._present = -1

    @contextmanager
    def entering(self) -> Iterator[bool]:
        """Come in, unless the block raises. Yields whether no other process is here: only then may it tidy up.

        Raises BusyError where others make the store anew and this one does not, or the other way round; OutputError
        where nothing can be locked.
        """
        with self._gate():
            self._present = _open(self._folder / _PRESENT)
            try:
                alone = _lock(self._present, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if alone:
                    self._sweep()
                    (self._folder / _MODE).write_text("overwrite" if self.overwrite else "fill")
                elif (self._folder / _MODE).read_text() != ("overwrite" if self.overwrite else "fill"):
                    raise BusyError(
                        f"{self.name}: other processes fill it, {'not ' * self.overwrite}with --overwrite; "
                        "wait for them or choose another --out"
                    )
                yield alone
                _lock(self._present, fcntl.LOCK_SH)
            except OSError as error:
                self._depart()
                raise writing_failed(self._folder, error, "finished items are kept") from error
            except BaseException:
                self._depart()
                raise

    @contextmanager
    def leaving(self) -> Iterator[bool]:
        """Go when the block ends, however it does. Yields whether this process is the last; none joins meanwhile."""
        if self._present < 0:
            yield False
            return
        with self._gate():
            try:
                yield _lock(self._present, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                self._depart()

    def close(self) -> None:
        """Go, if this was not done before."""
        with self.leaving():
            pass

    def claim(self, key: str, stamp: str = "") -> Claim | None:
        """Claim an item; None while another process works on it.

        stamp: what the item is made of; what came of another one with the same key does not settle this one.
        Raises DiskError, OutputError.
        """
        path = self._folder / hashlib.sha256(key.encode(errors="replace")).hexdigest()[:32]
        handle = -1
        try:
            handle = _open(path)
            settled = _read(handle, stamp)
            mine = settled is None and _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if mine:
                settled = _read(handle, stamp)  # just before it was locked
            if mine and settled is None:
                os.ftruncate(handle, 0)
                handle, claimed = -1, handle
                return Claim(None, claimed, stamp)
        except OSError as error:
            raise writing_failed(path, error, "finished items are kept") from error
        finally:
            if handle >= 0:
                os.close(handle)
        return None if settled is None else Claim(settled)

    def note(self, name: str, text: str | None = None) -> str:
        """What the processes have noted under a name, "" for nothing; write it first where there is a text."""
        path = self._folder / f"{name}.note"
        if text is not None:
            path.write_text(text)
        return path.read_text() if path.exists() else ""

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Be the only process that comes, joins or goes."""
        handle = self._open_gate()
        try:
            yield
        finally:
            os.close(handle)

    def _open_gate(self) -> int:
        path = self._folder / _GATE
        for _ in range(_TRIES):
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                handle = _open(path)
            except FileNotFoundError:  # the last one removes the folder
                continue
            except OSError as error:
                raise OutputError(f"{self.name}: cannot be written ({error.strerror})") from error
            try:
                _lock(handle, fcntl.LOCK_EX)
                if os.fstat(handle).st_ino == os.stat(path).st_ino:
                    return handle
            except FileNotFoundError:
                pass
            except OSError as error:
                os.close(handle)
                raise OutputError(f"{self.name}: its file system has no locks ({error.strerror})") from error
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
        raise BusyError(f"{self.name}: other processes come and go; run again")

    def _depart(self) -> None:
        """Go; the last one removes the folder. The gate, which this process holds, goes last: who waits comes anew."""
        last = _lock(self._present, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if last:
            self._sweep()
            for path in (self._folder / _PRESENT, self._folder / _GATE):
                path.unlink(missing_ok=True)
            with suppress(OSError):
                self._folder.rmdir()
        os.close(self._present)
        self._present = -1

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            if path.name not in (_GATE, _PRESENT):
                path.unlink(missing_ok=True)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _lock(handle: int, how: int) -> bool:
    """Lock a file; False where it is another's and `how` does not wait."""
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _read(handle: int, stamp: str) -> dict[str, Any] | None:
    """What is written about an item made of the same; half a text, of a process that was killed, is nothing."""
    try:
        value = json.loads(os.pread(handle, os.fstat(handle).st_size, 0))
        said = value["said"] if value["stamp"] == stamp else None
    except (ValueError, KeyError, TypeError):
        return None
    return said if isinstance(said, dict) else None
