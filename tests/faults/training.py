"""The `train` command as a separate process, to be killed or disturbed."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from data_pipeline.storage import lake
from mlops.tracking import names
from tests.faults.processes import start_command
from tests.tiny import shard_tiny, write_videos
from training.checkpoints import checkpoint

CLIPS = 80  # of a run: 20 iterations, a checkpoint after each


@dataclass(frozen=True)
class Place:
    """Where runs read and write."""

    folder: Path
    elsewhere: str = ""
    """URI that runs are kept under; "" = in the folder."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def storage(self) -> str:
        return self.elsewhere or str(self.folder / "runs")

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def start(self, name: str, *flags: object, **environment: str) -> "subprocess.Popen[str]":
        """Start or resume a run of the smoke preset."""
        return start_command(
            "training/run.py", "smoke", "--name", name, "--clips", CLIPS,
            "--checkpoint-every-clips", 4, "--log-every-clips", 4, "--keep-checkpoints", 1000,
            "--data", self.data, "--storage", self.storage, "--tracking-uri", self.tracking_uri,
            "--json", *flags, **environment,
        )  # fmt: skip

    def checkpoints(self, name: str) -> dict[int, str]:
        """Clips -> URI of each checkpoint of a run."""
        return checkpoint.complete(lake.join(self.storage, name))

    def reached(self, name: str) -> int:
        """Clips of its newest checkpoint."""
        return max(self.checkpoints(name), default=0)

    def worlds(self, name: str) -> list[int]:
        """Number of workers behind each checkpoint, in order."""
        return [checkpoint.opened(uri).state()["world"] for uri in self.checkpoints(name).values()]

    def losses(self, name: str) -> dict[int, float]:
        """Clips -> hole loss of the interval that ended there, as it was logged last."""
        client, run_id = self._run(name, self.tracking_uri)
        history = client.get_metric_history(run_id, names.LOSS_HOLE)
        return {one.step: one.value for one in sorted(history, key=lambda one: one.timestamp)}

    def points(self, name: str, tracking_uri: str = "") -> set[tuple[str, int, float]]:
        """(key, clips, value) of everything in MLflow but timings."""
        client, run_id = self._run(name, tracking_uri or self.tracking_uri)
        return {
            (key, point.step, point.value)
            for key in client.get_run(run_id).data.metrics
            if not key.startswith(("speed/", "system/"))
            for point in client.get_metric_history(run_id, key)
        }

    def _run(self, name: str, tracking_uri: str) -> tuple[MlflowClient, str]:
        """A client, and the id of the run there."""
        record = lake.read_bytes(lake.join(self.storage, name, "run.json"))
        run_id = json.loads(record)["run_id"]
        return MlflowClient(tracking_uri, tracking_uri), run_id


def made(folder: Path) -> Place:
    """A place with a tiny data set and no runs."""
    place = Place(folder)
    shard_tiny(place.data, write_videos(folder / "videos", (24, 16, 12)))
    return place


def wait_until(what, seconds=240.0, process=None):
    """Wait for a condition while a process runs; fails when it does not come true."""
    end = time.monotonic() + seconds
    while not what():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the run has ended: {process.communicate()}")
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
