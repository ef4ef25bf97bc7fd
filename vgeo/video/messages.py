"""Messages between a process and the one that decodes for it, over two pipes: a JSON object and, after it, raw bytes.

Nothing is unpickled: what a damaged decoder sends is text, numbers and pixels, or nonsense that ends the conversation.
"""

import fcntl
import json
import os
import select
import struct
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Message = tuple[dict[str, Any], Bytes]

_HEAD = struct.Struct("<IQ")  # bytes of JSON, bytes after it
_MAX_WORDS_BYTES = 2**26  # the rows of the longest clip are far shorter
_MAX_RAW_BYTES = 2**33  # an RGB frame of 32,768 x 32,768 has half of that
_PIPE_BYTES = 2**20  # what Linux gives any process; six frames of 224 x 224 wait in it
_THANKS_AT_ONCE = 256
_NO_BYTES: Bytes = np.zeros(0, np.uint8)


class NonsenseError(Exception):
    """What came is no message."""


class SilenceError(Exception):
    """Nothing came for as long as was waited."""


class Link:
    """One end: `incoming` and `outgoing` are ends of pipes, which it owns. Threads may send at the same time."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.incoming, self._outgoing = incoming, outgoing
        self._sending = threading.Lock()
        self._poll = select.poll()
        self._poll.register(incoming, select.POLLIN)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            try:
                fcntl.fcntl(outgoing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            except OSError:  # the user's pipes take too much already: it only goes slower
                return

    def close(self) -> None:
        """Close both pipes."""
        os.close(self.incoming)
        os.close(self._outgoing)

    def send(self, words: dict[str, Any], *arrays: NDArray[Any], wait: bool = True) -> bool:
        """Send a message; its raw bytes are those of `arrays`, one after the other.

        wait: False gives up where another thread is sending. Returns whether it was sent. Raises BrokenPipeError.
        """
        raw = [np.ascontiguousarray(array).data.cast("B") for array in arrays if array.size]
        text = json.dumps(words).encode()
        pieces = [memoryview(_HEAD.pack(len(text), sum(map(len, raw))) + text), *raw]
        if not self._sending.acquire(blocking=wait):
            return False
        try:
            while pieces:
                written = os.writev(self._outgoing, pieces)
                while pieces and written >= len(pieces[0]):
                    written -= len(pieces.pop(0))
                if pieces:
                    pieces[0] = pieces[0][written:]
        finally:
            self._sending.release()
        return True

    def receive(self, limit_s: float | None = None) -> Message:
        """Return the next message.

        Raises EOFError at the end, SilenceError where nothing comes for `limit_s`, NonsenseError.
        """
        length, raw_length = _HEAD.unpack(self._read(_HEAD.size, limit_s).data)
        if length > _MAX_WORDS_BYTES or raw_length > _MAX_RAW_BYTES:
            raise NonsenseError
        try:
            words = json.loads(bytes(self._read(length, limit_s)))
        except (ValueError, RecursionError) as error:
            raise NonsenseError from error
        if not isinstance(words, dict):
            raise NonsenseError
        return words, self._read(raw_length, limit_s) if raw_length else _NO_BYTES

    def thank(self) -> None:
        """Say, outside of messages, that an image is taken."""
        with suppress(BrokenPipeError):  # who is gone needs no thanks
            os.write(self._outgoing, b".")

    def await_thanks(self) -> int:
        """Wait for thanks and count them, while the other end sends nothing else. Raises EOFError at the end."""
        if not (found := os.read(self.incoming, _THANKS_AT_ONCE)):
            raise EOFError
        return len(found)

    def _read(self, count: int, limit_s: float | None) -> Bytes:
        found = np.empty(count, np.uint8)
        left = found.data
        while left:
            self._await(limit_s)
            got = os.readv(self.incoming, [left])
            if got == 0:
                raise EOFError
            left = left[got:]
        return found

    def _await(self, limit_s: float | None) -> None:
        """Wait until something can be read. A process that was itself stopped for long looks once more."""
        if limit_s is not None and not self._poll.poll(limit_s * 1000) and not self._poll.poll(0):
            raise SilenceError


class Pulse:
    """Says now and then that there is progress: called from loops over packets, by any thread."""

    def __init__(self, link: Link, every_s: float) -> None:
        self._link, self._every_s = link, every_s
        self._next_s = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + self._every_s
            self._link.send({"is": "alive"}, wait=False)
