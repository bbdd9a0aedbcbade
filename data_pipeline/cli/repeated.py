"""A flag that takes several values, given more than once: its values are joined.

Without this the last one would count alone: `--values a.yaml --values b.yaml` would drop a.yaml.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints


def joined(argv: Sequence[str], kind: Any) -> list[str]:
    """Join the values of repeated flags: `--input a --input b` becomes `--input a b`.

    Args:
        argv: the words of the command line.
        kind: the dataclass, or union of dataclasses, that they are read into.
    """
    several = set(_flags_of_several(kind, ""))
    words: list[list[str]] = []
    first: dict[str, list[str]] = {}
    current: list[str] | None = None  # a flag of several, and its values so far
    for word in argv:
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if word.startswith("--") and name in several:
            if name not in first:
                first[name] = [name]
                words.append(first[name])
            current = first[name]
            current += [value] if equals else []
        elif word.startswith("--") or current is None:
            words.append([word])
            current = None
        else:
            current.append(word)
    return [word for group in words for word in group]


def _flags_of_several(kind: Any, prefix: str) -> Iterator[str]:
    """Yield the flags of fields that are tuples of any length, in nested dataclasses too."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            hint = hints[field.name]
            bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
            flag = f"{prefix}{field.name.replace('_', '-')}"
            if get_origin(bare) is tuple and get_args(bare)[-1:] == (...,):
                yield f"--{flag}"
            # A dataclass with an empty name has no prefix; no other field has these names.
            yield from _flags_of_several(bare, f"{flag}.")
            yield from _flags_of_several(bare, prefix)
    else:
        for one in get_args(kind):
            yield from _flags_of_several(one, prefix)
