"""Clips in order, a share of each global batch for this rank, prefetched by threads.

The whole state is one integer: the position of the next global batch.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from data_pipeline.read.clips import ClipOrder
from data_pipeline.read.reader import DataSet
from training.learn.batch import Batch, Pixels, batch_of
from training.learn.filling import Read, read_unfilled

_THREADS = 2  # decoding a clip takes milliseconds and lets go of the interpreter lock

_Share = tuple[list[Future[Pixels]], list[float]]


def share(position: int, batch_clips: int, rank: int, world: int) -> list[tuple[int, float]]:
    """Positions and weights of one rank's share of the global batch that begins at `position`.

    Shares are equally long; what is missing to that is padded with the last clip at weight 0.
    """
    length = -(-batch_clips // world)
    wanted = range(rank * length, (rank + 1) * length)
    return [(position + min(i, batch_clips - 1), float(i < batch_clips)) for i in wanted]


class Loader:
    """Endless batches from a position on; its threads end with its `with` block.

    Args:
        data_set: opened in this process.
        split: "train".
        order: position -> clip.
        batch_clips: clips of the global batch.
        rank: of this process.
        world: processes.
        position: first position, clips.
        prefetch_clips: clips read ahead.
        read: gets the pixels of a clip, its holes filled for a generator with a fill.
    """

    def __init__(
        self,
        data_set: DataSet,
        split: str,
        order: ClipOrder,
        *,
        batch_clips: int,
        rank: int,
        world: int,
        position: int,
        prefetch_clips: int,
        read: Read = read_unfilled,
    ) -> None:
        self._data_set = data_set
        self._videos = data_set.videos(split)
        self._order, self._pixels = order, read
        self._batch_clips = batch_clips
        self._rank, self._world = rank, world
        self._position = position
        self._batches_ahead = max(1, -(-prefetch_clips * world // batch_clips))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="clips")

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        """Batches in order, whichever clip was read first; an error comes in its clip's turn."""
        ahead: deque[_Share] = deque()
        for position in itertools.count(self._position, self._batch_clips):
            ahead.append(self._request(position))
            if len(ahead) == self._batches_ahead:
                # Nothing here holds on to a batch that was given away.
                yield _batch(*ahead.popleft())

    def _request(self, position: int) -> _Share:
        """Have the threads read this rank's share of the batch at `position`."""
        wanted = share(position, self._batch_clips, self._rank, self._world)
        reads = [self._threads.submit(self._read, place) for place, _ in wanted]
        return reads, [weight for _, weight in wanted]

    def _read(self, position: int) -> Pixels:
        clip = self._order.clip(position)
        return self._pixels(self._data_set, self._videos[clip.video], clip)


def _batch(reads: list[Future[Pixels]], weights: list[float]) -> Batch:
    return batch_of([read.result() for read in reads], weights)
