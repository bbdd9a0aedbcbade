"""Runs work on files that anybody sent in processes of its own, with limits of time and memory.

A video that crashes its decoder, or keeps it busy, harms nothing but the request that it came with.
"""

import asyncio
import logging
import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, final

from data_pipeline.cli import errors
from mlops.serving.problems import Problem

LOG = logging.getLogger("sttn.service")

# A server that has imported everything forks each process: milliseconds, not seconds.
_FORKS = multiprocessing.get_context("forkserver")
_PRELOADED = ["__main__", "mlops.serving.children"]

MEMORY_BYTES = 8 * 2**30  # of address space, of which libraries take some before they work


@final
class Isolated:
    """Runs at most so many processes at once; others wait."""

    def __init__(self, at_once: int) -> None:
        _FORKS.set_forkserver_preload(_PRELOADED)
        self._free = asyncio.Semaphore(at_once)

    async def run(self, work: Callable[..., Any], *args: Any, limit_s: float) -> Any:
        """Run `work` in a process; a cancelled caller ends it.

        Args:
            work: a function of a module; what it takes and returns is pickled.
            args: its arguments.
            limit_s: time it may take, seconds.

        Raises:
            Problem: it took too long, ended its process, or met an error that is none of ours.
            UserError, Refused: what `work` raised.
        """
        async with self._free:
            receiver, sender = _FORKS.Pipe(duplex=False)
            process = _FORKS.Process(target=_child, args=(sender, work, args), daemon=True)
            starting = asyncio.ensure_future(asyncio.to_thread(process.start))
            try:
                async with asyncio.timeout(limit_s):
                    await asyncio.shield(starting)
                    sender.close()
                    await _readable(receiver)
                answer, error = receiver.recv()
            except TimeoutError as late:
                raise Problem(
                    422, f"the video was not looked through within {limit_s:.0f} s: cut it"
                ) from late
            except EOFError as died:
                raise Problem(422, "the file ends the process that reads it: mend it") from died
            finally:
                await asyncio.shield(_end(starting, process))
                receiver.close()
        if not error:
            return answer
        found = errors.decode(error)
        if isinstance(found, errors.Unexpected):  # of a library, which the file was too much for
            LOG.error("%s", "\n".join(found.__notes__))
            raise Problem(422, f"the file cannot be used ({found})") from found
        raise found


async def _end(starting: asyncio.Future[None], process: BaseProcess) -> None:
    await starting
    process.kill()
    await asyncio.to_thread(process.join)


def _child(sender: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = work(*args), ""
    except Exception as error:
        answer = None, errors.encode(error)
    sender.send(answer)


async def _readable(connection: Connection) -> None:
    """Wait until there is something to read, or the other end is closed."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection.fileno(), there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(connection.fileno())
