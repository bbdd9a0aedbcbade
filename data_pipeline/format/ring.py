"""Chooses other videos for each video, by hashes.

All stand on a ring by their hashes, and each takes those that follow its own place. So a video more
or less in the split changes the choice of a few others only.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Videos, or photographs, of one split, ordered for the choice of donors."""

    places: NDArray[np.uint64]
    """Hash of each video, ascending."""
    videos: tuple[str, ...]
    """Ids in the same order."""

    @classmethod
    def of(cls, videos: Iterable[str], seed: int) -> "Ring":
        """Place each one by `seed` and its id, whatever their order."""
        # Sorted by id first: two videos on one place keep that order.
        ids = sorted(set(videos))
        places = np.array([_place(seed, video) for video in ids], dtype=np.uint64)
        order = np.argsort(places, kind="stable")
        return cls(places=places[order], videos=tuple(ids[i] for i in order))

    def donors(self, video: str, seed: int, count: int = 3) -> tuple[str, ...]:
        """Choose up to `count` other videos, best first: those that follow hash(video, seed)."""
        start = int(np.searchsorted(self.places, np.uint64(_place(seed, f"for:{video}"))))
        # One more than requested: the video itself may be among them.
        steps = range(min(count + 1, len(self.videos)))
        near = (self.videos[(start + step) % len(self.videos)] for step in steps)
        return tuple(other for other in near if other != video)[:count]


def _place(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"donor:{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
