"""Threads that fill batches with pictures while the device works on those before.

Threads, not processes: decoding and resizing let go of Python's lock, and nothing is copied between processes.

Shapes: B clips and T frames of a batch.
"""

import threading
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]
_CLOSED = "the pictures are no longer decoded"


class Job:
    """A batch that is being filled: `pixels` is whole once `wait` has returned."""

    def __init__(self, frame_BT: Ints, shape: tuple[int, int], pinned: bool) -> None:
        self.frame_BT = frame_BT
        self.pixels = torch.empty((*frame_BT.shape, *shape, 3), dtype=torch.uint8, pin_memory=pinned)
        self.done = threading.Event()
        self.error: Exception | None = None
        self.tasks = _places(frame_BT)
        self.left = len(self.tasks)
        if not self.tasks:
            self.done.set()

    def wait(self) -> None:
        """Return when the batch is whole. Raises what went wrong."""
        self.done.wait()
        if self.error is not None:
            raise self.error

    def fill(self, read: Callable[[int], Pixels], frame: int, places: Ints) -> None:
        """Put a picture wherever it belongs."""
        self.pixels.numpy().reshape(-1, *self.pixels.shape[2:])[places] = read(frame)


def _places(frame_BT: Ints) -> deque[tuple[int, Ints]]:
    """The different frames of a batch, and where each one goes."""
    order = np.argsort(frame_BT, axis=None, kind="stable")
    frames, first = np.unique(frame_BT.ravel()[order], return_index=True)
    return deque(zip(frames.tolist(), np.split(order, first[1:]), strict=True)) if len(frames) else deque()


class Decoders:
    """A few threads that work off jobs, one after the other, picture by picture. They start with the first job.

    They are daemons: a program that ends without `close` does not wait for what nobody needs.
    """

    def __init__(self, read: Callable[[int], Pixels], threads: int) -> None:
        self._read, self._wanted = read, threads
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, job: Job, urgent: bool = False) -> None:
        """Fill a batch after those that were submitted before, or at once."""
        with self._changed:
            if self._closed:
                raise ValueError(_CLOSED)
            (self._jobs.appendleft if urgent else self._jobs.append)(job)
            self._changed.notify_all()
        while len(self._threads) < self._wanted:
            self._threads.append(threading.Thread(target=self._work, name="decode frames", daemon=True))
            self._threads[-1].start()

    def drop(self) -> None:
        """Forget the jobs that are not yet worked off."""
        with self._changed:
            self._jobs.clear()

    def close(self) -> None:
        """End the threads, each after the picture it is at; who waits for a batch gets a ValueError."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                job.error = ValueError(_CLOSED)
                job.done.set()
            self._jobs.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            job, frame, places = taken
            try:
                job.fill(self._read, frame, places)
            except Exception as error:  # not swallowed: raised where the batch is taken
                self._finish(job, error)
            else:
                self._finish(job)

    def _take(self) -> tuple[Job, int, Ints] | None:
        """The next picture to decode, once there is one; None at the end."""
        with self._changed:
            while not self._closed:
                if not self._jobs:
                    self._changed.wait()
                elif not self._jobs[0].tasks:
                    self._jobs.popleft()
                else:
                    return self._jobs[0], *self._jobs[0].tasks.popleft()
            return None

    def _finish(self, job: Job, error: Exception | None = None) -> None:
        with self._changed:
            job.left -= 1
            if error is not None:
                job.error = job.error or error
                job.tasks.clear()
            if job.error is not None or not job.left:
                job.done.set()
