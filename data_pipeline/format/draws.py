"""Random numbers that depend on names and counters only, never on what was drawn before.

Everything comes from the raw 64-bit words of Philox, whose stream NumPy promises to keep; the
distributions on top are written out here, because NumPy does not promise to keep its own.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray


def words(seed: int, purpose: str, counter: int, count: int) -> list[int]:
    """Draw `count` independent 64-bit words of stream (`seed`, `purpose`) at `counter`."""
    return [int(word) for word in word_array(seed, purpose, counter, count)]


def word_array(seed: int, purpose: str, counter: int, count: int) -> NDArray[np.uint64]:
    """Draw the same as `words`, as uint64 [count]."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    # Philox counts up its lowest word: ours sits above it, so streams never overlap.
    position = np.array([0, 0, counter, 0], dtype=np.uint64)
    return np.random.Philox(key=key, counter=position).random_raw(count)


def below(word: int, bound: int) -> int:
    """Map a 64-bit word to 0 .. bound - 1; the bias is below bound / 2^64."""
    return (word * bound) >> 64


def unit(word: int) -> float:
    """Map a 64-bit word to [0, 1)."""
    return (word >> 11) * 2.0**-53


def normal(first: int, second: int) -> float:
    """Map two 64-bit words to a draw from N(0, 1) (Box-Muller)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - unit(first)))
    return radius * math.cos(2.0 * math.pi * unit(second))


def permutation(seed: int, purpose: str, counter: int, count: int) -> NDArray[np.int64]:
    """Draw a permutation of 0 .. count - 1, as int64 [count]."""
    # Sorting by random keys; a tie (chance count^2 / 2^65) falls back to the order of indices.
    return np.argsort(word_array(seed, purpose, counter, count), kind="stable")


def subset(picks: list[int], bound: int) -> tuple[int, ...]:
    """Pick len(picks) distinct numbers of 0 .. bound - 1, sorted, all subsets alike (Floyd)."""
    chosen: set[int] = set()
    for word, top in zip(picks, range(bound - len(picks), bound), strict=True):
        candidate = below(word, top + 1)
        chosen.add(top if candidate in chosen else candidate)
    return tuple(sorted(chosen))
