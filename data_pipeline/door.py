"""How every door of the project parses its command line, prints and exits.

Exit codes: 0 done (also: already done), 1 failed or refused by a rule, 2 the user's mistake.
"""

import contextlib
import difflib
import io
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import tyro

from data_pipeline.canonical import canonical_json

T = TypeVar("T")

MISTAKE = 2  # exit code: the same command would be refused again

# What tyro draws around its words: colours, a frame with the title in its top, rules.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TITLE = re.compile(r"^╭─.*╮$", re.MULTILINE)
_RULE = re.compile(r"^[\s│╰]*[-─]{5,}[\s│╯]*$")
_FLAG = re.compile(r"--[a-zA-Z][\w.-]*")
_COMMANDS = re.compile(r"\{([\w,-]+)\}")


class UserError(ValueError):
    """The user's mistake, in one line: what was asked, what was found, what to do."""


class Refused(Exception):  # noqa: N818 (a rule that says no is not an error)
    """Failed, or refused by a rule, in one line."""


def nearest(asked: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'demo'?)", or "" when nothing known resembles `asked`."""
    close = difflib.get_close_matches(asked, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_few(names: Iterable[str], most: int = 3, *, between: str = ", ") -> str:
    """Some names for a message: the first `most` in order, and how many more there are."""
    known = sorted(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return between.join(known[:most]) + more


def parse(
    kind: type[T],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    default: T | None = None,
) -> T:
    """Read a command line into `kind`, a dataclass or a union of subcommands.

    Raises:
        UserError: one line for whatever is wrong with the command line.
        SystemExit: code 0, after `--help` was printed.
    """

    def read(args: Sequence[str]) -> T:
        # tyro tells "no default" from None by leaving the argument out.
        chosen: dict[str, Any] = {} if default is None else {"default": default}
        result: T = tyro.cli(kind, prog=prog, description=description, args=args, **chosen)
        return result

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return read(argv)
    except SystemExit as stop:
        if not stop.code:
            raise
        # Looked up outside of this handler's context, so that no traceback is chained.
        cause = _cause(stop)
    raise UserError(_unknown(read, argv, prog) or _in_one_line(said.getvalue(), cause, prog))


def run_door(body: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run `body` on the command line and turn how it ended into an exit code.

    A `UserError` or a `Refused` is one line on stderr; any other exception is a fault of
    this project and keeps its traceback.
    """
    try:
        return body(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        return _say(f"error: {error}", MISTAKE)
    except Refused as error:
        return _say(f"refused: {error}", 1)
    except KeyboardInterrupt:
        return _say("interrupted; run the same command to go on", 130)
    except Exception:
        return _say(traceback.format_exc(), 1)


def say(text: str) -> None:
    """Print a line, or several, on stdout: what a door has to tell."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON on stdout."""
    say(canonical_json(value).decode())


def _say(line: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(line.rstrip() + "\n")
    sys.stderr.flush()
    return code


def _cause(stop: BaseException) -> ValueError | None:
    """Find the ValueError (of a `__post_init__`, say) that made tyro exit."""
    error: BaseException | None = stop
    while error is not None:
        if isinstance(error, ValueError):
            return error
        error = error.__context__
    return None


def _help(read: Callable[[Sequence[str]], object], args: Sequence[str]) -> str:
    """The help text of a parser: what it says it knows."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        read([*args, "--help"])
    return _COLOUR.sub("", text.getvalue())


def _unknown(read: Callable[[Sequence[str]], object], argv: Sequence[str], prog: str) -> str | None:
    """Name the first subcommand or flag of `argv` that the parser does not know."""
    text = _help(read, [])
    usage = _COMMANDS.search(text.split("\n\n")[0])
    command: list[str] = []
    if usage and argv and not argv[0].startswith("-"):
        commands = usage.group(1).split(",")
        if argv[0] not in commands:
            close = nearest(argv[0], commands)
            return f"unknown command {argv[0]!r}{close}; {prog} has: {', '.join(commands)}"
        command = [argv[0]]
        text = _help(read, command)
    flags = set(_FLAG.findall(text))
    for word in argv:
        flag = word.split("=")[0].replace("_", "-")
        if flag.startswith("--") and len(flag) > 2 and flag not in flags:
            where = " ".join([prog, *command])
            return f"unknown flag {word.split('=')[0]}{nearest(flag, flags)}; see {where} --help"
    return None


def _in_one_line(said: str, cause: ValueError | None, prog: str) -> str:
    """Take the sentence out of what tyro prints: title, rule, sentence, rule, ..."""
    parts: list[list[str]] = [[]]
    for line in _TITLE.sub("-----", _COLOUR.sub("", said)).splitlines():
        if _RULE.match(line):
            parts.append([])
        elif words := line.strip("│ "):
            parts[-1].append(words)
    sentence = " ".join(parts[1] if len(parts) > 1 else parts[0])
    if cause is not None and not sentence.startswith("Error parsing -"):
        return " ".join(str(cause).split())
    return f"{sentence.rstrip(' .')}; see {prog} --help"
