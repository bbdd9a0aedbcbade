"""The whole pipeline on tiny videos, each command in a separate process, as a user runs it."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
from mlflow import MlflowClient

from tests.tiny import write_videos

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.faults, pytest.mark.end_to_end, pytest.mark.distributed, pytest.mark.timeout(900),
]  # fmt: skip


def run(*command, expect=0, **environment):
    """Run a command; returns its last line as JSON, or its stderr where it should fail."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "PYTHONSAFEPATH": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
    if expect == 2:
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if "--json" in command else done


class Line:
    """Paths of the pipeline's products."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "lake/curated/tiny/v1"
        self.tracking = f"sqlite:///{folder}/mlflow.db"
        self.videos = write_videos(folder / "videos", (24, 16, 12))

    def shard(self, output, workers):
        return run(
            "data_pipeline/run.py", "shard", "--source", "videos", "--input", *self.videos,
            "--held-out", "video-0", "--width", 96, "--height", 96, "--static", 1,
            "--moving", 1, "--workers", workers, "--output", output, "--json",
        )  # fmt: skip

    def train(self, *flags, storage="runs"):
        return run(
            "training/run.py", "smoke", "--data", self.data, "--storage", self.folder / storage,
            "--tracking-uri", self.tracking, *flags, "--json",
        )  # fmt: skip

    def client(self):
        # Both URIs: else it would use the registry of an earlier test in this process.
        return MlflowClient(self.tracking, self.tracking)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    line = Line(tmp_path_factory.mktemp("line"))
    line.built = line.shard(line.data, workers=1)
    return line


@pytest.fixture(scope="module")
def trained(line):
    """A run of eight clips, stopped after four and resumed."""
    line.train("--name", "resumed", "--clips", "4")
    return line.train("--name", "resumed", "--clips", "8")


def test_two_workers_build_the_same_data_set_as_one(line, tmp_path):
    assert line.shard(tmp_path / "again", workers=2)["digest"] == line.built["digest"]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(line, trained):
    straight = line.train("--name", "straight", "--clips", "8", storage="other")
    assert trained["clips"] == straight["clips"] == 8
    assert trained["weights_sha256"] == straight["weights_sha256"]


def test_training_twice_registers_once(line, trained):
    again = line.train("--name", "resumed", "--clips", "8")
    assert again == trained
    tags = line.client().get_model_version("sttn", trained["model"].split("/")[-1]).tags
    for name in ("data_digest", "commit", "config_digest", "run_id"):
        assert tags[name], name
    assert tags["data_digest"] == line.built["digest"]
    run = line.client().get_run(tags["run_id"])
    assert run.info.status == "FINISHED"
    curve = line.client().get_metric_history(tags["run_id"], "loss/hole")
    assert [point.step for point in curve] == [4, 8]


@pytest.mark.usefixtures("trained")
def test_a_run_refuses_a_changed_config(line):
    refused = run(
        "training/run.py", "smoke", "--data", line.data, "--storage", line.folder / "runs",
        "--tracking-uri", line.tracking, "--name", "resumed", "--seed", "1", expect=2,
    )  # fmt: skip
    assert "seed was 0, is 1" in refused.stderr


def test_the_candidate_is_scored_once_and_refused_below_the_floor(line, trained):
    command = (
        "mlops/evaluate.py", "--model", trained["model"], "--data", line.data, "--tracking-uri",
        line.tracking, "--clips-per-video", 2, "--frames-per-clip", 6, "--workers", 1, "--json",
    )  # fmt: skip
    first = run(*command)
    assert run(*command)["run"] == first["run"]
    promote = ("mlops/promote.py", "--model", trained["model"], "--tracking-uri", line.tracking)
    refused = run(*promote, expect=1)
    assert "floor_propagated, the best classical fill" in refused.stderr
    assert "champion" not in line.client().get_registered_model("sttn").aliases


def test_inpaint_keeps_fps_and_number_of_frames(line, trained, tmp_path):
    out = tmp_path / "out.mp4"
    run(
        "mlops/inpaint.py", line.videos[0], "20,30,40,24", out, "--model", trained["model"],
        "--tracking-uri", line.tracking,
    )  # fmt: skip
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(25)
        assert sum(1 for _ in container.decode(stream)) == 24


def test_the_report_is_one_page_that_loads_nothing_else(line, trained, tmp_path):
    page = tmp_path / "report.html"
    run("mlops/report.py", trained["model"], "--tracking-uri", line.tracking, "--out", page)
    text = page.read_text()
    assert line.built["digest"][:12] in text
    assert 'src="http' not in text
    assert 'href="http' not in text


@pytest.mark.usefixtures("trained")
def test_no_champion_is_one_line_and_no_output(line, tmp_path):
    out = tmp_path / "none.mp4"
    refused = run(
        "mlops/inpaint.py", line.videos[0], "20,30,40,24", out, "--tracking-uri", line.tracking,
        expect=2,
    )  # fmt: skip
    assert "champion" in refused.stderr
    assert not out.exists()
