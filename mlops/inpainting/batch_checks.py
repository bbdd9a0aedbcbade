"""What of a batch is refused before any work: outputs, and an OUT that holds something else."""

import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from data_pipeline.cli.command import UserError, first_few
from data_pipeline.storage import lake
from mlops.config import InpaintBatchConfig
from mlops.inpainting import batch_results
from mlops.inpainting.batch_inputs import Job, absolute_masks
from mlops.inpainting.batch_results import MANIFEST, RESULTS, WORK
from mlops.inpainting.inpaint import encoding_of
from mlops.media.files import one_name


def check_outputs(config: InpaintBatchConfig, out: str, jobs: Sequence[Job]) -> None:
    """Refuse outputs that cannot be written, are one file, or are inputs.

    Raises:
        UserError: one of them is so.
    """
    _refuse_inside(out, config)
    encoding = encoding_of(config.filling)
    names: dict[str, tuple[Job, str]] = {}
    read = {_real(one.uri): one.uri for job in jobs for one in job.read}
    for job, column, path in _written(jobs):
        what = f"{column} {path!r} of {job.name}"
        _check_name(path, what)
        encoding.check(PurePosixPath(path).suffix.lower(), what)
        name = path if lake.is_s3(out) else one_name(path)
        other = names.setdefault(name, (job, column))
        if other[0] is not job or other[1] != column:
            raise UserError(
                f"{other[0].name} and {job.name} would both be written to {path}: rename one, or "
                "give a table with a column out"
            )
        if there := read.get(_real(lake.join(out, path))):
            raise UserError(f"the output of {job.name} is the input {there}: give another OUT")


def _written(jobs: Sequence[Job]) -> Iterator[tuple[Job, str, str]]:
    """Each output: its job, the column of a table that names it, and its path below OUT."""
    for job in jobs:
        for column, path in zip(("out", "compare"), job.outputs, strict=False):
            yield job, column, path


def _refuse_inside(out: str, config: InpaintBatchConfig) -> None:
    """Refuse an OUT whose files would be inputs of the next run."""
    inputs = lake.absolute(config.inputs)
    places = {"INPUTS": inputs, "--masks": absolute_masks(config.masks)}
    places |= {"--truth": _absolute(config.truth), "--flows": _absolute(config.flows)}
    for what, place in places.items():
        if place and f"{_real(out)}/".startswith(f"{_real(place)}/"):
            raise UserError(
                f"OUT {out} lies in {what} {place}, so that its videos would be inputs the next "
                "time: give a folder beside it"
            )


def _check_name(out: str, what: str) -> None:
    path = PurePosixPath(out)
    outside = path.is_absolute() or ".." in path.parts or "://" in out
    if outside or str(path) != out or path.parts[0] == WORK:
        raise UserError(f"{what} is no path below OUT: give a name such as a/b.mp4")


def refuse_other(
    out: str, settings: dict[str, Any], jobs: Sequence[Job], there: Sequence[lake.Entry]
) -> None:
    """Refuse an OUT that holds another batch, or files that are nobody's to replace."""
    manifest = batch_results.read_manifest(out)
    if manifest is not None:
        held = manifest["settings"]
        differing = [
            name for name in sorted(held | settings) if held.get(name) != settings.get(name)
        ]
        if differing:
            parts = (f"{one}: there {held.get(one)}, now {settings.get(one)}" for one in differing)
            raise UserError(
                f"{out} holds the results of another batch ({'; '.join(parts)}): give another "
                f"OUT, or delete {MANIFEST} there to fill all videos anew"
            )
        return
    names = {one.name for one in there}
    if RESULTS in names or any(name.startswith(f"{WORK}/") for name in names):
        return  # a batch that did not come to its end, or whose manifest was deleted
    if foreign := names & {path for job in jobs for path in job.outputs}:
        raise UserError(
            f"{out} holds {len(foreign)} files that would be replaced ({first_few(foreign)}), and "
            "no batch made them: give an empty or a new OUT"
        )


def _real(uri: str) -> str:
    return uri if lake.is_s3(uri) else os.path.realpath(uri)


def _absolute(place: str) -> str:
    return lake.absolute(place) if place else ""
