"""A file in memory that may claim gigabytes: only the pages that were written take space."""

import io
import os
from collections.abc import Iterator
from typing import Any


class SparseBuffer(io.RawIOBase):
    """A binary file object; what was never written reads as zeros."""

    PAGE = 4096

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}  # by offset
        self.size = 0
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        return self.size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for page, inside, piece in self._pieces(len(view)):
            self.pages.setdefault(page, bytearray(self.PAGE))[inside] = view[piece]
        self._position += len(view)
        self.size = max(self.size, self._position)
        return len(view)

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        for page, inside, piece in self._pieces(len(view)):
            view[piece] = self.pages[page][inside] if page in self.pages else bytes(piece.stop - piece.start)
        self._position += len(view)
        return len(view)

    def _pieces(self, length: int) -> Iterator[tuple[int, slice, slice]]:
        """Cut the next `length` bytes at page borders: (page's offset, slice in the page, slice in the data)."""
        done = 0
        while done < length:
            start = (self._position + done) % self.PAGE
            take = min(self.PAGE - start, length - done)
            yield self._position + done - start, slice(start, start + take), slice(done, done + take)
            done += take
