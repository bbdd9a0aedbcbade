"""`--help` with its options in titled groups.

tyro draws one box for each nested dataclass. So for the help alone, and never for parsing, a
dataclass is rebuilt with its fields in one nested dataclass for each group.
"""

import ast
import dataclasses
import functools
import inspect
import operator
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

Groups = Mapping[str, Sequence[str]]
"""Names of fields by the title of their group, one word; the others come first, without a title."""


def grouped(kind: Any, groups: Groups, default: Any = None) -> Any:
    """A type whose help shows the options of `kind` in groups.

    Args:
        kind: a dataclass, or a union of subcommands; what is nested in it under `arg(name="")` is
            grouped with it, other nested dataclasses are groups of their own already.
        groups: of plain fields.
        default: an instance of `kind` whose values are shown as defaults.
    """
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        members = (grouped(one, groups) for one in typing.get_args(kind))
        return functools.reduce(operator.or_, members)
    if typing.get_origin(kind) is Annotated:
        inner, *marks = typing.get_args(kind)
        return Annotated[(grouped(inner, groups, default), *marks)]
    hints = typing.get_type_hints(kind, include_extras=True)
    said = _docstrings(kind)
    shown = {
        field.name: _shown(
            field,
            hints[field.name],
            said.get(field.name),
            getattr(default, field.name, dataclasses.MISSING),
            groups,
        )
        for field in dataclasses.fields(kind)
    }
    boxes = []
    for title, names in groups.items():
        if fields := [shown.pop(name) for name in names if name in shown]:
            boxes.append(_box(title, fields))
    return _made(kind.__name__, [*shown.values(), *boxes], inspect.getdoc(kind))


def _shown(
    field: dataclasses.Field[Any], hint: Any, said: str | None, value: Any, groups: Groups
) -> tuple[str, Any, Any]:
    """A field of the rebuilt dataclass, with its text and its default."""
    if value is dataclasses.MISSING:
        value = field.default
    factory: Any = field.default_factory
    if value is dataclasses.MISSING and factory is not dataclasses.MISSING:
        value = factory()
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    if dataclasses.is_dataclass(inner):
        marks = typing.get_args(hint)[1:]
        unnamed = any(getattr(mark, "name", None) == "" for mark in marks)
        hint = grouped(hint, groups if unnamed else {}, value)
        return field.name, hint, dataclasses.field()
    if said:
        hint = Annotated[hint, tyro.conf.arg(help=said)]
    if value is dataclasses.MISSING:
        return field.name, hint, dataclasses.field()
    return field.name, hint, dataclasses.field(default_factory=lambda: value)


def _box(title: str, fields: Sequence[Any]) -> tuple[str, Any, Any]:
    kind = _made(title, fields, "")
    marks = tyro.conf.OmitArgPrefixes, tyro.conf.arg(name=title)
    # No field of the command line begins with "_": the names stay apart.
    return f"_{title}", Annotated[(kind, *marks)], dataclasses.field()


def _made(name: str, fields: Sequence[Any], doc: str | None) -> Any:
    return dataclasses.make_dataclass(name, fields, namespace={"__doc__": doc}, kw_only=True)


def _docstrings(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass, as one line; Python itself forgets it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    said = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(text))):
                said[name] = " ".join(text.split())
    return said
