"""Fields of a config with a lower and an upper bound; other numbers are refused in one line."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from data_pipeline.cli.command import UserError

_KEY = "bounds"  # in the metadata of a field


@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval of numbers."""

    minimum: float
    maximum: float
    open: bool
    """Exclude `minimum` itself."""

    def hold(self, number: float) -> bool:
        """Say whether a number lies inside; nan and inf never do."""
        below = self.minimum < number if self.open else self.minimum <= number
        return below and number <= self.maximum and math.isfinite(number)

    def __str__(self) -> str:
        if self.open:
            return f"a number above {self.minimum:,g}, up to {self.maximum:,.15g}"
        return f"{self.minimum:,.15g} to {self.maximum:,.15g}"


def bounded(
    default: Any, minimum: float, maximum: float, *, above: bool = False, **metadata: Any
) -> Any:
    """Make a field of a dataclass: a number, or a tuple of them, from `minimum` to `maximum`.

    Args:
        default: value of the field; None has no bounds.
        minimum: lower bound.
        maximum: upper bound.
        above: exclude `minimum` itself.
        metadata: further metadata of the field.
    """
    return field(default=default, metadata={**metadata, _KEY: Bounds(minimum, maximum, above)})


def refuse_out_of_bounds(values: Any, name: Callable[[str], str] | None = None) -> None:
    """Check the fields of a dataclass that were made by `bounded`.

    Args:
        values: the dataclass.
        name: turns the name of a field into the one that messages use; default: its flag.

    Raises:
        UserError: a field is outside; the message has its bounds.
    """
    called = name or flag
    for one in fields(values):
        bounds = one.metadata.get(_KEY)
        value = getattr(values, one.name)
        if bounds is not None and not all(map(bounds.hold, _numbers(value))):
            raise UserError(f"{called(one.name)} is {value}: give {bounds}")


def flag(name: str) -> str:
    """Return the name of a field on the command line."""
    return "--" + name.replace("_", "-")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, tuple):
        for one in value:
            yield from _numbers(one)
    elif value is not None:
        yield value
