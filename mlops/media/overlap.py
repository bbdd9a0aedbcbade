"""Work that overlaps with its consumer: reading ahead, and writing behind, each in a thread.

An error in a thread is raised where its result is used. No more than a few items wait anywhere, so
memory does not grow with the length of what passes through.
"""

import ctypes
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar, cast, final

T = TypeVar("T")

_END = object()
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 2**22  # of malloc.h


@final
class Ahead(Generic[T]):
    """Items made in a thread, some ahead of the consumer; made by `ahead`."""

    def __init__(self, pool: ThreadPoolExecutor, items: Iterator[T], limit: int) -> None:
        self.busy_s = 0.0
        """Seconds that making items took."""
        self.waited_s = 0.0
        """Seconds that the consumer waited for one."""
        self._pool, self._items = pool, items
        self._waiting = deque(pool.submit(self._make) for _ in range(limit))

    def __iter__(self) -> Iterator[T]:
        while True:
            began = time.perf_counter()
            item = self._waiting.popleft().result()
            self.waited_s += time.perf_counter() - began
            if item is _END:
                return
            self._waiting.append(self._pool.submit(self._make))
            yield cast("T", item)

    def _make(self) -> object:
        began = time.perf_counter()
        try:
            return next(self._items, _END)
        finally:
            self.busy_s += time.perf_counter() - began


@final
class Behind(Generic[T]):
    """Processes items in a thread, in order; made by `behind`."""

    def __init__(self, pool: ThreadPoolExecutor, process: Callable[[T], None], limit: int) -> None:
        self.busy_s = 0.0
        """Seconds that processing took."""
        self.waited_s = 0.0
        """Seconds that the producer waited for room, and at the end for the rest."""
        self._pool, self._process, self._limit = pool, process, limit
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def put(self, item: T) -> None:
        """Have an item processed; raises the error of an earlier one."""
        self._wait(self._limit)
        self._waiting.append(self._pool.submit(self._do, item))

    def finish(self) -> None:
        """Wait until all is done; raises the first error."""
        self._wait(0)

    def _wait(self, limit: int) -> None:
        """Wait until no more than `limit` items are left."""
        began = time.perf_counter()
        while self._waiting and (len(self._waiting) > limit or self._waiting[0].done()):
            self._waiting.popleft().result()
        self.waited_s += time.perf_counter() - began

    def _do(self, item: T) -> None:
        if self._failed:
            return  # what comes behind a frame that could not be written is not written either
        began = time.perf_counter()
        try:
            self._process(item)
        except BaseException:
            self._failed = True
            raise
        finally:
            self.busy_s += time.perf_counter() - began


@contextmanager
def ahead(items: Iterator[T], limit: int) -> Iterator[Ahead[T]]:
    """Iterate in a thread, which ends with the block; up to `limit` items wait."""
    pool = ThreadPoolExecutor(1, "ahead")
    try:
        yield Ahead(pool, items, limit)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def behind(process: Callable[[T], None], limit: int) -> Iterator[Behind[T]]:
    """Process items in a thread; up to `limit` wait; at the end of the block all are done.

    After an error in the block what waits is dropped, and the error goes on.
    """
    pool = ThreadPoolExecutor(1, "behind")
    try:
        working = Behind(pool, process, limit)
        yield working
        working.finish()
    finally:
        pool.shutdown(cancel_futures=True)


def give_large_blocks_back() -> None:
    """Have glibc return blocks of a frame's size to the system when they are free.

    Without this it keeps them for later, in each thread: a third of all memory with frames of 4K,
    which are made in one thread and freed in another.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
