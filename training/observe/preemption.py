"""Preempted nodes: about to be drained or reclaimed, as Ray reports them."""

import time

import ray.train

from training.learn import parallel

_POLL_S = 5.0  # as often as Ray itself polls


class Preemption:
    """Polls Ray about every five seconds; every rank calls it once an iteration.

    A poll goes through one actor and costs about 1 ms for each rank (2.2 ms with 2, 4.7 ms with 4,
    measured), so the number of iterations between two polls follows from their duration.
    """

    def __init__(self) -> None:
        self._between = self._left = 1
        self._polled = time.monotonic()

    def nodes(self) -> frozenset[str]:
        """Ids of preempted nodes of this group, at a poll; none between polls. Collective."""
        self._left -= 1
        if self._left:
            return frozenset()
        info = ray.train.get_preemption_info()
        now = time.monotonic()
        iteration_s = max(now - self._polled, 1e-6) / self._between
        self._polled = now
        # Clocks differ, and all ranks must poll at the same iteration.
        self._between = parallel.from_rank_zero(max(1, int(_POLL_S / iteration_s)))
        self._left = self._between
        return frozenset(info.preempted_node_ids) if info else frozenset()
