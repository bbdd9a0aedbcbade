"""Flags of the commands of this room. Frozen; units in the line of each field.

Nothing here imports torch, ray, mlflow or kubernetes, so that `--help` answers at once.
"""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from data_pipeline.cli.bounds import bounded, refuse_out_of_bounds
from data_pipeline.cli.command import nearest

KINDS = ("shard", "train", "evaluate", "inpaint")
LOGS = "logs"
RELEASE = "sttn"

# Old flags of the controller, and what they are called now; they go with the next release.
RENAMED_CONTROLLER = {"--most": "--max-concurrent-jobs"}


def _address() -> str:
    return os.environ.get("RAY_API_SERVER_ADDRESS", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitConfig:
    """Run a command as a job on a cluster, follow its log, and exit with its exit code.

    The flags of the command follow after `--`: submit.py train youtube-vos -- --name first.
    """

    what: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="shard|train|evaluate|inpaint|logs")
    ] = ""
    """What to run; or `logs`, to follow a job again by its name."""
    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET|NAME")] = ""
    """For `train`: its preset. For `logs`: the name of the job."""
    release: str = RELEASE
    """Name of the Helm release whose job templates are used."""
    namespace: str = ""
    """Namespace of the release. Default: that of the kubeconfig's context."""
    context: str = ""
    """Context of the kubeconfig. Default: its current one."""
    address: str = field(default_factory=_address)
    """Jobs API of a Ray cluster that exists already, with or without Kubernetes below:
    http(s)://host:8265. Its token is read from RAY_AUTH_TOKEN. Default: RAY_API_SERVER_ADDRESS;
    without it a RayJob is created, which brings a cluster of its own."""
    working_dir: str = ""
    """With --address: folder to upload and run in, as a checkout of this project. Default: what is
    installed on the cluster."""
    detach: bool = False
    """Submit, and do not wait."""
    cancel: bool = False
    """Stop the job instead of submitting it."""
    suspended: bool = False
    """Create the RayJob suspended: a queue, or a person, starts it."""
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
        if self.what not in ("train", LOGS) and self.preset:
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
    """A release, and the cluster it is on."""

    release: str = RELEASE
    """Name of the Helm release."""
    namespace: str = ""
    """Namespace of the release. Default: that of the kubeconfig's context."""
    context: str = ""
    """Context of the kubeconfig. Default: its current one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpConfig(ClusterConfig):
    """Install or upgrade the chart, and wait until all of it is ready."""

    values: tuple[str, ...] = ()
    """Files with values of the chart; later ones override earlier ones."""
    render: bool = False
    """Print the manifests and touch nothing."""
    wait_seconds: int = bounded(900, 1, 10**6)
    """Timeout until everything is ready, in seconds."""

    def __post_init__(self) -> None:
        refuse_out_of_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusConfig(ClusterConfig):
    """Show the components of the release, whether each is ready, and if not, why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownConfig(ClusterConfig):
    """Uninstall the release with its jobs. Volumes, buckets and their data stay."""

    stop_jobs: bool = False
    """Stop jobs that run, too: submitted again, they resume from their last checkpoint."""


ClusterCommand: Any = (
    Annotated[UpConfig, tyro.conf.subcommand("up", prefix_name=False)]
    | Annotated[StatusConfig, tyro.conf.subcommand("status", prefix_name=False)]
    | Annotated[DownConfig, tyro.conf.subcommand("down", prefix_name=False)]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerConfig(ClusterConfig):
    """Start one evaluation job for each version of the registry that is pending."""

    tracking_uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", ""))
    """URI of MLflow. Default: MLFLOW_TRACKING_URI."""
    model: str = "sttn"
    """Name of the registered model."""
    max_concurrent_jobs: int = bounded(2, 1, 1000)
    """Evaluation jobs at a time."""
    every_seconds: float = bounded(10.0, 0.1, 10**6)
    """Interval between two polls of the registry, in seconds."""
    identity: str = ""
    """Name of this replica. Default: that of its host."""

    def __post_init__(self) -> None:
        if not self.tracking_uri:
            raise ValueError("--tracking-uri is missing: give it, or set MLFLOW_TRACKING_URI")
        refuse_out_of_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepLogConfig:
    """Run a command, and keep its log in the storage."""

    storage: str = field(default_factory=lambda: os.environ.get("STTN_STORAGE", ""))
    """URI under which `logs/` is. Default: STTN_STORAGE; without it the log is not kept."""
    every_seconds: float = bounded(60.0, 0.1, 10**6)
    """Interval between two copies while the command runs, in seconds."""

    def __post_init__(self) -> None:
        refuse_out_of_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestConfig:
    """Use storage, registry and Ray from inside the cluster, as its pods do."""

    storage: str = field(default_factory=lambda: os.environ.get("STTN_STORAGE", ""))
    """URI under which runs are kept. Default: STTN_STORAGE."""
    tracking_uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", ""))
    """URI of MLflow. Default: MLFLOW_TRACKING_URI."""
    address: str = ""
    """Jobs API of a Ray cluster; "" = Ray is not tested."""
    ray_version: str = ""
    """Version that Ray of this image must have; "" = any."""

    def __post_init__(self) -> None:
        for flag, value in (("--storage", self.storage), ("--tracking-uri", self.tracking_uri)):
            if not value:
                raise ValueError(f"{flag} is missing")
