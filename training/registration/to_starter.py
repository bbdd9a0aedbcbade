"""Put a registered version in the place of the starter model, for a commit of the project.

$ python -m training.registration.to_starter models:/sttn@champion --tracking-uri URI
"""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import mlflow
import tyro

from data_pipeline.cli.command import parse, say
from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.tracking import store_uri
from mlops.starter.files import FOLDER, TAGS
from mlops.tracking import names, registry
from mlops.tracking.command import run_command
from mlops.tracking.loaded_model import files_of
from mlops.tracking.model_uri import parse_model_uri

# What of the tags means something away from the registry.
_KEPT = (
    names.CLIPS,
    names.CODE_DIGEST,
    names.COMMIT,
    names.CONFIG_DIGEST,
    names.DATA_DIGEST,
    names.WEIGHTS_SHA256,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptConfig:
    """Replace the starter model by a registered version."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """The version: models:/NAME@ALIAS or models:/NAME/NUMBER."""
    tracking_uri: str
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://…"""
    folder: Path = FOLDER
    """Folder to write, replaced when it is there."""


def _body(argv: Sequence[str]) -> int:
    config = parse(
        AdoptConfig, argv, prog="training.registration.to_starter", description=str(__doc__)
    )
    uri = store_uri.absolute(config.tracking_uri)
    parse_model_uri(config.model)

    version = registry.resolve(uri, config.model)
    with scratch_folder("starter") as scratch, files_of(uri, version.uri):
        files = mlflow.artifacts.download_artifacts(
            artifact_uri=version.uri, dst_path=str(scratch), tracking_uri=uri
        )
        shutil.rmtree(config.folder, ignore_errors=True)
        unwanted = shutil.ignore_patterns("__pycache__", "registered_model_meta")
        shutil.copytree(files, config.folder, ignore=unwanted)
    # MLflow notes where the files were when it took them, and reads their last names only.
    described = config.folder / "MLmodel"
    described.write_text(re.sub(r"(?<= )/\S+/(?=\S+\n)", "", described.read_text()))
    kept = {name: version.tags[name] for name in _KEPT if name in version.tags}
    tags = config.folder.with_name(TAGS.name)
    tags.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    say(f"{config.folder} is {version.uri} now: write its card")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
