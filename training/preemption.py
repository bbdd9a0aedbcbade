"""Nodes that are about to be taken away, as Ray hears of it (a drain, a reclaimed machine)."""

import time

import ray.train

from training import parallel

_LOOK_S = 5.0  # as often as Ray itself looks


class Preemption:
    """Asked once an iteration by every rank at the same place; looks about every five seconds.

    A look goes through one actor and costs about 1 ms for each rank (2.2 ms with 2, 4.7 ms with 4,
    measured), so how many iterations lie between two of them follows from how long they take.
    """

    def __init__(self) -> None:
        self._between = self._left = 1
        self._looked = time.monotonic()

    def nodes(self) -> frozenset[str]:
        """Ids of nodes of this group that were told to go, when it was time to look. Collective."""
        self._left -= 1
        if self._left:
            return frozenset()
        info = ray.train.get_preemption_info()
        now = time.monotonic()
        iteration_s = max(now - self._looked, 1e-6) / self._between
        self._looked = now
        # Clocks differ, and all ranks must look at the same iteration.
        self._between = parallel.from_rank_zero(max(1, int(_LOOK_S / iteration_s)))
        self._left = self._between
        return frozenset(info.preempted_node_ids) if info else frozenset()
