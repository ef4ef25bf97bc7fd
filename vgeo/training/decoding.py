"""Threads that fill batches with pictures while the device works on those before.

    ahead = Ahead(read, (224, 224), threads=2)
    ahead.expect([first_BT, second_BT])        # numbers of pictures, batch by batch
    pixels = ahead.take(first_BT)              # uint8 [B, T, 224, 224, 3]

Threads, not processes: decoding and resizing let go of Python's lock, and nothing is copied between processes.

Shapes: B clips and T frames of a batch.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.device import cores
from vgeo.layers.ranks import world_size

Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]

_AHEAD_BYTES = 256 * 2**20  # of batches that are decoded before they are asked for: 10 of 12 clips of 16 frames
_AHEAD_LEAST = 2  # of them, however large
_MOST_THREADS = 16
_CLOSED = "the pictures are no longer decoded"


class Ahead:
    """Batches of pictures that are decoded before they are asked for.

    read: gives the picture of a number, [H, W, 3] of `shape` (H, W); called by the threads. threads: None is one a
    core, with several processes their share. Close it at the end.
    """

    def __init__(
        self, read: Callable[[int], Pixels], shape: tuple[int, int], threads: int | None = None, pinned: bool = False
    ) -> None:
        self.wait_s = 0.0  # that `take` has waited
        self._shape, self._pinned = shape, pinned
        self._decoders = Decoders(read, threads or _threads())
        self._to_come: deque[Ints] = deque()  # batches that are not being decoded yet
        self._jobs: deque[Job] = deque()  # those that are

    def expect(self, batches: Iterable[Ints]) -> None:
        """Decode these next, and forget what was expected before."""
        self._decoders.drop()
        self._jobs.clear()
        self._to_come = deque(batches)
        self._look_ahead()

    def take(self, frame_BT: Ints) -> Tensor:
        """A batch, uint8 [B, T, H, W, 3]; one that is not expected next is decoded at once. Raises what `read` does."""
        if self._jobs and np.array_equal(self._jobs[0].frame_BT, frame_BT):
            job = self._jobs.popleft()
            self._look_ahead()
        else:
            job = self._job(frame_BT)
            self._decoders.submit(job, urgent=True)
        began = time.perf_counter()
        job.wait()
        self.wait_s += time.perf_counter() - began
        return job.pixels

    def close(self) -> None:
        """Stop decoding."""
        self._decoders.close()

    def _look_ahead(self) -> None:
        """Have more batches decoded, as long as they are few or small."""
        waiting = sum(job.pixels.nbytes for job in self._jobs)
        while self._to_come and (len(self._jobs) < _AHEAD_LEAST or waiting < _AHEAD_BYTES):
            self._jobs.append(self._job(self._to_come.popleft()))
            waiting += self._jobs[-1].pixels.nbytes
            self._decoders.submit(self._jobs[-1])

    def _job(self, frame_BT: Ints) -> "Job":
        return Job(frame_BT, self._shape, self._pinned)


def _threads() -> int:
    """One for each core that this process may use; more than some get into each other's way in Python."""
    return max(1, min(_MOST_THREADS, cores() // world_size()))


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
