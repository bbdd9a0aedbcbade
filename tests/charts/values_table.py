"""The chart's values as tables, made from `values.yaml` and its comments.

python -m tests.charts.values_table     # writes them into charts/sttn/README.md
"""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from tests.charts.rendering import CHART

VALUES = CHART / "values.yaml"
README = CHART / "README.md"
BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"


@dataclass(frozen=True)
class Value:
    """One key of `values.yaml`."""

    path: tuple[str, ...]
    default: str | None
    """As it is written there; None for a key that holds others."""
    comment: str
    """What stands above it, in one line."""

    @property
    def name(self) -> str:
        return ".".join(self.path)


def values() -> list[Value]:
    """Every key in the file's order; one without a comment refers to its like in an earlier group.

    Like `data.cpu` and `head.cpu`, or `jobs.train.retries` and `jobs.shard.retries`. What `enabled`
    turns on differs from group to group, and is what stands above the group.
    """
    text = VALUES.read_text()
    first: dict[tuple[str, ...], str] = {}
    found = []
    for one in _below(yaml.compose(text), (), text):
        like = (*one.path[:-2], one.path[-1])
        comment = one.comment
        if comment:
            first.setdefault(like, one.name)
        elif like in first and one.path[-1] != "enabled":
            comment = f"As `{first[like]}`."
        found.append(Value(one.path, one.default, comment))
    return found


def tables() -> str:
    """A table for each group of values, and one for those that stand alone."""
    known = values()
    lines = []
    for group in (one for one in known if one.default is None and len(one.path) == 1):
        lines += [f"### `{group.name}`", "", group.comment, ""]
        lines += _table([one for one in known if one.path[0] == group.name and one is not group])
    alone = [one for one in known if one.default is not None and len(one.path) == 1]
    return "\n".join([*lines, "### Others", "", *_table(alone)])


def _table(rows: list[Value]) -> list[str]:
    shown = ["| value | default | |", "|---|---|---|"]
    for one in rows:
        default = "" if one.default is None else f"`{one.default}`"
        shown.append(f"| `{one.name}` | {default} | {one.comment.replace('|', chr(92) + '|')} |")
    return [*shown, ""]


def _below(node: yaml.MappingNode, path: tuple[str, ...], text: str) -> Iterator[Value]:
    for key, value in node.value:
        here = (*path, key.value)
        comment = _comment_above(key.start_mark.line, text.splitlines())
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield Value(here, None, comment)
            yield from _below(value, here, text)
        else:
            yield Value(here, _written(value, text), comment)


def _written(value: yaml.Node, text: str) -> str:
    if isinstance(value, yaml.SequenceNode) and not value.flow_style:
        return yaml.safe_dump(
            yaml.safe_load(yaml.serialize(value)), default_flow_style=True, width=10**6
        ).strip()
    return text[value.start_mark.index : value.end_mark.index]


def _comment_above(line: int, lines: list[str]) -> str:
    words: list[str] = []
    for above in reversed(lines[:line]):
        if not above.strip().startswith("#"):
            break
        words.insert(0, above.strip().lstrip("# "))
    return " ".join(words)


def replaced(readme: str) -> str:
    """The text of the README with its tables as they should be."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(replaced(README.read_text()))
