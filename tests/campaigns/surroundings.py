"""What a program may find itself in: terminals, closed streams, folders that cannot be written, no network, no home.

Each function is called in the fork before the command begins (`before` of `forks.fork`), or makes one that is.
"""

import ctypes
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Before = Callable[[], None]
_CLONE_NEWNET = 0x40000000
_OUTLIVES_S = 2  # that a child may outlive the process that started it
_CAPABILITIES_3 = 0x20080522
_IGNORED_RIGHTS = (1, 2, 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER: with them root writes anywhere


def several(*befores: Before) -> Before:
    """One after the other."""

    def all_() -> None:
        for before in befores:
            before()

    return all_


def no_privileges() -> None:
    """Give up root's right to write what permissions forbid; a user has none."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Data(ctypes.Structure):
        _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))

    libc, header, data = ctypes.CDLL(None, use_errno=True), Header(_CAPABILITIES_3, 0), (Data * 2)()
    if libc.capget(ctypes.byref(header), data) == 0:
        for right in _IGNORED_RIGHTS:
            for kept in ("effective", "permitted", "inheritable"):
                setattr(data[0], kept, getattr(data[0], kept) & ~(1 << right))
        libc.capset(ctypes.byref(header), data)


def refuses_writing(folder: Path) -> bool:
    """Whether `no_privileges` works here: a kernel may know no capabilities."""
    child = os.fork()
    if child == 0:
        no_privileges()
        try:
            (folder / "probe").touch()
        except PermissionError:
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def without(*names: str) -> Before:
    """Take variables out of the environment, as `env -u` does."""
    return lambda: [os.environ.pop(name, None) for name in names] and None  # type: ignore[func-returns-value]


def closed(*numbers: int) -> Before:
    """Close standard streams, as `<&-` and `>&-` do: Python has None where one was."""

    def close() -> None:
        for number in numbers:
            os.close(number)
            setattr(sys, ("stdin", "stdout", "stderr")[number], None)

    return close


def onto(number: int, path: str) -> Before:
    """Put a standard stream on a device such as /dev/full."""

    def put() -> None:
        handle = os.open(path, os.O_RDWR)
        os.dup2(handle, number)
        os.close(handle)
        _anew(number)

    return put


def _anew(number: int) -> None:
    """Open a standard stream again: one that was a file still thinks that it can seek."""
    setattr(sys, ("stdin", "stdout", "stderr")[number], open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def reader_gone() -> None:
    """stdout is a pipe that nobody reads any more."""
    reads, writes = os.pipe()
    os.dup2(writes, 1)
    _anew(1)
    os.close(writes)
    os.close(reads)


def no_network(notes: Path) -> Before:
    """Leave the network, and note in a file each attempt to reach another machine."""

    def leave() -> None:
        ctypes.CDLL(None).unshare(_CLONE_NEWNET)
        handle = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            asks = event in ("socket.getaddrinfo", "socket.gethostbyname")
            if asks or (event == "socket.connect" and args[0].family != socket.AF_UNIX):
                os.write(handle, f"{event} {args[0] if asks else args[1]}\n".encode())

        sys.addaudithook(hook)
        real = socket.getaddrinfo

        def unreachable(*args: Any, **named: Any) -> Any:  # at once, where it could take a resolver's patience
            if args and args[0] in ("127.0.0.1", "localhost", "::1"):
                return real(*args, **named)
            sys.audit("socket.getaddrinfo", *args[:2])
            raise socket.gaierror(errno.ENETUNREACH, "no network")

        socket.getaddrinfo = unreachable

    return leave


def gone_folder() -> None:
    """The folder that the run is in is deleted under it."""
    path = Path.cwd() / "gone"
    path.mkdir()
    os.chdir(path)
    path.rmdir()


class Terminal:
    """A terminal for stderr; what is drawn on it is in `drawn` when the run is over."""

    def __init__(self, columns: int = 100) -> None:
        import fcntl
        import struct
        import termios

        self.drawn = b""
        self._ours, self._theirs = os.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def before(self) -> None:
        os.dup2(self._theirs, 2)
        _anew(2)
        for name in ("CI", "GITHUB_ACTIONS", "NO_COLOR", "COLUMNS"):
            os.environ.pop(name, None)
        os.environ["TERM"] = "xterm-256color"

    def meanwhile(self, _child: int) -> None:
        """Read what is drawn, so that the terminal does not fill; the reader ends with the run's own end of it."""
        os.close(self._theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                some = os.read(self._ours, 1 << 16)
            except OSError:
                return
            if not some:
                return
            self.drawn += some

    def close(self) -> str:
        """What was drawn."""
        self._reader.join(timeout=5)
        os.close(self._ours)
        return self.drawn.decode(errors="replace")


def signalled(number: signal.Signals, after_s: float, living: list[str]) -> Callable[[int], None]:
    """`meanwhile`: send a signal to all processes of the run, as a terminal's Ctrl-C; note who outlives the first."""

    def watch(child: int) -> None:
        time.sleep(max(0.05, after_s))  # what a fork needs before the command begins
        with suppress(ProcessLookupError):
            os.killpg(child, number)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        end = time.monotonic() + _OUTLIVES_S
        while (left := _group(child)) and time.monotonic() < end:
            time.sleep(0.02)
        living.extend(left)

    return watch


def _group(leader: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
        except (OSError, UnicodeDecodeError):
            continue
        state, _, group = tail.split()[:3]
        if int(group) == leader and int(head.split(" ")[0]) != leader and state != "Z":
            found.append(head)
    return found
