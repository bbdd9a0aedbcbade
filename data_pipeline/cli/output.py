"""Makes stdout and stderr robust: closed, full or without a character, they end no command.

A character that the encoding lacks is escaped. Text that stderr cannot take is dropped. An error of
stdout is remembered, for the exit code.
"""

import io
import os
import sys
from pathlib import Path
from typing import TextIO, final

# These would raise, or write bytes that are no text.
_STRICT = ("strict", "surrogateescape")


class Unread(BrokenPipeError):  # noqa: N818 (nobody's error)
    """The reader of stdout has gone; raised once, by the first write after that."""


@final
class Steady(io.TextIOWrapper):
    """A standard stream that drops everything after its first error, as child processes do then."""

    def __init__(self, stream: io.TextIOWrapper, *, of_results: bool) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace" if stream.errors in _STRICT else stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._of_results = of_results
        self.error: OSError | None = None
        """The first error of a write."""

    def write(self, text: str) -> int:
        """Write or drop.

        Raises:
            Unread: nobody reads these results any more.
        """
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write or drop the buffer; raises as `write`."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        self.error = self.error or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self._of_results and isinstance(error, BrokenPipeError):
            raise Unread(*error.args) from error


def make_steady() -> None:
    """Replace stdout and stderr of this process; those that somebody has replaced stay."""
    sys.stdout = _steadied(sys.stdout, sys.__stdout__, of_results=True)
    sys.stderr = _steadied(sys.stderr, sys.__stderr__, of_results=False)


def _steadied(now: TextIO | None, original: TextIO | None, *, of_results: bool) -> TextIO:
    if now is None:  # closed by who started this process
        return Path(os.devnull).open("w")
    if now is not original or not isinstance(now, io.TextIOWrapper):
        return now
    return Steady(now, of_results=of_results)
