"""Errors sent between processes: as text, and again in their own class where they arrive.

Ray would wrap what a worker raises, print it several times, and retry what cannot work.
"""

import json
import traceback
from collections.abc import Iterator

from data_pipeline.cli.command import Refused, UserError

_Kind = type[UserError] | type[Refused]


class Unexpected(Exception):  # noqa: N818 (its message begins with the name of the true class)
    """A fault of this project, or of a library, in another process; its traceback is a note."""


def encode(error: Exception) -> str:
    """Encode an error as JSON; with its traceback unless it is a `UserError` or a `Refused`."""
    ours = [_name(one) for one in type(error).__mro__ if issubclass(one, (UserError, Refused))]
    text = "" if ours else "".join(traceback.format_exception(error))
    return json.dumps(
        {"classes": ours, "message": str(error) if ours else said(error)}
        | ({"traceback": text} if text else {})
    )


def decode(data: str) -> Exception:
    """Decode what `encode` made, in the same class, or the nearest one known here."""
    sent = json.loads(data)
    known = {_name(one): one for one in (*_below(UserError), *_below(Refused))}
    for name in sent["classes"]:
        if name in known:
            return known[name](sent["message"])
    error = Unexpected(sent["message"])
    error.add_note(f"in another process:\n{sent['traceback'].rstrip()}")
    return error


def said(error: Exception) -> str:
    """Describe an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _below(kind: _Kind) -> Iterator[_Kind]:
    yield kind
    for one in kind.__subclasses__():
        yield from _below(one)
