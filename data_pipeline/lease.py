"""Placeholder of the interface; being written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Lease:
    token: int

    def check(self) -> None: ...


@contextmanager
def lease(uri: str, *, what: str, seconds: float = 30.0) -> Iterator[Lease]:
    yield Lease(1)
