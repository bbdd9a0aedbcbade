"""Register a checkpoint as a version.

$ python training/export.py demo/runs/demo/checkpoints/clips-000000800
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from data_pipeline.cli.command import UserError, parse, print_json, say
from data_pipeline.tracking.store_uri import absolute as absolute_uri
from mlops.tracking import names
from mlops.tracking.command import run_command


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Register a checkpoint as the next version of a model and make it the candidate."""

    checkpoint: Annotated[str, tyro.conf.Positional]
    """URI of a checkpoint directory (clips-…)."""
    model: str = names.MODEL
    """Name of the registered model."""
    tracking_uri: str | None = None
    """MLflow tracking URI; default: the one of the training run."""
    data: str | None = None
    """URI of the data set it was trained on, where that has moved since."""
    frame_size: tuple[int, int] | None = None
    """Width and height of the frames it was trained on, pixels, where the data set is gone."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        """Check that frames have a size."""
        if self.frame_size is not None and min(self.frame_size) < 1:
            raise UserError(f"--frame-size {self.frame_size}: give a width and a height in pixels")
        if self.tracking_uri is not None:
            absolute_uri(self.tracking_uri)


def _body(argv: Sequence[str]) -> int:
    flags = parse(ExportConfig, argv, prog="training/export.py", description=str(__doc__))
    from data_pipeline.storage.lake import absolute
    from mlops.tracking import connection
    from training.checkpoints.checkpoint import opened
    from training.config.serialisation import from_json
    from training.registration.from_checkpoint import export, frame_size_of

    checkpoint = opened(flags.checkpoint)
    state = checkpoint.state()
    config = from_json(state["config"])
    tracking_uri = absolute_uri(flags.tracking_uri or str(config.tracking_uri))
    if flags.tracking_uri is None:
        connection.client(tracking_uri)  # of another machine, perhaps: none is made here unasked
    size = flags.frame_size
    if flags.data:
        config = replace(config, data=absolute(flags.data))
        size = size or frame_size_of(str(config.data), state["data_digest"])
    made = export(
        checkpoint,
        config,
        tracking_uri=tracking_uri,
        commit=state["commit"],
        model=flags.model,
        frame_size=size,
    )
    say(f"{made.uri} is @{names.CANDIDATE}: {checkpoint.clips} clips of run {config.name}")
    if flags.json:
        print_json({"model": made.uri, "clips": checkpoint.clips, "run": config.name})
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Export from the command line; returns the exit code."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
