"""JSON values to dataclasses, strictly: nothing unknown, nothing missing, nothing converted."""

import types
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar

from data_pipeline.cli.command import UserError, nearest

T = TypeVar("T")


def build(kind: type[T], values: Any, where: str) -> T:
    """A dataclass from the values that JSON brings back.

    Args:
        kind: a dataclass whose fields are plain values, tuples or dataclasses of the like.
        values: a mapping with exactly its fields.
        where: what to call it in a message.

    Raises:
        UserError: a key too many or too few, or a value of another type; names the nearest key.
    """
    if not isinstance(values, Mapping):
        raise UserError(
            f"{where} is {values!r} ({type(values).__name__}); wanted the fields of {kind.__name__}"
        )
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise UserError(f"{where} has an unknown key {key!r}{nearest(key, hints)}")
    missing = sorted(set(hints) - set(values))
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}")
    built = {key: _value(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    return kind(**built)


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if typing.get_origin(hint) is tuple:
        return _items(typing.get_args(hint), value, where)
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise UserError(f"{where} is {value!r}; it must be one of {typing.get_args(hint)}")
        return value
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) not in allowed:
        raise UserError(f"{where} is {value!r} ({type(value).__name__}); wanted {hint}")
    return value


def _items(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UserError(f"{where} is {value!r} ({type(value).__name__}); wanted a list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise UserError(f"{where} is {value!r}, {len(value)} long; wanted {len(kinds)}")
    return tuple(_value(kind, one, where) for kind, one in zip(kinds, value, strict=True))
