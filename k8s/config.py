"""What the doors of this room can be told. Frozen; units in the line of each field.

Nothing here imports torch, ray, mlflow or kubernetes, so that `--help` answers at once.
"""

import os
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from data_pipeline.door import nearest

KINDS = ("shard", "train", "evaluate")
LOGS = "logs"


def _address() -> str:
    return os.environ.get("RAY_API_SERVER_ADDRESS", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitConfig:
    """Run a door as a job of a Ray cluster, watch it, and end as it ends.

    The flags of the door follow after `--`: submit.py train youtube-vos -- --name first.
    """

    what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="shard|train|evaluate|logs")]
    """What to run; or `logs`, to come back to a job by its name."""
    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET|NAME")] = ""
    """Of `train`: its preset. Of `logs`: the name of the job."""
    address: str = field(default_factory=_address)
    """Of the Ray cluster: http(s)://host:8265. Its token is read from RAY_AUTH_TOKEN. Default:
    RAY_API_SERVER_ADDRESS."""
    working_dir: str = ""
    """Folder to send along and run in, as a checkout of this project. Default: what is installed
    on the cluster."""
    detach: bool = False
    """Submit, and do not wait."""
    cancel: bool = False
    """Stop the job instead of submitting it."""
    json: bool = False
    """End with one line of JSON: name, status, message."""

    def __post_init__(self) -> None:
        known = (*KINDS, LOGS)
        if self.what not in known:
            raise ValueError(
                f"unknown job {self.what!r}{nearest(self.what, known)}: give one of "
                f"{', '.join(known)}"
            )
        if not self.address:
            raise ValueError("--address is missing: give it, or set RAY_API_SERVER_ADDRESS")
        if not self.address.startswith(("http://", "https://")):
            raise ValueError(f"--address is {self.address!r}: give http(s)://host:8265")
        if self.what == LOGS and not self.preset:
            raise ValueError("logs of which job? Give its name: submit.py logs NAME")
        if self.what in ("shard", "evaluate") and self.preset:
            raise ValueError(
                f"{self.what} has no presets, {self.preset!r} is none: its flags follow after --"
            )
        if self.detach and self.cancel:
            raise ValueError("--detach and --cancel: give one of the two")
