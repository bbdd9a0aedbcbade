"""What the workers of a run want a person to see now.

An actor that the driver reads to draw its progress bar: Ray Train's own reports are throttled to
one in two seconds and would hold the loop up.
"""


class Board:
    """The newest line about a run, and what must not be missed, from the workers to the driver."""

    def __init__(self) -> None:
        self._clips = 0
        self._note = ""
        self._lines: list[str] = []
        self._ended: tuple[str, bool] | None = None

    def post(self, clips: int, note: str) -> None:
        """Replace the line: clips seen, and words about them."""
        self._clips, self._note = clips, note

    def tell(self, lines: str) -> None:
        """Add lines that are shown once."""
        self._lines.append(lines)

    def read(self) -> tuple[int, str, list[str]]:
        """The newest line, and those added since the last call."""
        lines, self._lines = self._lines, []
        return self._clips, self._note, lines

    def end(self, why: str, mistake: bool) -> None:
        """Say why trying again is no use; `mistake`: of whoever asked for the run."""
        self._ended = why, mistake

    def ended(self) -> tuple[str, bool] | None:
        """What `end` was told."""
        return self._ended
