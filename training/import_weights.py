"""Register a file of official weights, or the starter model, as a version.

$ python training/import_weights.py sttn.pth --name sttn

$ python training/import_weights.py starter
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from data_pipeline.cli.command import UserError, parse, print_json, say
from data_pipeline.tracking.store_uri import absolute as absolute_uri
from mlops.starter.files import STARTER
from mlops.tracking import names
from mlops.tracking.command import run_command

if TYPE_CHECKING:
    from mlops.tracking.registry import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportConfig:
    """Register official weights (researchmm/STTN), or the starter model, as a version."""

    file: Annotated[Path, tyro.conf.Positional]
    """File of the official code (.pth), its discriminator is checked too; or starter."""
    name: str = names.MODEL
    """Name of the registered model."""
    origin: str = ""
    """Origin of the file, in words or as an address; default: the file's name."""
    licence: str = "not stated"
    """Licence of the weights, as their authors give it: an SPDX name, or words."""
    masked_attention: bool = False
    """Leave patches that lie mostly in the hole out of the keys; trained without it officially."""
    tracking_uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", ""))
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    json: bool = False
    """End with one line of JSON: model, origin, origin_sha256, weights_sha256, already_there."""

    def __post_init__(self) -> None:
        """Check that it is known where to register."""
        if not self.tracking_uri:
            raise UserError("where to register? Give --tracking-uri or set MLFLOW_TRACKING_URI")


def _body(argv: Sequence[str]) -> int:
    config = parse(ImportConfig, argv, prog="training/import_weights.py", description=str(__doc__))
    tracking_uri = absolute_uri(config.tracking_uri)
    version, there = _registered(config, tracking_uri)
    word = "was registered before as" if there else "is registered as"
    say(f"{config.file} {word} {version.uri}; origin: {version.tags[names.ORIGIN]}")
    if config.json:
        print_json(
            {
                "model": version.uri,
                "origin": version.tags[names.ORIGIN],
                "origin_sha256": version.tags.get(names.ORIGIN_SHA256, ""),
                "weights_sha256": version.tags[names.WEIGHTS_SHA256],
                "already_there": there,
            }
        )
    return 0


def _registered(config: ImportConfig, tracking_uri: str) -> tuple["Version", bool]:
    if str(config.file) == STARTER:
        from training.registration.from_starter import import_starter

        return import_starter(model=config.name, tracking_uri=tracking_uri)
    from training.registration.from_official import import_weights

    return import_weights(
        config.file,
        model=config.name,
        origin=config.origin or config.file.name,
        licence=config.licence,
        masked_attention=config.masked_attention,
        tracking_uri=tracking_uri,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Import from the command line; returns the exit code."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
