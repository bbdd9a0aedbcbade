"""A process that holds one version and fills one video at a time: a replica of Ray Serve.

In a module of its own, because Ray ships what is defined in a command (`__main__`) by value.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from typing import final

import cv2

from data_pipeline.cli import errors
from data_pipeline.tracking.store_errors import translated
from mlops.serving.filling_order import Done, Order, fill_order
from mlops.tracking.loaded_model import LoadedModel, load
from mlops.tracking.registry import Version

_NEWS_EVERY_S = 0.2


class Unwanted(Exception):  # noqa: N818 (nobody's error)
    """Nobody waits for the result any more."""


@final
class VersionReplica:
    """Fills videos with the only version of its process. Answers what went wrong as data.

    Ray Serve would wrap the exception, and start a process again and again whose version cannot be
    loaded.
    """

    def __init__(self, tracking_uri: str, version: Version) -> None:
        self._version, self._wrong = version, ""
        # Ray says so how many cores a process has; torch reads it, OpenCV does not.
        cv2.setNumThreads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        try:
            with translated(tracking_uri):
                self._model: LoadedModel = load(tracking_uri, version)
        except Exception as error:
            self._wrong = errors.encode(error)

    def ready(self) -> str:
        """Return "" once the version is loaded, else what went wrong."""
        return self._wrong

    async def fill(self, order: Order) -> AsyncIterator[int | Done | str]:
        """Fill a video: the frames that are done, and at last what came of it, or what went wrong.

        A caller that goes away ends the work at the next frame.
        """
        if self._wrong:
            yield self._wrong
            return
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[int | Done | str] = asyncio.Queue()
        unwanted, told = threading.Event(), 0.0

        def tell(what: int | Done | str) -> None:
            loop.call_soon_threadsafe(news.put_nowait, what)

        def at(frames: int, _total: int) -> None:
            nonlocal told
            if unwanted.is_set():
                raise Unwanted
            if time.monotonic() - told > _NEWS_EVERY_S:
                told = time.monotonic()
                tell(frames)

        def work() -> None:
            tell(0)
            try:
                tell(fill_order(order, self._version, self._model, at))
            except Exception as error:
                tell(errors.encode(error))

        working = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            while isinstance(one := await news.get(), int):
                yield one
            yield one
        finally:
            unwanted.set()
            await working  # the next video may begin only then
