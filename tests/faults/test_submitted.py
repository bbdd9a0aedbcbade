"""Training as a job of a Ray cluster that requires a token: the commands as a user types them."""

import json
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlops.tracking import names
from tests.faults.head import started
from tests.faults.processes import ROOT, finish
from tests.faults.training import made, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.distributed, pytest.mark.timeout(700)]

CLIPS = 8
AUTHOR = "-c", "user.name=test", "-c", "user.email=test@invalid"
NOT_SENT = ".venv", ".git", "demo", "mlruns"
VARIABLES = {"data": "STTN_DATA", "storage": "STTN_STORAGE", "tracking_uri": "MLFLOW_TRACKING_URI"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("submitted"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A clean checkout of the tracked files."""
    folder = tmp_path_factory.mktemp("checkout")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "all")):
        subprocess.run(["git", *AUTHOR, *words], cwd=folder, check=True)
    for name in NOT_SENT:
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "left").touch()
    return folder


@pytest.fixture(scope="module")
def head(checkout):
    with started(checkout) as head:
        yield head


def test_a_submitted_run_equals_a_local_run(place, head):
    run = [
        "python", "training/run.py", "smoke", "--name", "submitted", "--clips", str(CLIPS),
        "--data", str(place.data), "--storage", str(place.storage),
        "--tracking-uri", place.tracking_uri, "--json",
    ]  # fmt: skip
    code, out = head.ray_job("submit", "--working-dir", ".", "--", *run)
    assert code == 0, out
    (sent,) = head.folder.glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*/")
    assert (sent / "training" / "run.py").is_file()
    assert not [name for name in NOT_SENT if (sent / name).exists()]
    said = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    assert (said["run"], said["clips"]) == ("submitted", CLIPS)
    code, out, err = finish(place.start("here", "--clips", CLIPS))
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["weights_sha256"] == said["weights_sha256"]


def test_the_readme_commands_record_the_commit(place, head):
    """Run unchanged, with the values of this cluster and of this run filled in."""
    readme = (ROOT / "training" / "README.md").read_text()
    (lines,) = (
        b for b in re.findall(r"```sh[^\n]*\n(.*?)```", readme, re.S) if "ray job submit" in b
    )
    token = head.environment["RAY_AUTH_TOKEN"]
    lines = re.sub(r"RAY_AUTH_TOKEN=\S+", f"RAY_AUTH_TOKEN={token}", lines)
    lines = lines.replace("http://127.0.0.1:8265", f"http://127.0.0.1:{head.port}")
    for flag, value in (
        ("--data", place.data),
        ("--storage", place.storage),
        ("--tracking-uri", place.tracking_uri),
    ):
        assert f"{flag} URI" in lines
        lines = lines.replace(f"{flag} URI", f"{flag} '{value}'")
    environment = {k: v for k, v in head.environment.items() if not k.startswith("RAY_AUTH")}
    done = subprocess.run(
        ["bash", "-ec", f"{lines.rstrip()} --name readme --clips {CLIPS}"],
        cwd=head.checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    git = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(git, cwd=head.checkout, capture_output=True, text=True, check=True)
    run_id = json.loads(Path(place.storage, "readme", "run.json").read_text())["run_id"]
    tags = MlflowClient(place.tracking_uri).get_run(run_id).data.tags
    assert tags[names.COMMIT] == commit.stdout.strip()


def test_a_command_without_flags_names_the_missing_settings(head):
    code, out = head.ray_job("submit", "--working-dir", ".", "--", "python", "training/run.py")
    assert code == 1
    assert "exit code 2" in out
    assert "this run needs --data (or STTN_DATA), --storage (or STTN_STORAGE)" in out
    assert "MLFLOW_TRACKING_URI" in out
    assert "python training/run.py demo" in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("name", "flags", "wanted"),
    [
        ("bare", (), "device cpu: there is no GPU"),
        (
            "growing", ("--device", "cuda", "--workers", "8"),  # a cluster may grow
            "the workers want 8 GPUs and the cluster has 0 now: waiting for more",
        ),
    ],
)  # fmt: skip
def test_a_command_reads_the_environment_and_looks_at_the_cluster(place, head, name, flags, wanted):
    variables = {name: str(getattr(place, field)) for field, name in VARIABLES.items()}
    given = json.dumps({"env_vars": variables})
    words = "--working-dir", ".", "--submission-id", name, "--no-wait"
    code, out = head.ray_job(
        "submit", *words, "--runtime-env-json", given, "--", "python", "training/run.py",
        "--name", name, *flags,
    )  # fmt: skip
    assert code == 0, out
    wait_until(lambda: wanted in head.ray_job("logs", name)[1], 120)
    code, out = head.ray_job("stop", name)
    assert code == 0, out
    assert "STOPPED" in head.ray_job("status", name)[1].upper()


@pytest.mark.parametrize(("token", "words"), [("wrong", "Authentication failed"), ("", "token")])
def test_submission_without_the_token_is_refused(head, token, words):
    command = "submit", "--submission-id", f"no-{token}", "--working-dir", "."
    given = {"RAY_AUTH_TOKEN": token and secrets.token_hex(16), "HOME": str(head.checkout)}
    code, out = head.ray_job(*command, "--", "python", "training/run.py", **given)
    assert code != 0
    assert words in out
    assert f"no-{token}" not in head.ray_job("list")[1]
