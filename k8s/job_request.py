"""A job from a command line: validated before anything is submitted, and named by what it does.

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

from data_pipeline.cli.bounds import flag
from data_pipeline.cli.command import UserError, first_few, parse
from data_pipeline.config import RENAMED, Command, ShardConfig
from mlops.config import EvaluateConfig, InpaintBatchConfig
from mlops.media.mask_reading import is_boxes
from training.config.invocation import invocation
from training.config.train_config import ENVIRONMENT

LONGEST = 47  # characters of a RayJob's name that KubeRay takes
_INSTALLED = {
    "shard": "sttn-data",
    "train": "sttn-train",
    "evaluate": "sttn-evaluate",
    "inpaint": "sttn-inpaint-batch",
}
_IN_CHECKOUT = {
    "shard": "python data_pipeline/run.py",
    "train": "python training/run.py",
    "evaluate": "python mlops/evaluate.py",
    "inpaint": "python mlops/inpaint_batch.py",
}


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job."""

    name: str
    """Lower case letters, digits and hyphens."""
    kind: str
    """shard, train, evaluate or inpaint."""
    arguments: str
    """Arguments of the command, quoted for a shell."""
    entrypoint: str
    """Command and arguments, quoted for a shell."""


def job_request(
    kind: str, preset: str, flags: Sequence[str], *, checkout: bool = False
) -> JobRequest:
    """Build the job of a command line.

    Args:
        kind: shard, train, evaluate or inpaint.
        preset: preset of training; "" = its default.
        flags: flags of the command.
        checkout: run in a checkout of this project instead of an installation.

    Raises:
        UserError: the command would refuse the flags, a path means a folder of this machine, or
            the name is too long.
    """
    words = [*(["shard"] if kind == "shard" else []), *([preset] if preset else []), *flags]
    with _on_cluster():
        works_on, places = _read(kind, words)
    if not checkout:
        _check_places(places)
    name = _named(kind, works_on)
    command = (_IN_CHECKOUT if checkout else _INSTALLED)[kind]
    arguments = shlex.join(words)
    return JobRequest(name, kind, arguments, f"{command} {arguments}".strip())


def check_ray(there: str, who: str) -> None:
    """Check that Ray is the same version here and there: the flags were validated here.

    Args:
        there: version of Ray on the cluster.
        who: subject of the message, as "the cluster runs".

    Raises:
        UserError: the major or minor versions differ.
    """
    here = importlib.metadata.version("ray")
    if there.split(".")[:2] != here.split(".")[:2]:
        raise UserError(f"{who} Ray {there}, and here is {here}: install the same version")


def _read(kind: str, words: Sequence[str]) -> tuple[str, Sequence[tuple[str, str | None]]]:
    """Return what a job works on (run, data set, version or folder), and its flags with paths.

    Two jobs of one kind that work on the same thing are the same job.
    """
    if kind == "train":
        run = invocation(words)[1].config
        return run.name, [(flag(name), getattr(run, name)) for name in ENVIRONMENT]
    if kind == "shard":
        shard = parse(Command, words, prog="data_pipeline/run.py", description="", renamed=RENAMED)
        assert isinstance(shard, ShardConfig)
        places = [*(("--input", one) for one in shard.input), ("--output", shard.output)]
        return _last_two(shard.output), places
    if kind == "inpaint":
        batch = parse(InpaintBatchConfig, words, prog="inpaint_batch", description="")
        places = [("INPUTS", batch.inputs), ("OUT", batch.out)]
        places += [(flag(name), getattr(batch, name)) for name in ("masks", "tracking_uri")]
        return _last_two(batch.out), [one for one in places if not is_boxes(one[1])]
    judged = parse(EvaluateConfig, words, prog="evaluate", description="")
    if judged.watch:
        raise UserError("--watch never ends, and a job has a deadline: start it beside MLflow")
    named = ("data", "tracking_uri", "masks", "flows", "i3d")
    places = [(flag(name), getattr(judged, name)) for name in named]
    return judged.model.removeprefix("models:/"), places


def _last_two(place: str) -> str:
    """Return the last two parts of a path or URI."""
    return "-".join(place.rstrip("/").split("/")[-2:])


def _check_places(places: Sequence[tuple[str, str | None]]) -> None:
    """Refuse relative paths: they mean a folder of this machine."""
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
        # Characters were replaced: two such names must not become one.
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
    """Validate with the variables that the cluster's pods have set, not with those set here."""
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
