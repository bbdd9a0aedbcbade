"""What the doors of this room can be told. Frozen; units in the line of each field.

Nothing here imports torch, ray, mlflow or kubernetes, so that `--help` answers at once.
"""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from data_pipeline.door import nearest

KINDS = ("shard", "train", "evaluate")
LOGS = "logs"
RELEASE = "sttn"


def _address() -> str:
    return os.environ.get("RAY_API_SERVER_ADDRESS", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitConfig:
    """Run a door as a job on a cluster, watch it, and end as it ends.

    The flags of the door follow after `--`: submit.py train youtube-vos -- --name first.
    """

    what: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="shard|train|evaluate|logs")
    ] = ""
    """What to run; or `logs`, to come back to a job by its name."""
    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET|NAME")] = ""
    """Of `train`: its preset. Of `logs`: the name of the job."""
    release: str = RELEASE
    """Of the chart: its templates are filled in."""
    namespace: str = ""
    """Of the release. Default: that of the kubeconfig's context."""
    context: str = ""
    """Of the kubeconfig. Default: its current one."""
    address: str = field(default_factory=_address)
    """Of a Ray cluster that is there already, with or without Kubernetes below:
    http(s)://host:8265. Its token is read from RAY_AUTH_TOKEN. Default: RAY_API_SERVER_ADDRESS;
    without it a RayJob is made, which brings a cluster of its own."""
    working_dir: str = ""
    """With --address: folder to send along and run in, as a checkout of this project. Default: what
    is installed on the cluster."""
    detach: bool = False
    """Submit, and do not wait."""
    cancel: bool = False
    """Stop the job instead of submitting it."""
    suspended: bool = False
    """Make the RayJob and let somebody else start it."""
    list: bool = False
    """Print the release's jobs, the newest first."""
    json: bool = False
    """End with one line of JSON: name, status, message."""

    def __post_init__(self) -> None:
        known = (*KINDS, LOGS)
        if self.list:
            self._check_list()
            return
        if self.what not in known:
            raise ValueError(
                f"unknown job {self.what!r}{nearest(self.what, known)}: give one of "
                f"{', '.join(known)}"
            )
        if self.address and not self.address.startswith(("http://", "https://")):
            raise ValueError(f"--address is {self.address!r}: give http(s)://host:8265")
        if self.what == LOGS and not self.preset:
            raise ValueError("logs of which job? Give its name: submit.py logs NAME")
        if self.what in ("shard", "evaluate") and self.preset:
            raise ValueError(
                f"{self.what} has no presets, {self.preset!r} is none: its flags follow after --"
            )
        if self.detach and self.cancel:
            raise ValueError("--detach and --cancel: give one of the two")
        if self.working_dir and not self.address:
            raise ValueError(
                "--working-dir goes with --address: a RayJob runs what its image holds"
            )
        if self.suspended and self.address:
            raise ValueError("--suspended is of a RayJob, and --address makes none")

    def _check_list(self) -> None:
        if self.address:
            raise ValueError("--list is of RayJobs: with --address ask `ray job list`")
        if self.what:
            raise ValueError(f"--list lists all jobs: leave {self.what!r} out")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Which release on which cluster."""

    release: str = RELEASE
    """Name of the Helm release."""
    namespace: str = ""
    """Of the release. Default: that of the kubeconfig's context."""
    context: str = ""
    """Of the kubeconfig. Default: its current one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpConfig(ClusterConfig):
    """Install the chart, or bring it up to date, and wait until all of it is ready."""

    values: tuple[str, ...] = ()
    """Files with values of the chart; the later ones win."""
    render: bool = False
    """Print the manifests and touch nothing."""
    wait_seconds: int = 900
    """For everything to be ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusConfig(ClusterConfig):
    """Say what is there, whether it is ready, and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownConfig(ClusterConfig):
    """Uninstall the release with its jobs. Volumes, buckets and what lies in them stay."""

    stop_jobs: bool = False
    """Also where some are at work: they go on from their last checkpoint when submitted again."""


ClusterCommand: Any = (
    Annotated[UpConfig, tyro.conf.subcommand("up", prefix_name=False)]
    | Annotated[StatusConfig, tyro.conf.subcommand("status", prefix_name=False)]
    | Annotated[DownConfig, tyro.conf.subcommand("down", prefix_name=False)]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerConfig(ClusterConfig):
    """Make one evaluation job for each version that asks for it."""

    tracking_uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", ""))
    """MLflow. Default: MLFLOW_TRACKING_URI."""
    model: str = "sttn"
    """Name of the registered model."""
    most: int = 2
    """Jobs at a time."""
    every_seconds: float = 10.0
    """Between two looks."""
    identity: str = ""
    """Of this replica. Default: the name of its host."""

    def __post_init__(self) -> None:
        if not self.tracking_uri:
            raise ValueError("--tracking-uri is missing: give it, or set MLFLOW_TRACKING_URI")
        if self.most < 1 or self.every_seconds <= 0:
            raise ValueError("--most is at least 1, and --every-seconds above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    """Try store, registry and Ray."""

    storage: str = field(default_factory=lambda: os.environ.get("STTN_STORAGE", ""))
    """URI that runs are kept under. Default: STTN_STORAGE."""
    tracking_uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", ""))
    """MLflow. Default: MLFLOW_TRACKING_URI."""
    address: str = ""
    """Of a Ray cluster; "" = none is tried."""
    ray_version: str = ""
    """What Ray of this image must be; "" = any."""

    def __post_init__(self) -> None:
        for flag, value in (("--storage", self.storage), ("--tracking-uri", self.tracking_uri)):
            if not value:
                raise ValueError(f"{flag} is missing")
