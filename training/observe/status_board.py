"""Status of a run, from the workers to the driver.

The driver reads this actor to draw its progress bar: Ray Train's own reports are throttled to one
in two seconds and would delay the loop.
"""


class Board:
    """The newest status line, lines that must not be missed, and the error that ended the run."""

    def __init__(self) -> None:
        self._clips = 0
        self._note = ""
        self._lines: list[str] = []
        self._ended = self._failed = ""

    def post(self, clips: int, note: str) -> None:
        """Replace the line: clips seen, and words about them."""
        self._clips, self._note = clips, note

    def report(self, lines: str) -> None:
        """Add lines that are shown once."""
        self._lines.append(lines)

    def read(self) -> tuple[int, str, list[str]]:
        """The newest line, and those added since the last call."""
        lines, self._lines = self._lines, []
        return self._clips, self._note, lines

    def end(self, error: str) -> None:
        """End the run by an error, as `errors.encode` writes it; the first of several is kept."""
        self._ended = self._ended or error

    def ended(self) -> str:
        """The error that ended the run, "" when none did."""
        return self._ended

    def failed(self, error: str) -> None:
        """Add an error after which workers are restarted; the first of several is kept."""
        self._failed = self._failed or error

    def first_failure(self) -> str:
        """The first error after which workers were restarted, "" when there was none."""
        return self._failed
