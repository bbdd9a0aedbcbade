"""Door: a file of official weights becomes a registered version.

python training/import_weights.py sttn.pth --name sttn
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor

from data_pipeline.door import UserError, parse, print_json, say
from data_pipeline.provenance import commit
from mlops import names, registry, runs, tracking
from mlops.door import run_door
from mlops.registry import Version
from training.checkpoint import weights_sha256
from training.config import GeneratorConfig
from training.export import model_folder
from training.model.official import (
    DISCRIMINATOR,
    GENERATOR,
    discriminator_from_official,
    generator_from_official,
    read_official,
)

_WIDTH, _HEIGHT = 432, 240  # of the frames that official weights learnt from, pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportConfig:
    """Register weights of the official code (researchmm/STTN) as a version and its candidate."""

    file: Annotated[Path, tyro.conf.Positional]
    """File of the official code (.pth) with the generator; a discriminator in it is checked."""
    name: str = names.MODEL
    """Name of the registered model."""
    origin: str = ""
    """Where the file came from, in words or as an address; default: the file's name."""
    licence: str = "not stated"
    """Of the weights, as their authors give them: an SPDX name, or words."""
    masked_attention: bool = False
    """Leave patches that lie mostly in the hole out of the keys; the weights learnt without it."""
    tracking_uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", ""))
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    json: bool = False
    """End with one line of JSON: model, origin, origin_sha256, weights_sha256, already_there."""

    def __post_init__(self) -> None:
        """Check that it is known where to register."""
        if not self.tracking_uri:
            raise UserError("where to register? Give --tracking-uri or set MLFLOW_TRACKING_URI")


def import_weights(config: ImportConfig) -> tuple[Version, bool]:
    """Register a file once; returns the version, and whether it was there already.

    Raises:
        UserError: the file is not there, or does not hold the official networks.
    """
    weights, sha256 = _checked(config.file)
    tracking_uri = tracking.absolute_uri(config.tracking_uri)
    origin = config.origin or config.file.name
    run_name = f"import-{config.file.stem}"
    identity = {
        names.ORIGIN_SHA256: sha256,
        names.MASKED_ATTENTION: str(config.masked_attention).lower(),
    }
    found = registry.find(tracking_uri, config.name, identity)
    if found is not None:
        return found, True
    shape = GeneratorConfig(masked_attention=config.masked_attention)
    run_id = runs.ensure(
        tracking_uri,
        run_name=run_name,
        kind=names.KIND_IMPORT,
        tags={names.ORIGIN: origin, **identity},
    )
    with model_folder(weights, shape, _WIDTH, _HEIGHT, config.licence) as (folder, code):
        version = registry.register(
            tracking_uri,
            name=config.name,
            run_id=run_id,
            clips=0,
            model_dir=folder,
            tags={
                names.ORIGIN: origin,
                **identity,
                names.RUN_NAME: run_name,
                names.COMMIT: commit(),
                names.CODE_DIGEST: code,
                names.WEIGHTS_SHA256: weights_sha256(weights),
            },
        )
    runs.finish(tracking_uri, run_id)
    registry.offer(tracking_uri, version)
    return version, False


def _checked(path: Path) -> tuple[dict[str, Tensor], str]:
    """The generator's weights in a file, every name and shape compared; and the file's sha256."""
    try:
        networks = read_official(path)
        with path.open("rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # names the file
        raise UserError(str(error)) from error
    if GENERATOR not in networks:
        raise UserError(
            f"{path}: holds a discriminator only, which fills no hole: give the file with "
            f"{GENERATOR!r}"
        )
    try:
        if DISCRIMINATOR in networks:
            discriminator_from_official(networks[DISCRIMINATOR])
        return dict(generator_from_official(networks[GENERATOR]).state_dict()), sha256
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _body(argv: Sequence[str]) -> int:
    asked = parse(ImportConfig, argv, prog="training/import_weights.py", description=str(__doc__))
    version, there = import_weights(asked)
    word = "was registered before as" if there else "is registered as"
    say(f"{asked.file} {word} {version.uri}; origin: {version.tags[names.ORIGIN]}")
    if asked.json:
        print_json(
            {
                "model": version.uri,
                "origin": version.tags[names.ORIGIN],
                "origin_sha256": version.tags[names.ORIGIN_SHA256],
                "weights_sha256": version.tags[names.WEIGHTS_SHA256],
                "already_there": there,
            }
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Import from the command line; returns the exit code."""
    return run_door(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
