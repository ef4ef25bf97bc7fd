"""Images handed from process to process through memory that both see: a pipe would copy each of them twice more.

The one who decodes puts an image on the next place of a shelf and says so; the other copies it and says that the place
is free. Where there is no such memory (not Linux, or a limit of file sizes) the images go through the pipe.
"""

import math
import mmap
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from vgeo.video.messages import Link, Message, NonsenseError
from vgeo.video.pixels import Pixels

_BYTES = 48 * 2**20  # of images that wait
_MOST_PLACES = 32
_LEAST_PLACES = 2  # one is filled while the other is emptied


class Giver:
    """The end of the one who decodes. handle: of `shared_memory`."""

    def __init__(self, link: Link, handle: int | None) -> None:
        self._link, self._handle = link, handle
        self._begin(0)

    def images(self, images: Iterable[tuple[int, Pixels]], most: int) -> None:
        """Send images with their rows, at most so many; waits for free places, and at the end until all are taken."""
        self._begin(most)
        for row, image in images:
            self._send(row, image)
        while self._waiting:
            self._waiting -= self._link.await_thanks()
        self._begin(0)

    def _begin(self, most: int) -> None:
        """Forget the images before, and give their memory back to the machine."""
        if self._handle is not None:
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
        self._shelf: Shelf | None = None
        self._most, self._sent, self._waiting = most, 0, 0

    def _send(self, row: int, image: Pixels) -> None:
        words: dict[str, Any] = {"is": "image", "row": row, "shape": image.shape}
        if self._sent == 0:
            self._shelf = self._put_up(image.nbytes)
        self._sent += 1
        shelf = self._shelf
        if shelf is None or image.nbytes > shelf.size:
            self._link.send(words, image)
            return
        while self._waiting >= shelf.count:
            self._waiting -= self._link.await_thanks()
        place = self._sent % shelf.count
        shelf.at(place, image.shape)[...] = image
        self._waiting += 1
        self._link.send({**words, "place": place, "size": shelf.size, "count": shelf.count})

    def _put_up(self, size: int) -> "Shelf | None":
        if self._handle is None or self._most < 1:
            return None
        count = max(_LEAST_PLACES, min(_MOST_PLACES, self._most, _BYTES // size))
        try:
            os.ftruncate(self._handle, count * size)
            return Shelf(self._handle, size, count, mmap.PROT_READ | mmap.PROT_WRITE)
        except (OSError, ValueError):
            return None


class Taker:
    """The other end."""

    def __init__(self, link: Link, handle: int | None) -> None:
        self._link, self._handle = link, handle
        self._shelf: Shelf | None = None

    def image(self, message: Message) -> Pixels:
        """The image of a message, [H, W, 3]. Raises NonsenseError."""
        words, raw = message
        try:
            shape = tuple(int(length) for length in words["shape"])
            if "place" not in words:
                return raw.reshape(shape)
            image = self._on_shelf(words["size"], words["count"]).at(words["place"], shape).copy()
        except (KeyError, ValueError, TypeError, IndexError, OverflowError, OSError) as error:
            raise NonsenseError from error
        self._link.thank()
        return image

    def end(self) -> None:
        """Let go of the memory after the last image."""
        self._shelf = None

    def _on_shelf(self, size: int, count: int) -> "Shelf":
        if self._handle is None:
            raise ValueError("there is no shelf")
        if self._shelf is None:
            self._shelf = Shelf(self._handle, size, count, mmap.PROT_READ)
        return self._shelf


class Shelf:
    """`count` places of `size` bytes each in memory that has a handle. Raises OSError, ValueError."""

    def __init__(self, handle: int, size: int, count: int, access: int) -> None:
        self.size, self.count = size, count
        self._bytes = np.frombuffer(mmap.mmap(handle, size * count, prot=access), np.uint8)

    def at(self, place: int, shape: tuple[int, ...]) -> Pixels:
        """What lies on a place, as an image."""
        start = place * self.size
        return self._bytes[start : start + math.prod(shape)].reshape(shape)


def shared_memory() -> int | None:
    """Return a handle of memory without a name, to be given to the other process; None where there is none."""
    if not hasattr(os, "memfd_create"):
        return None
    with suppress(OSError):
        return os.memfd_create("vgeo-images")
    return None
