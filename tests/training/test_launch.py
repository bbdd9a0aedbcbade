"""How a run starts, resumes and is refused, by the command itself, with real workers.

All commands run in this process and share one Ray; refused ones never reach it.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from data_pipeline.cli.command import Refused
from data_pipeline.cli.ray_session import ray_session
from data_pipeline.read.reader import DataSet
from data_pipeline.tracking import client_timeouts
from mlops.tracking import names
from training.checkpoints import checkpoint
from training.checkpoints.checkpoint import checkpoint_uri
from training.checkpoints.unsharded import whole_networks
from training.config.serialisation import from_json
from training.driver import launch, workers
from training.planning.hardware import Hardware, Node
from training.run import main

pytestmark = [pytest.mark.waits, pytest.mark.distributed]

ROOT = Path(__file__).parents[2]
EVERY = 4  # clips, of one iteration
CLIPS = 24  # of the run from which others begin
SEEDED = "source"  # name of that run
UNREACHABLE = "http://127.0.0.1:9"
ALONE = "--workers", 1  # starts sooner
STILL = (
    "--optimiser.generator-learning-rate", 1e-30, "--optimiser.discriminator-learning-rate", 1e-30,
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def result(self):
        """The JSON on the last line."""
        assert self.code == 0, self
        return json.loads(self.out.splitlines()[-1])

    @property
    def complaint(self):
        """The one line of a user error, which is the only output."""
        assert self.code == 2, self
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        return self.err


class Place:
    """Where runs read and write."""

    def __init__(self, folder, data, other_data):
        self.storage = folder / "runs"
        self.tracking_uri = f"sqlite:///{folder}/mlflow.db"
        self.data, self.other_data = data, other_data

    def command(self, name, *flags):
        return [
            str(word)
            for word in (
                "smoke", "--name", name, "--data", self.data, "--storage", self.storage,
                "--tracking-uri", self.tracking_uri, "--validate-every-clips", 1000,
                "--validation-clips", 1, "--keep-checkpoints", 1000, "--json", *flags,
            )
        ]  # fmt: skip

    def train(self, name, *flags):
        """Start or resume a run."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(self.command(name, *flags))
        return Said(code, out.getvalue(), err.getvalue())

    def record(self, name):
        return json.loads((self.storage / name / "run.json").read_text())

    def exists(self, name):
        """Whether anything of a run is stored, here or in MLflow."""
        tagged = f"tags.{names.RUN_NAME} = '{name}'"
        experiment = self.client().get_experiment_by_name(names.EXPERIMENT)
        runs = experiment and self.client().search_runs([experiment.experiment_id], tagged)
        return bool(runs) or (self.storage / name / "run.json").exists()

    def checkpoint(self, name, clips):
        return checkpoint_uri(str(self.storage / name), clips)

    def weights(self, name, clips, which):
        """Weights of "generator", "ema" or "discriminator", without spectral norm vectors."""
        found = checkpoint.opened(self.checkpoint(name, clips))
        whole = whole_networks(found, from_json(found.state()["config"]))
        return {
            key.removeprefix(f"{which}."): tensor
            for key, tensor in whole.items()
            if key.startswith(f"{which}.") and not key.endswith((".u", ".v"))
        }

    def client(self):
        return MlflowClient(self.tracking_uri, self.tracking_uri)

    def versions(self, name):
        """Clips -> version that was registered of a run."""
        found = self.client().search_model_versions(f"run_id = '{self.record(name)['run_id']}'")
        assert len({one.tags[names.CLIPS] for one in found}) == len(found)
        return {int(one.tags[names.CLIPS]): one for one in found}


@pytest.fixture(scope="module")
def place(data_sets, tmp_path_factory):
    """With one Ray for all runs of this file."""
    data, other = data_sets["fitting"], data_sets["shortest held out"]
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("MLFLOW_TRACKING_URI", "STTN_DATA", "STTN_STORAGE", "RAY_ADDRESS"):
            patch.setenv(variable, "")  # MLflow writes the first
        forget_patience(patch)
        patch.setattr(workers, "_POLL_S", 0.1)  # training takes seconds here, not days
        with ray_session(2):
            yield Place(tmp_path_factory.mktemp("launch"), data, other)


@pytest.fixture(scope="module")
def source(place):
    """Result of a run of `CLIPS` clips that was registered every `EVERY` clips."""
    return place.train(SEEDED, "--clips", CLIPS, "--register-every-clips", EVERY).result


@pytest.fixture
def patience(monkeypatch):
    """MLflow's client has its own default timeouts."""
    forget_patience(monkeypatch)


@pytest.fixture
def jobs(monkeypatch):
    """Jobs that workers would have got; none is started, and the run ends."""
    received = []

    def lost(_config, job, *_):
        received.append(job)
        raise Refused("all workers are lost")

    monkeypatch.setattr(launch, "run_workers", lost)
    return received


def forget_patience(patch):
    """Remove timeouts that commands have set for MLflow's client, and undo later ones."""
    for variable in client_timeouts.SHORT:
        patch.setenv(variable, "")
        patch.delenv(variable)


def equal(one, other):
    """Whether two networks have the same weights, up to a step of the least learning rate."""
    assert one.keys() == other.keys()
    return all(torch.allclose(one[key], other[key], rtol=0, atol=1e-20) for key in one)


def test_a_missing_device_is_refused_before_anything_starts(place, tmp_path):
    here = Place(tmp_path, place.data, place.other_data)
    done = subprocess.run(
        [sys.executable, "training/run.py", *here.command("gpus", "--device", "cuda")],
        cwd=ROOT,
        env={**os.environ, "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = Said(done.returncode, done.stdout, done.stderr).complaint
    assert "2 workers want a GPU each and this machine has 0" in said
    assert "--device cpu" in said
    assert "--workers" not in said
    assert list(tmp_path.iterdir()) == []


def test_the_hardware_fills_what_is_left_to_it_and_a_resumed_run_keeps_its_precision(
    place, jobs, monkeypatch
):
    flags = (
        "--device", "auto", "--workers", 0, "--worker-threads", 0, "--precision", "auto",
        "--micro-batch-clips", 0, "--compile", "auto",
    )  # fmt: skip

    def train(*nodes):
        monkeypatch.setattr(launch, "seen", lambda: Hardware(nodes))
        said = place.train("open", *flags)
        assert said.code == 1
        config = jobs.pop().config
        return said.out, config, (config.workers, config.worker_threads, config.precision)

    out, config, filled = train(Node(cpus=4, memory_gib=8.0, cpu_bfloat16=True))
    assert filled == (1, 4, "bfloat16")
    assert (config.device, config.micro_batch_clips, config.compile) == ("cpu", 4, "off")
    assert "device cpu: there is no GPU\n" in out
    assert "precision bfloat16: the CPUs have it\n" in out
    assert place.record("open")["trained"]["precision"] == "bfloat16"
    old = Node(cpus=2, memory_gib=8.0)
    assert train(old, old)[2] == (2, 2, "bfloat16")


def test_a_run_is_registered_during_training(place, source):
    versions = place.versions(SEEDED)
    before = sorted(versions)[:-1]
    assert before
    assert max(versions) == CLIPS
    assert source["model"] == f"models:/sttn/{versions[CLIPS].version}"
    end = Path(place.checkpoint(SEEDED, CLIPS), "manifest.json").stat().st_mtime
    assert versions[before[0]].creation_timestamp / 1000 < end
    numbers = [int(versions[clips].version) for clips in sorted(versions)]
    assert numbers == sorted(numbers)
    for clips in versions:
        assert versions[clips].tags[names.CHECKPOINT] == place.checkpoint(SEEDED, clips)


def test_repeating_the_command_registers_nothing_new(place, source):
    before = place.versions(SEEDED).keys()
    again = place.train(SEEDED, "--clips", CLIPS, "--register-every-clips", EVERY)
    assert again.result == source
    assert place.versions(SEEDED).keys() == before


@pytest.mark.faults
@pytest.mark.usefixtures("source")
def test_a_run_starts_from_the_weights_of_a_checkpoint(place):
    early = place.checkpoint(SEEDED, EVERY)  # not the newest
    started = place.train("from-checkpoint", "--init", early, "--clips", EVERY, *STILL)
    assert started.result["clips"] == EVERY
    assert place.record("from-checkpoint")["init"] == early

    ours, theirs = ("from-checkpoint", EVERY), (SEEDED, EVERY)
    averaged = place.weights(*theirs, "ema")
    assert not equal(averaged, place.weights(*theirs, "generator"))
    assert not equal(averaged, place.weights(SEEDED, CLIPS, "ema"))
    assert equal(averaged, place.weights(*ours, "generator"))
    assert equal(averaged, place.weights(*ours, "ema"))
    discriminator = place.weights(*theirs, "discriminator")
    assert equal(discriminator, place.weights(*ours, "discriminator"))


@pytest.mark.faults
def test_a_run_starts_from_the_generator_of_a_version(place, source):
    version = place.versions(SEEDED)[CLIPS].version
    place.client().set_registered_model_alias("sttn", names.CANDIDATE, version)
    flags = "--init", "models:/sttn@candidate", "--clips", EVERY, *STILL, *ALONE
    assert place.train("from-version", *flags).result["clips"] == EVERY
    assert place.record("from-version")["init"] == source["model"]

    ours, theirs = ("from-version", EVERY), (SEEDED, CLIPS)
    averaged = place.weights(*theirs, "ema")
    assert equal(averaged, place.weights(*ours, "generator"))
    assert equal(averaged, place.weights(*ours, "ema"))
    discriminator = place.weights(*theirs, "discriminator")
    assert not equal(discriminator, place.weights(*ours, "discriminator"))


@pytest.mark.usefixtures("source")
def test_an_initial_alias_is_resolved_once_at_the_start_of_a_run(place, jobs):
    first, second = sorted(place.versions(SEEDED).values(), key=lambda one: int(one.version))[:2]
    again = "pinned", "--init", "models:/sttn@tried"
    place.client().set_registered_model_alias("sttn", "tried", first.version)
    assert place.train(*again).code == 1
    place.client().set_registered_model_alias("sttn", "tried", second.version)
    assert place.train(*again).code == 1
    assert [job.init for job in jobs] == [f"models:/sttn/{first.version}"] * 2
    assert place.train("pinned-later", *again[1:]).code == 1
    assert jobs[-1].init == f"models:/sttn/{second.version}"


def test_a_run_does_not_resume_with_other_initial_weights(place, source, jobs):
    early = place.checkpoint(SEEDED, EVERY)
    said = place.train(SEEDED, "--init", early).complaint
    assert f"init was None, is {early}" in said
    assert "another --name" in said

    assert place.train("other-weights", "--init", early).code == 1
    said = place.train("other-weights", "--init", source["model"]).complaint
    assert f"init was {early}, is {source['model']}" in said
    assert f"init was {early}, is None" in place.train("other-weights").complaint
    assert len(jobs) == 1


def test_weights_of_another_shape_are_refused_with_the_flag_to_give(place, source, jobs):
    for init in (place.checkpoint(SEEDED, EVERY), source["model"]):
        said = place.train("wide", "--init", init, "--generator.channels", 32).complaint
        assert f"--init {init} has a generator of another shape" in said
        assert "give --generator.channels, --generator.fill and the like" in said
    init = place.checkpoint(SEEDED, EVERY)
    said = place.train("wide", "--init", init, "--discriminator.channels", 8).complaint
    assert "give --discriminator.channels" in said
    assert not place.exists("wide")
    assert jobs == []


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    ("init", "words"),
    [
        ("models:/sttn/99", "models:/sttn/99 is not in the registry: sttn has"),
        ("models:/sttn@nobody", "aliases: candidate = version"),
        ("models:/snnt/1", "did you mean 'sttn'"),
        ("models:/sttn", "(a version)"),
        ("nowhere/clips-000000004", "nowhere/clips-000000004 is no checkpoint"),
    ],
)
def test_missing_initial_weights_are_refused(place, jobs, init, words):
    assert words in place.train("nothing", "--init", init).complaint
    assert not place.exists("nothing")
    assert jobs == []


@pytest.mark.usefixtures("source")
def test_a_damaged_checkpoint_as_initial_weights_is_refused(place, jobs, tmp_path):
    copy = tmp_path / "clips-000000004"
    shutil.copytree(place.checkpoint(SEEDED, EVERY), copy)
    file = sorted(copy.glob("*.safetensors"))[0]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    said = place.train("damaged", "--init", copy).complaint
    assert f"--init {copy}: {file.name} has" in said
    assert not place.exists("damaged")
    assert jobs == []


@pytest.mark.faults
@pytest.mark.usefixtures("source")
def test_another_data_set_is_refused_unless_allowed(place):
    digests = [DataSet.open(uri).digest for uri in (place.data, place.other_data)]
    other = SEEDED, "--data", place.other_data, "--clips", CLIPS + EVERY, *ALONE
    said = place.train(*other).complaint
    assert f"data digest was {digests[0][:12]}, is {digests[1][:12]}" in said
    assert "--allow-new-data" in said
    assert CLIPS + EVERY not in checkpoint.complete(str(place.storage / SEEDED))

    said = place.train(*other, "--allow-new-data")
    assert said.result["clips"] == CLIPS + EVERY
    assert f"resumes with another data set: {place.other_data}" in said.out
    read = [
        checkpoint.opened(place.checkpoint(SEEDED, clips)).state()["data_digest"]
        for clips in (CLIPS, CLIPS + EVERY)
    ]
    assert read == digests
    run = place.client().get_run(place.record(SEEDED)["run_id"])
    inputs = {one.dataset.digest for one in run.inputs.dataset_inputs}
    assert inputs == {digest[:32] for digest in digests}
    assert run.data.tags[names.DATA_DIGEST] == digests[1]
    assert place.versions(SEEDED)[CLIPS + EVERY].tags[names.DATA_DIGEST] == digests[1]


def test_a_changed_config_is_refused_with_every_difference(place, jobs):
    assert place.train("learnt").code == 1
    said = place.train(
        "learnt", "--seed", 1, "--generator.channels", 32, "--loss.hole", 2,
        "--optimiser.betas", 0.5, 0.9, "--precision", "bfloat16",
    ).complaint  # fmt: skip
    assert said == (
        "error: run 'learnt' was begun with another config (generator.channels was 16, is 32; "
        "loss.hole was 1.0, is 2.0; optimiser.betas was [0.0, 0.99], is [0.5, 0.9]; "
        "precision was float32, is bfloat16; seed was 0, is 1): "
        "give the values it was begun with, or another --name\n"
    )
    assert len(jobs) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ("--optimiser.betas", 0.5, 0.9),
        ("--optimiser.ema-half-life-clips", 4),
        ("--generator.patch-sizes", 8, 8, 4, 4, 2, 2, 1, 1),
    ],
    ids=lambda flags: flags[0].removeprefix("--"),
)
def test_the_same_command_resumes_a_run(place, jobs, flags):
    name = flags[0].removeprefix("--")
    for _ in range(2):
        assert place.train(name, *flags).code == 1  # the workers are lost, each time
    assert len(jobs) == 2


@pytest.mark.usefixtures("patience")
def test_a_new_run_does_not_start_without_mlflow(place, jobs):
    began = time.monotonic()
    said = place.train("never", "--tracking-uri", UNREACHABLE).complaint
    assert time.monotonic() - began < 60
    assert f"MLflow at {UNREACHABLE} does not answer" in said
    assert "another --tracking-uri" in said
    assert not place.exists("never")
    assert jobs == []


def test_a_started_run_needs_mlflow_only_with_require_tracking(place, jobs, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # a user may have even less patience
    assert place.train("begun").code == 1
    away = "begun", "--tracking-uri", UNREACHABLE
    said = place.train(*away, "--require-tracking").complaint
    assert f"MLflow at {UNREACHABLE} does not answer" in said
    assert len(jobs) == 1

    said = place.train(*away)
    assert said.code == 1
    assert f"MLflow at {UNREACHABLE} does not answer" in said.out
    assert len(jobs) == 2
    assert jobs[0].run_id == jobs[1].run_id == place.record("begun")["run_id"]


@pytest.mark.usefixtures("source")
def test_a_run_does_not_resume_in_another_mlflow(place, jobs, tmp_path):
    said = place.train(SEEDED, "--tracking-uri", f"sqlite:///{tmp_path}/other.db").complaint
    assert place.record(SEEDED)["run_id"] in said
    assert "the --tracking-uri it was begun with" in said
    assert jobs == []


@pytest.mark.faults
def test_storage_that_is_not_shared_with_workers_is_refused_once(place, monkeypatch):
    start, starts = launch.run_workers, []

    def elsewhere(config, *arguments):
        """Start the workers as on nodes that have another disk under the same path."""
        starts.append(arguments)
        record = place.storage / config.name / "run.json"
        record.rename(record.with_name("hidden"))
        start(config, *arguments)

    monkeypatch.setattr(launch, "run_workers", elsewhere)
    said = place.train("unshared")
    assert said.code == 2
    complaint = said.err.splitlines()[-1]
    assert complaint.startswith(f"error: storage {place.storage}/unshared is not shared: node ")
    assert "s3://" in complaint
    assert said.err.count("error: ") == 1
    assert len(starts) == 1
    assert checkpoint.complete(str(place.storage / "unshared")) == {}


@pytest.mark.usefixtures("source")
def test_a_checkpoint_that_vanishes_while_registered_is_reported_and_retried(
    place, tmp_path, capsys
):
    found = checkpoint.opened(place.checkpoint(SEEDED, EVERY))
    config = from_json(found.state()["config"])
    assert config.register_every_clips == EVERY
    registering = launch.Registering(config, str(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "complete", lambda _: pytest.fail("storage was listed"))
        registering.look(EVERY - 1)
    copy = Path(checkpoint_uri(str(tmp_path), EVERY))
    shutil.copytree(found.uri, copy)
    change_state(copy, run_id=place.client().create_run("0").info.run_id)  # not registered yet
    shards = list(copy.glob("*.safetensors"))
    before = len(place.client().search_model_versions("name = 'sttn'"))
    for shard in shards:
        shard.rename(tmp_path / shard.name)
    registering.look(EVERY)
    assert f"checkpoint at {EVERY} clips was not registered: " in capsys.readouterr().out
    assert len(place.client().search_model_versions("name = 'sttn'")) == before
    for shard in shards:
        (tmp_path / shard.name).rename(shard)
    registering.look(EVERY)
    assert f"{EVERY} clips: registered as models:/sttn/" in capsys.readouterr().out
    assert len(place.client().search_model_versions("name = 'sttn'")) == before + 1


def change_state(folder, **values):
    """Change values beside the tensors of a checkpoint, and the hash of them."""
    state, manifest = folder / checkpoint.STATE, folder / checkpoint.MANIFEST
    data = json.dumps({**json.loads(state.read_text()), **values}).encode()
    state.write_bytes(data)
    document = json.loads(manifest.read_text())
    document["files"][state.name] = {
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    manifest.write_text(json.dumps(document))
