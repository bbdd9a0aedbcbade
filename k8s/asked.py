"""What is asked of a job: checked here, before a cluster is bothered, and named by what it does.

The name is a function of what the job works on, so that the same submission is the same job.
"""

import hashlib
import importlib.metadata
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from data_pipeline.config import Command, ShardConfig
from data_pipeline.door import UserError, first_few, parse
from mlops.config import EvaluateConfig
from training.config import ENVIRONMENT, flag
from training.invocation import invocation

LONGEST = 47  # characters of a RayJob's name that KubeRay takes
_INSTALLED = {"shard": "sttn-data", "train": "sttn-train", "evaluate": "sttn-evaluate"}
_IN_CHECKOUT = {
    "shard": "python data_pipeline/run.py",
    "train": "python training/run.py",
    "evaluate": "python mlops/evaluate.py",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One job."""

    name: str
    """Lower case letters, digits and hyphens."""
    kind: str
    """shard, train or evaluate."""
    arguments: str
    """Of the door, for a shell."""
    entrypoint: str
    """Door and arguments, for a shell."""


def asked(kind: str, preset: str, flags: Sequence[str], *, checkout: bool = False) -> Asked:
    """The job that a command line asks for.

    Args:
        kind: shard, train or evaluate.
        preset: of training; "" = its default.
        flags: of the door.
        checkout: it runs in a checkout of this project instead of an installation.

    Raises:
        UserError: the door would not take the flags, a path means a folder of this machine, or
            the name is too long.
    """
    words = [*(["shard"] if kind == "shard" else []), *([preset] if preset else []), *flags]
    with _on_cluster():
        works_on, places = _read(kind, words)
    if not checkout:
        _check_places(places)
    name = _named(kind, works_on)
    door = (_IN_CHECKOUT if checkout else _INSTALLED)[kind]
    arguments = shlex.join(words)
    return Asked(name, kind, arguments, f"{door} {arguments}".strip())


def check_ray(there: str, who: str) -> None:
    """See that what was checked here is what runs there.

    Args:
        there: the version of Ray.
        who: for the message, as "the cluster runs".

    Raises:
        UserError: here is another one, but for its last number.
    """
    here = importlib.metadata.version("ray")
    if there.split(".")[:2] != here.split(".")[:2]:
        raise UserError(f"{who} Ray {there}, and here is {here}: install the same version")


def _read(kind: str, words: Sequence[str]) -> tuple[str, Sequence[tuple[str, str | None]]]:
    """The run, data set or version that a job works on, and its flags that name a place, with it.

    Two jobs of a kind that work on the same are the same one.
    """
    if kind == "train":
        run = invocation(words)[1].config
        return run.name, [(flag(name), getattr(run, name)) for name in ENVIRONMENT]
    if kind == "shard":
        shard = parse(Command, words, prog="data_pipeline/run.py", description="")
        assert isinstance(shard, ShardConfig)
        places = [*(("--input", one) for one in shard.input), ("--output", shard.output)]
        return "-".join(shard.output.rstrip("/").split("/")[-2:]), places
    judged = parse(EvaluateConfig, words, prog="evaluate", description="")
    if judged.watch:
        raise UserError("--watch never ends, and a job has a deadline: start it beside MLflow")
    named = ("data", "tracking_uri", "masks", "flows", "i3d")
    places = [(flag(name), getattr(judged, name)) for name in named]
    return judged.model.removeprefix("models:/"), places


def _check_places(places: Sequence[tuple[str, str | None]]) -> None:
    """See that no place is meant as seen from the folder that somebody is in here."""
    here = [f"{name} {place}" for name, place in places if place and _is_relative(place)]
    if here:
        raise UserError(
            f"{first_few(here)}: a job's pods do not have the folder that you are in. Give an "
            "s3:// URI, a path that the pods mount, or a server"
        )


def _is_relative(place: str) -> bool:
    path = place.removeprefix("sqlite:///")
    return not path.startswith("/") and ":" not in path


def _named(kind: str, works_on: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", works_on.lower()).strip("-")
    if slug != works_on:
        # Other characters were there: two such names must not become one.
        slug = f"{slug}-{hashlib.sha256(works_on.encode()).hexdigest()[:6]}"
    name = f"sttn-{kind}-{slug}"
    if len(name) > LONGEST:
        raise UserError(
            f"the job would be called {name!r}: {len(name)} characters, and KubeRay takes "
            f"{LONGEST}. Give what it works on ({works_on!r}) a shorter name"
        )
    return name


@contextmanager
def _on_cluster() -> Iterator[None]:
    """What the cluster's pods have in their environment counts as given, and not what is here."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT.values()}
    os.environ.update({name: f"/the/{name}/of/the/cluster" for name in before})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
