"""Work beside the one who waits for it: reading ahead, and writing behind, each in a thread.

What goes wrong in a thread is raised where its result is used. No more than a few items wait
anywhere, so memory does not grow with the length of what passes through.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar, final

T = TypeVar("T")

_LOOK_S = 0.1  # how soon a thread sees that nobody waits for it any more
_END = object()


@final
class Ahead(Generic[T]):
    """Iterates in a thread, some items ahead of who iterates over it; `with` it.

    Args:
        items: what is iterated.
        most: items that wait.
    """

    def __init__(self, items: Iterator[T], most: int) -> None:
        self.busy_s = 0.0
        """Seconds that making items took."""
        self.waited_s = 0.0
        """Seconds that somebody waited for one."""
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(most)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)

    def __enter__(self) -> "Ahead[T]":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            began = time.perf_counter()
            item = self._queue.get()
            self.waited_s += time.perf_counter() - began
            if item is _END:
                if self._error is not None:
                    raise self._error
                return
            yield item  # type: ignore[misc]  # whatever is no end is a T

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.perf_counter()
                item = next(self._items, _END)
                self.busy_s += time.perf_counter() - began
                if item is _END:
                    break
                self._put(item)
        except BaseException as error:
            self._error = error
        self._put(_END)

    def _put(self, item: object) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
        return None


@final
class Behind(Generic[T]):
    """Does something with items in a thread, in order; `with` it: at the end all is done.

    Args:
        do: what.
        most: items that wait.
    """

    def __init__(self, do: Callable[[T], None], most: int) -> None:
        self.busy_s = 0.0
        """Seconds that doing it took."""
        self.waited_s = 0.0
        """Seconds that somebody waited for room."""
        self._do = do
        self._queue: queue.Queue[object] = queue.Queue(most)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def __enter__(self) -> "Behind[T]":
        self._thread.start()
        return self

    def put(self, item: T) -> None:
        """Have it done; raises what an earlier item came to grief on."""
        began = time.perf_counter()
        if self._error is not None:
            raise self._error
        self._queue.put(item)
        self.waited_s += time.perf_counter() - began

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        began = time.perf_counter()
        self._queue.put(_END)
        self._thread.join()
        self.waited_s += time.perf_counter() - began
        if kind is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is _END:
                return
            if self._error is not None:
                continue  # what is put must still be taken, or who puts would wait for ever
            began = time.perf_counter()
            try:
                self._do(item)  # type: ignore[arg-type]  # whatever is no end is a T
            except BaseException as error:
                self._error = error
            self.busy_s += time.perf_counter() - began
