"""What the service needs of models: which version new jobs get, and videos filled by a version."""

from collections.abc import AsyncIterator
from typing import Protocol

from data_pipeline.cli.command import Refused
from mlops.serving.filling_order import Done, Order


class Lost(Refused):
    """The process that worked on a video ended; another one may do it."""


class Models(Protocol):
    """Versions of a model, each loaded in processes of its own."""

    @property
    def current(self) -> str:
        """URI of the version that new jobs get, by its number; "" until one is loaded."""

    @property
    def problem(self) -> str:
        """Why the version that should be current is not; "" = it is."""

    def fill(self, model: str, order: Order) -> AsyncIterator[int | Done]:
        """Fill a video with a version: the numbers of frames that are done, and at last what came.

        Whoever stops to iterate ends the work.

        Raises:
            Lost: the process ended.
            UserError: the video cannot be filled.
            Refused: the version cannot be loaded, does not answer as it should, or the disk is
                full.
        """

    async def keep(self, models: set[str]) -> None:
        """Follow the alias; let versions go that are neither current nor among `models`."""
