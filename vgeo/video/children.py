"""Processes that decode for this one, started when they are needed and used for clip after clip.

Decoders are large programs in C that read files from strangers: one that crashes, hangs or takes all memory costs its
own process and its own clip.
"""

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

import vgeo
from vgeo.video.messages import Link, Message, NonsenseError, SilenceError
from vgeo.video.pixels import Pixels
from vgeo.video.shelf import Taker, shared_memory

log = logging.getLogger(__name__)

STALL_S = 30.0  # no file needs that long between two packets; a disk that sleeps wakes in ten
# Half of the machine's memory, for the batch goes on beside it; but an address costs nothing until it is used, and
# HEVC of 7680 x 4320 in 10 bits takes 100 MB a picture: 16 for reference, 2 a thread, and the RGB of the one shown.
_MEMORY_SHARE = 0.5
_LEAST_MEMORY_BYTES = 6 * 2**30
_END_S = 5.0  # to be gone after its pipe has closed


_Answer = Future["subprocess.Popen[bytes]"]


class NoChildError(Exception):
    """No process can be started here."""


class LostError(Exception):
    """The process is gone, or was ended because it did not answer. Says how, as a clause without a subject."""


class Child:
    """One process and the pipes to it. Used by one thread at a time."""

    def __init__(self, process: "subprocess.Popen[bytes]", shared: int | None, stall_s: float) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._shared, self._stall_s = process, shared, stall_s
        self._link = Link(os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()))
        process.stdin.close()
        process.stdout.close()
        self._taker = Taker(self._link, shared)
        self.idle = False  # whether all that was asked has been answered
        self._closed = False

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ask(self, words: dict[str, Any]) -> None:
        """Send a request. Raises LostError."""
        self.idle = False
        try:
            self._link.send(words)
        except BrokenPipeError:
            raise LostError(self._how_it_ended()) from None

    def leave(self) -> bool:
        """Have it close its clip, which it does not answer; False where it is gone."""
        try:
            self._link.send({"do": "close"})
        except BrokenPipeError:
            return False
        return True

    def receive(self, stall_s: float | None = None) -> Message:
        """Return the next message that is more than a sign of life. Raises LostError."""
        limit_s = stall_s or self._stall_s
        try:
            while True:
                words, raw = self._link.receive(limit_s)
                if words.get("is") == "log":
                    logging.getLogger(str(words["logger"])).log(int(words["level"]), "%s", words["said"])
                elif words.get("is") != "alive":
                    return words, raw
        except SilenceError:
            self.end()
            raise LostError(f"was ended, for it made no progress for {limit_s:g} s") from None
        except NonsenseError:
            raise self._nonsense() from None
        except (EOFError, ConnectionError):
            raise LostError(self._how_it_ended()) from None

    def image(self, message: Message) -> Pixels:
        """The image of a message. Raises LostError."""
        try:
            return self._taker.image(message)
        except NonsenseError:
            raise self._nonsense() from None

    def end_images(self) -> None:
        """Let go of the memory in which images came."""
        self._taker.end()

    def end(self) -> None:
        """Kill the process, unless it is gone, and let go of the pipes."""
        self.idle = False
        if not self._closed:
            self._closed = True
            self._process.kill()
            self._process.wait()
            self._close()

    def forget(self) -> None:
        """Let go of the pipes in a fork of the process that it belongs to."""
        if not self._closed:
            self._closed = True
            self._process.returncode = 0  # not this process's child, so nothing to wait for
            self._close()

    def _close(self) -> None:
        self._link.close()
        self._taker.end()
        if self._shared is not None:
            os.close(self._shared)

    def _nonsense(self) -> LostError:
        self.end()
        return LostError("was ended, for it sent nonsense")

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self.end()
        code = self._process.returncode
        if code >= 0:
            return f"ended with exit code {code}"
        hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
        return f"ended by signal {-code} ({signal.strsignal(-code) or 'unknown'}{hint})"


class Children:
    """The processes that wait for their next clip. Any thread may take one and give it back.

    stall_s: a process that says nothing for so long is killed. memory_bytes: how many addresses each may have.
    """

    def __init__(self, stall_s: float = STALL_S, memory_bytes: int | None = None) -> None:
        self._stall_s = stall_s
        self._memory_bytes = memory_bytes or memory_for_each()
        self._idle: list[Child] = []
        self._lock = threading.Lock()
        self._starter: _Starter | None = None
        self._could, self._cannot = False, ""  # whether one was started ever, and why the first was not

    def take(self) -> Child:
        """Return a process that is ready. Raises NoChildError."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                child = self._idle.pop()
            if child._process.poll() is None:
                return child
            child.end()
        return self._start()

    def give_back(self, child: Child) -> None:
        """Keep a process for the next clip; one that is at work still is ended."""
        if child.idle and child.leave():
            with self._lock:
                self._idle.append(child)
        else:
            child.end()

    def close(self) -> None:
        """End the processes that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def forget(self) -> None:
        """Begin anew in a fork: the processes belong to its parent, and so did the thread that starts them."""
        for child in self._idle:
            child.forget()
        self._idle, self._lock, self._starter = [], threading.Lock(), None

    def _start(self) -> Child:
        if not is_python(sys.executable):
            raise NoChildError(f"{sys.executable or 'this process'} is no Python interpreter")
        if self._cannot:
            raise NoChildError(self._cannot)
        with self._lock:
            self._starter = self._starter or _Starter()
        shared, child = shared_memory(), None
        try:
            child = Child(self._starter.start(self._settings(shared), shared), shared, self._stall_s)
            child.receive(STALL_S)  # that it is ready
        except (OSError, LostError) as error:
            if child is None and shared is not None:
                os.close(shared)
            self._cannot = "" if self._could else str(error)
            raise NoChildError(str(error)) from error
        self._could = child.idle = True
        return child

    def _settings(self, shared: int | None) -> dict[str, Any]:
        return {
            "parent": os.getpid(),
            "shared": shared,
            "memory_bytes": self._memory_bytes,
            "pulse_s": min(1.0, self._stall_s / 5),
            "log_level": logging.getLogger("vgeo").getEffectiveLevel(),
        }


class _Starter:
    """A thread that starts processes, and lives as long as this process does.

    To Linux the thread that started a process is its parent, with which it can be made to end.
    """

    def __init__(self) -> None:
        self._wanted: SimpleQueue[tuple[dict[str, Any], int | None, _Answer]] = SimpleQueue()
        threading.Thread(target=self._work, name="start decoders", daemon=True).start()

    def start(self, settings: dict[str, Any], shared: int | None) -> "subprocess.Popen[bytes]":
        """Start a process that decodes, with pipes at both ends and the handle `shared`. Raises OSError."""
        answer = _Answer()
        self._wanted.put((settings, shared, answer))
        return answer.result()

    def _work(self) -> None:
        while True:
            settings, shared, answer = self._wanted.get()
            try:
                answer.set_result(_start(settings, shared))
            except BaseException as error:  # raised where the process is wanted
                answer.set_exception(error)


def _start(settings: dict[str, Any], shared: int | None) -> "subprocess.Popen[bytes]":
    # Without a current folder on its path (-P) and without site-packages' start-up code (-S): the path is this
    # process's own, which has what is needed.
    return subprocess.Popen(
        [sys.executable, "-S", "-P", "-m", "vgeo.video.child", json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        pass_fds=() if shared is None else (shared,),
        env=_environment(),
        process_group=0,  # what a terminal sends, as on Ctrl-C and Ctrl-Z, is for this process
    )


def is_python(executable: str | None) -> bool:
    """Whether a program can be asked to run a module; a program that Python is built into does something else."""
    return bool(executable) and "python" in Path(executable or "").name.lower() and not getattr(sys, "frozen", False)


def memory_for_each() -> int:
    """How many bytes of addresses a process may have that decodes on this machine, or in this container."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(_LEAST_MEMORY_BYTES, int(_MEMORY_SHARE * total))


def _environment() -> dict[str, str]:
    """This process's environment and path.

    Nothing there multiplies matrices, so it needs no threads for that. glibc would give the memory of each large image
    back to the kernel and ask for it again for the next, which costs more than converting the image.
    """
    homes = [str(Path(str(module.__file__)).parents[1]) for module in (vgeo, np)]
    path = os.pathsep.join(dict.fromkeys([*homes, *(os.path.abspath(folder) for folder in sys.path if folder)]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),  # the most that glibc takes
        "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),  # two frames of 4K
    }


CHILDREN = Children()
atexit.register(CHILDREN.close)
os.register_at_fork(after_in_child=CHILDREN.forget)
