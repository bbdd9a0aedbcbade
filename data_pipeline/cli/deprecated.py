"""Old names of flags, of their values and of environment variables, which work for this release.

Each use is one warning line on stderr that names the new one. `--help` shows the new names only.
"""

import sys
from collections.abc import Mapping, Sequence


def renamed(argv: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Replace old flags and values of a command line by the new ones.

    Args:
        argv: the words of the command line.
        names: new name of each old one: `{"--old": "--new"}` renames a flag and keeps its value
            (of a boolean flag, `--no-old` too), `{"--flag old": "--flag new"}` renames a value.
            Either side may be a flag alone or a flag with its value.
    """
    known = {_negated(old): _negated(new) for old, new in names.items() if " " not in old + new}
    known |= names
    words: list[str] = []
    left = list(argv)
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        flag = flag.replace("_", "-") if flag.startswith("--") else flag
        if not equals and left:
            value = left[0]
        if new := known.get(f"{flag} {value}"):
            left = left if equals else left[1:]
            words += new.split(" ")
            warn(f"{flag} {value}", new)
        elif new := known.get(flag):
            first, *rest = new.split(" ")
            words += [f"{first}={value}"] if equals and not rest else [first, *rest]
            warn(flag, new)
        else:
            words.append(word)
    return words


def variable(environment: Mapping[str, str], name: str, old: str) -> str | None:
    """Return the value of an environment variable, or of its old name; None if neither is set."""
    if name not in environment and old in environment:
        warn(old, name)
    return environment.get(name, environment.get(old))


def warn(old: str, new: str) -> None:
    """Print the one line that names the new name."""
    sys.stderr.write(f"warning: {old} is now {new}; the old name goes with the next release\n")


def _negated(flag: str) -> str:
    """Return tyro's name of the opposite of a boolean flag: `--a.no-b` for `--a.b`."""
    group, dot, name = flag.removeprefix("--").rpartition(".")
    return f"--{group}{dot}no-{name}"
