"""Files that are read, or decoded, ahead of whoever waits for them: in threads, in order, and only so many at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from vgeo.device import cores

T = TypeVar("T")
R = TypeVar("R")

_MOST = 16


def in_order(call: Callable[[T], R], items: Iterable[T], ahead: int = 64, threads: int | None = None) -> Iterator[R]:
    """Yield call(item) of each, `ahead` of them begun before they are asked for. Raises what `call` does.

    threads: None is one a core, and two at least, for they wait for the disk too.
    """
    source, waiting = iter(items), deque[Future[R]]()
    pool = ThreadPoolExecutor(threads or max(2, min(_MOST, cores())))
    try:
        waiting.extend(pool.submit(call, item) for item in islice(source, ahead))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(pool.submit(call, item) for item in islice(source, 1))
            yield found
    finally:
        pool.shutdown(cancel_futures=True)
