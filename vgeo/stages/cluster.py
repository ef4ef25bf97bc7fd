"""Work spread over a Ray cluster: workers that load a model once, and answer for one item after the other.

Results come as they are done. A worker that is lost (a machine goes, the system kills it for its memory) is replaced,
and what it had begun is done again elsewhere; an item with which several workers were lost is given up on.
Files are read by the workers themselves, which go to the folder that we are in: it has to be there on each machine.
"""

import logging
import os
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, cast

from vgeo import __version__
from vgeo.errors import FormatError, ServerError, SettingError, VgeoError, first_line
from vgeo.stages.ray_cluster import LOCAL, connect, shares

log = logging.getLogger(__name__)

ITEMS_A_WORKER = 2  # one that is worked on, and one that is being decoded meanwhile
MOST_LOSSES = 3  # of workers, with one item or while loading, before it is given up
WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster, and what its workers compute on.

    address: `auto` (the cluster of this machine), `local` (one that is started here, for this run), host:port, or
    ray://host:port.
    """

    address: str
    device: str = "auto"
    precision: str = "auto"


class Work(Protocol):
    """What a worker does, once it is loaded."""

    facts: Any  # what the loading found out, the same on each worker

    def ahead(self, item: Any) -> None:
        """Begin to read an item that comes next; runs beside the call of another."""

    def __call__(self, item: Any) -> Any:
        """Do an item. Raises VgeoError or OSError where the item is at fault."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an item: its result, or the error that is its own."""

    result: Any = None
    error: VgeoError | OSError | None = None

    def get(self) -> Any:
        """The result; raises the error."""
        if self.error is not None:
            raise self.error
        return self.result


class _Worker:
    """Runs on the cluster. Nothing is loaded before `load`, whose errors come back as they are."""

    def __init__(self, make: Callable[[Where], Work], where: Where) -> None:
        self._make, self._where, self._work = make, where, cast(Work, None)

    def load(self, version: str, folder: str) -> Done:
        if version != __version__:
            return Done(error=SettingError(f"--ray: the cluster's workers have vgeo {__version__}, here is {version}"))
        try:
            os.chdir(folder)
        except OSError:
            host = os.uname().nodename
            return Done(
                error=SettingError(f"--ray: {host} has no {folder}; workers read the files where they are here")
            )
        try:
            self._work = self._make(self._where)
        except (VgeoError, OSError) as error:
            return Done(error=error)
        return Done(self._work.facts)

    def ahead(self, item: Any) -> None:
        self._work.ahead(item)

    def do(self, item: Any) -> Done:
        try:
            return Done(self._work(item))
        except (VgeoError, OSError) as error:
            return Done(error=error)


class Cluster:
    """Workers of a Ray cluster with the same work loaded; a context that lets go of them.

    make: loads the work; sent to the workers. items: how many there will be, at most. A worker has a GPU where the
    cluster has some, unless the device is cpu.
    Raises MissingModelError without Ray, ServerError where no cluster answers or its workers do not live, and what
    loading raises.
    """

    def __init__(self, where: Where, make: Callable[[Where], Work], items: int) -> None:
        # Ray's sockets lie in this folder, and their paths may have 107 bytes: $TMPDIR can be too long.
        self._temporary = tempfile.mkdtemp(prefix="vgeo-ray-", dir="/tmp") if where.address == LOCAL else ""
        self._ray: Any = None
        self._where = where
        self._busy: dict[Any, list[Any]] = {}  # worker -> what it works on; nothing while it loads
        self._running: dict[Any, tuple[Any, Any]] = {}  # promise -> worker, item or None for loading
        self._ready: set[Any] = set()
        self._waiting, self._losses = deque[Any](), Counter[Any]()
        self._facts: Any = None
        self._lost_loading = 0
        try:
            self._ray = connect(where.address, self._temporary)
            self._make = self._ray.put(make)
            self._gpus, self._cpus, most = shares(self._ray, where.device != "cpu")
            self._class = self._ray.remote(max_restarts=0, concurrency_groups={"ahead": 1})(_Worker)
            for _ in range(max(1, min(most, items))):
                self._start()
            while not self._ready:  # the first that is loaded is enough to begin
                self._next()
        except BaseException:
            self.close()
            raise
        log.info("ray: %s", self.describe())

    @property
    def facts(self) -> Any:
        """What the workers' work found out while it was loaded."""
        return self._facts

    def describe(self) -> str:
        """How many workers, with what."""
        share = f"{self._gpus} GPU" if self._gpus else f"{self._cpus} CPUs"
        return f"{len(self._busy)} worker{'s' * (len(self._busy) != 1)} of {share} each"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and leave the cluster."""
        for worker in self._busy:
            self._ray.kill(worker)
        self._busy, self._running = {}, {}
        if self._ray is not None:
            self._ray.shutdown()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    @property
    def room(self) -> bool:
        """Whether another item would find a worker that has not its fill."""
        return len(self._waiting) + sum(map(len, self._busy.values())) < ITEMS_A_WORKER * len(self._busy)

    def give(self, item: Hashable) -> None:
        """Have an item done, sooner or later."""
        self._waiting.append(item)

    def next(self) -> tuple[Any, Done]:
        """Wait for the item that is done next, and return it with what came of it."""
        while True:
            self._hand_out()
            finished, done, lost = self._next()
            self._waiting.extendleft(reversed(lost))
            if lost:  # the first is what the worker was at; the second it had only begun to read
                self._losses[lost[0]] += 1
            if lost and self._losses[lost[0]] >= MOST_LOSSES:
                finished = self._waiting.popleft()
                done = Done(error=FormatError(f"{_name(finished)}: {MOST_LOSSES} workers were lost with it"))
            if done is not None:
                return finished, done

    def in_order(self, items: Iterable[Hashable]) -> Iterator[tuple[Any, Done]]:
        """Do all items; yield each with what came of it, in their order."""
        source, order, results = iter(items), deque[Any](), dict[Any, Done]()
        while True:
            while self.room and (item := next(source, None)) is not None:
                self.give(item)
                order.append(item)
            if not order:
                return
            while order[0] not in results:
                finished, done = self.next()
                results[finished] = done
                if self.room:
                    break
            else:
                item = order.popleft()
                yield item, results.pop(item)

    def _hand_out(self) -> None:
        """Give each loaded worker its fill, the idlest first."""
        for already in range(ITEMS_A_WORKER):
            for worker in [w for w in self._ready if len(self._busy[w]) == already]:
                if not self._waiting:
                    return
                item = self._waiting.popleft()
                if already:
                    worker.ahead.options(concurrency_group="ahead").remote(item)
                self._running[worker.do.remote(item)] = (worker, item)
                self._busy[worker].append(item)

    def _next(self) -> tuple[Any, Done | None, list[Any]]:
        """Wait for what is done next: its item and result (none of loading), and the items of a worker that is lost."""
        ready: list[Any] = []
        while not ready:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=WAIT_S)
            if not ready and not self._ready:
                log.warning("ray: no worker yet; 'ray status' says what the cluster is short of")
        worker, item = self._running.pop(ready[0])
        try:
            done: Done = self._ray.get(ready[0])
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.RaySystemError) as error:
            return None, None, self._lose(worker, error)
        if item is not None:
            self._busy[worker].remove(item)
            return item, done, []
        self._loaded(worker, done)
        return None, None, []

    def _loaded(self, worker: Any, done: Done) -> None:
        if done.error is not None:
            raise done.error
        if self._ready and done.result != self._facts:
            raise SettingError("--ray: the cluster's workers have not all loaded the same: other weights, or versions?")
        self._facts, self._lost_loading = done.result, 0
        self._ready.add(worker)

    def _start(self) -> None:
        worker = self._class.options(num_cpus=self._cpus, num_gpus=self._gpus).remote(self._make, self._where)
        self._busy[worker] = []
        self._running[worker.load.remote(__version__, os.getcwd())] = (worker, None)

    def _lose(self, worker: Any, error: Exception) -> list[Any]:
        """Replace a worker that is gone; return what it had to do."""
        items = self._busy.pop(worker)
        loading = worker not in self._ready
        self._ready.discard(worker)
        self._running = {promise: what for promise, what in self._running.items() if what[0] != worker}
        self._lost_loading += loading
        if self._lost_loading >= MOST_LOSSES:
            raise ServerError(f"--ray: workers end while they load ({first_line(error)}); 'ray logs' says why")
        log.warning("ray: a worker was lost%s; it is replaced", "".join(f", {_name(item)}" for item in items[:1]))
        self._start()
        return items


def _name(item: Any) -> str:
    return str(getattr(item, "name", item))
