"""The project's documents as data: blocks, tables, commands; and commands parsed alone."""

import functools
import importlib
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import tyro

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md", "CONTRIBUTING.md", "TROUBLESHOOTING.md", "CHANGELOG.md",
    "data_pipeline/README.md", "training/README.md", "mlops/README.md", "k8s/README.md",
    "charts/sttn/README.md", "examples/own_data.md", "mlops/starter/README.md",
)  # fmt: skip
ENVIRONMENT = {
    "STTN_DATA": "/lake/curated/somebodys/v1",
    "STTN_STORAGE": "/lake/runs",
    "MLFLOW_TRACKING_URI": "sqlite:////mlflow.db",
}
COMMANDS = (
    "data_pipeline/run.py", "training/run.py", "training/export.py", "training/import_weights.py",
    "mlops/evaluate.py", "mlops/promote.py", "mlops/inpaint.py", "mlops/inpaint_batch.py",
    "mlops/masks.py", "mlops/serve.py", "mlops/burn_in.py", "mlops/lineage.py", "mlops/prune.py",
    "mlops/report.py",
    "k8s/cluster.py", "k8s/submit.py",
)  # fmt: skip

_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    document: str
    language: str
    needs: str
    """What a machine needs to run it; "" = a test runs it."""
    text: str

    @property
    def name(self) -> str:
        """For the list of tests."""
        return f"{self.document}: {self.text.splitlines()[0][:50]}"

    def lines(self) -> list[str]:
        """Shell lines, continued ones joined, without comments."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line]


def read(document: str) -> str:
    """The text of a document."""
    return (ROOT / document).read_text()


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of some languages."""
    return [
        Block(document, language, info.strip().removeprefix("needs="), text)
        for document in DOCUMENTS
        for language, info, text in _FENCE.findall(read(document))
        if language in languages
    ]


def without_blocks(document: str) -> str:
    """The text around the blocks."""
    return _FENCE.sub("", read(document))


def rows(document: str, heading: str) -> list[list[str]]:
    """Cells of the first table whose head begins with this cell; code marks are left out."""
    lines = iter(read(document).splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            break
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        found.append([cell.replace("`", "").replace("\\|", "|").strip() for cell in cells])
    assert found, f"{document} has no table under {heading!r}"
    return found


class _ParsedError(BaseException):
    """A command line is right: the command itself is not run."""


def complaint_of(path: str, *words: str) -> str:
    """The error or warning of a command about its command line; "" where there is none."""
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    cli, said = tyro.cli, io.StringIO()
    # A submitted command line is parsed after that of the submission.
    left = 2 if "--" in words else 1

    def parsed(*args, **kwargs):
        nonlocal left
        config = cli(*args, **kwargs)
        left -= 1
        if not left:
            raise _ParsedError
        return config

    try:
        with (
            mock.patch.dict("os.environ", ENVIRONMENT),
            mock.patch("tyro.cli", parsed),
            redirect_stdout(said),
            redirect_stderr(said),
        ):
            code = module.main([*words])
    except _ParsedError:
        return said.getvalue()
    return said.getvalue() or f"it ended with {code} before it had read its command line"


@functools.cache
def flags_of(path: str) -> frozenset[str]:
    """Flags that a command's help names, of all its subcommands."""
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    found: set[str] = set()
    for words in _subcommands(path):
        said = io.StringIO()
        with redirect_stdout(said), suppress(SystemExit):
            module.main([*words, "--help"])
        found |= set(re.findall(r"--[a-z][\w.-]*", said.getvalue()))
    return frozenset(found)


def _subcommands(path: str) -> Iterator[tuple[str, ...]]:
    yield ()
    if path == "data_pipeline/run.py":
        yield from ((word,) for word in ("shard", "verify", "show", "list", "remove"))
    if path == "k8s/cluster.py":
        yield from ((word,) for word in ("up", "status", "down"))
