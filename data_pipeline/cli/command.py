"""Parses the command line, prints and exits: the same for every command of the project.

Exit codes: 0 done (also: already done), 1 failed or refused by a rule, 2 the user's mistake; 130,
143, 129 ended by Ctrl-C, SIGTERM, a closed terminal. When nobody reads stdout any more (`| head`),
a command ends at its next line with 141, as others do; work that prints nothing meanwhile is
finished. A full stdout ends nothing and gives exit code 1: the results were not delivered. A stderr
that cannot be written ends nothing.
"""

import contextlib
import difflib
import io
import json
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import tyro
from tyro import _errors  # private, therefore the upper bound in pyproject.toml
from tyro._arguments import ArgumentDefinition

from data_pipeline.cli import deprecated, help_layout, output, repeated, scratch, signals
from data_pipeline.cli.canonical import without_nan
from data_pipeline.cli.help_layout import Groups

T = TypeVar("T")

MISTAKE = 2  # exit code: the same command would be refused again
INTERRUPTED = 130  # exit code: by Ctrl-C, or by another request to end
_UNREAD = 141  # exit code of a shell for a process that was ended by SIGPIPE

# What the help of a command names.
_FLAG = re.compile(r"--[a-zA-Z][\w.-]*")
_COMMANDS = re.compile(r"\{([\w,-]+)\}")


class UserError(ValueError):
    """The user's mistake, in one line: what was requested, what was found, what to do."""


class Refused(Exception):  # noqa: N818 (a rule that says no is not an error)
    """Failed, or refused by a rule, in one line."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'demo'?)", or "" when nothing known resembles `name`."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_few(names: Iterable[str], limit: int = 3, *, between: str = ", ") -> str:
    """Name the first `limit` of some names in order, and say how many more there are."""
    known = sorted(names)
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return between.join(known[:limit]) + more


def parse(
    kind: type[T],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    default: T | None = None,
    renamed: Mapping[str, str] | None = None,
    groups: Groups | None = None,
) -> T:
    """Read a command line into `kind`, a dataclass or a union of subcommands.

    Args:
        kind: what is read.
        argv: the words of the command line.
        prog: name of the command in its help.
        description: what its help begins with; lines are joined but for those that begin with `$`,
            as examples do.
        default: where flags that are not given get their values from.
        renamed: old flags and values that still work, with a warning: see `deprecated.renamed`.
        groups: titles for options in the help: see `help_layout.Groups`.

    Raises:
        UserError: one line for whatever is wrong with the command line.
        SystemExit: code 0, after `--help` was printed.
    """
    argv = repeated.joined(deprecated.renamed(argv, renamed or {}), kind)
    # tyro tells "no default" from None by leaving the argument out.
    chosen: dict[str, Any] = {} if default is None else {"default": default}
    if {"-h", "--help"} & set(argv):
        kind, chosen = help_layout.grouped(kind, groups or {}, default), {}

    def read(args: Sequence[str]) -> T:
        result: T = tyro.cli(kind, prog=prog, description=description, args=args, **chosen)
        return result

    rejected: list[_errors.ParseErrorEvent] = []
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), _errors.on_parse_error(rejected.append):
            return read(argv)
    except SystemExit as stop:
        if not stop.code:
            raise
    # Out of the handler, so that no traceback is chained.
    assert rejected, printed.getvalue()
    raise UserError(" ".join(_sentence(rejected[0], read, argv, prog).split()))


def run_command(body: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run `body` on the command line and turn how it ended into an exit code.

    A `UserError` or a `Refused` is one line on stderr; any other exception is a fault of
    this project and keeps its traceback.

    Raises:
        SystemExit: code 0, after `--help` was printed.
    """
    output.make_steady()
    with signals.ending() as ending:
        scratch.sweep()
        helped = None
        try:
            code = _code(body, sys.argv[1:] if argv is None else argv, ending)
        except SystemExit as stop:
            helped, code = stop, 0
        with contextlib.suppress(output.Unread):
            sys.stdout.flush()
        problem = sys.stdout.error if isinstance(sys.stdout, output.Steady) else None
        if problem is not None and code == 0:
            if isinstance(problem, BrokenPipeError):
                return _UNREAD
            return _say(f"error: stdout cannot be written ({problem.strerror})", 1)
        if helped is not None:
            raise helped
        return code


def _code(body: Callable[[Sequence[str]], int], argv: Sequence[str], ending: signals.Ending) -> int:
    try:
        code = body(argv)
        return ending.exit_code if code == INTERRUPTED else code
    except output.Unread:
        return 0  # `run_command` sees why
    except UserError as error:
        return _say(f"error: {error}", MISTAKE)
    except Refused as error:
        return _say(f"refused: {error}", 1)
    except KeyboardInterrupt:
        by = signal.Signals(ending.first or signal.SIGINT).name
        return _say(f"interrupted by {by}; run the same command to resume", ending.exit_code)
    except Exception:
        return _say(traceback.format_exc(), 1)


def say(text: str) -> None:
    """Print a line, or several, of results on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON on stdout; null stands for NaN and infinities."""
    value = without_nan(value)
    form: dict[str, Any] = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    text = json.dumps(value, ensure_ascii=False, **form)
    try:
        text.encode(sys.stdout.encoding or "utf-8")  # None: a text in memory
    except UnicodeEncodeError:
        text = json.dumps(value, **form)
    say(text)


def _say(line: str, code: int) -> int:
    with contextlib.suppress(output.Unread):
        sys.stdout.flush()
    sys.stderr.write(line.rstrip() + "\n")
    sys.stderr.flush()
    return code


def _sentence(
    rejected: _errors.ParseErrorEvent,
    read: Callable[[Sequence[str]], object],
    argv: Sequence[str],
    prog: str,
) -> str:
    """Why tyro rejects a command line."""
    commands, flags = _known(read, [])
    if commands and argv and argv[0] in commands:
        prog = f"{prog} {argv[0]}"
        _, flags = _known(read, argv[:1])
        commands = []
    match rejected:
        case (
            _errors.UnrecognizedArgs(tokens=words)
            | _errors.MissingArgs(unrecognized_tokens=[*words])
        ) if words:
            return _unknown(words, commands, flags, prog)
        case _errors.MissingArgs(missing_arguments=missing):
            said = f"Missing from {prog}: {', '.join(_invocation(one.arg) for one in missing)}"
        case _errors.MissingSubcommand():
            said = f"no command is given; {prog} has: {', '.join(commands)}"
        case _errors.BadValue(argument=argument):
            said = f"Missing value for argument '{argument.display_name()}'"
        case _errors.InvalidChoice(argument=argument, value=value):
            choices = ", ".join(sorted(argument.lowered.choices or ()))
            said = f"{argument.display_name()} is {value!r}: give one of {choices}"
        case _errors.InstantiationFailure(message=message, argument=None):
            return str(message)  # of a check of ours, which names its flag and the cure
        case _errors.InstantiationFailure(message=message, argument=argument):
            assert argument is not None
            said = f"Error parsing {argument.display_name()}: {message}"
        case _:
            said = f"{prog} was called in a way that it does not understand: {type(rejected)}"
    return f"{said}; see {prog} --help"


def _invocation(argument: ArgumentDefinition) -> str:
    """Return how an argument is given: `--flag INT`, or `URI` for a positional one."""
    flag = "" if argument.is_positional() else argument.display_name()
    return f"{flag} {argument.lowered.metavar}".strip()


def _known(
    read: Callable[[Sequence[str]], object], args: Sequence[str]
) -> tuple[list[str], set[str]]:
    """The commands and flags that the help of a parser names."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        read([*args, "--help"])
    usage = _COMMANDS.search(text.getvalue().split("\n\n")[0])
    return usage.group(1).split(",") if usage else [], set(_FLAG.findall(text.getvalue()))


def _unknown(words: Sequence[str], commands: Sequence[str], flags: set[str], prog: str) -> str:
    """Name the first word that is no command, or no flag."""
    if commands and not words[0].startswith("-"):
        close = nearest(words[0], commands)
        return f"unknown command {words[0]!r}{close}; {prog} has: {', '.join(commands)}"
    for word in words:
        flag = word.split("=")[0].replace("_", "-")
        if flag.startswith("--") and len(flag) > 2 and flag not in flags:
            return f"unknown flag {word.split('=')[0]}{nearest(flag, flags)}; see {prog} --help"
    return f"Unrecognized options: {', '.join(words)}; see {prog} --help"
