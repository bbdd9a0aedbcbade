"""How every benchmark prints its results: one line of JSON or text per figure."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside its baseline, both measured in the same run."""

    figure: str
    """What was measured."""
    value: float
    """The number."""
    unit: str
    """Of the number."""
    against: str
    """What it is compared with, in words."""
    ratio: float
    """Ours to theirs: of times and sizes less is better, of speeds more."""


def show(figures: Iterable[Figure], *, json_lines: bool) -> None:
    """Print figures as they come: one JSON object a line, or one line of words."""
    for figure in figures:
        if json_lines:
            print(json.dumps(asdict(figure)), flush=True)
        else:
            number = f"{figure.value:.4g} {figure.unit}"
            words = f"{figure.figure:<48} {number:>18}   {figure.ratio:6.3f} x {figure.against}"
            print(words, flush=True)
