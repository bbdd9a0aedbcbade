"""A team's MLflow: users with passwords, allowed hosts, PostgreSQL, served artifacts."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

from mlops import lineage, promote, report
from mlops.tracking import names, registry, runs
from tests.faults.processes import ROOT
from tests.mlops import foreign
from tests.mlops.server import ADMIN, PASSWORD, Server, basic, postgresql

pytestmark = [pytest.mark.waits, pytest.mark.distributed, pytest.mark.timeout(500)]

READER, READER_PASSWORD = "reader", "another of 20 characters"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with postgresql() as store, Server(tmp_path_factory.mktemp("team"), store, auth=True) as server:
        yield server


@pytest.fixture
def login(monkeypatch, tmp_path):
    """Log in as a user; the administrator until then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")

    def be(user, password):
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    be(ADMIN, PASSWORD)
    return be


@pytest.fixture
def team(server, login, tmp_path):
    """Flags of every command."""
    assert login
    return ["--tracking-uri", server.uri, "--leases", str(tmp_path / "leases")]


def said(capsys, code, command, *argv):
    """The one line that a command prints on stderr when it ends with this exit code."""
    capsys.readouterr()
    assert command.main([str(word) for word in argv]) == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert PASSWORD not in err
    assert READER_PASSWORD not in err
    return err.splitlines()[-1]


def create_user(uri, user, password):
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/users/create",
        data=json.dumps({"username": user, "password": password}).encode(),
        headers={"Authorization": basic(ADMIN, PASSWORD), "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()


@pytest.mark.faults
def test_evaluate_promote_and_rollback_on_a_team_server(
    server, team, tmp_path, data_set, capsys, monkeypatch
):
    uri = server.uri
    short = ("--data", data_set, "--clips-per-video", 1, "--frames-per-clip", 4, "--workers", 1)
    # Paths of Ray's sockets must be short.
    scratch = tempfile.mkdtemp()
    # A separate process: actors have the environment of their Ray.
    evaluate = ("mlops/evaluate.py", *team, *map(str, short), "--promote", "--json")
    for number, share in enumerate((0.98, 0.99), start=1):
        body = foreign.DIMMED.format(share=share)
        version = foreign.register(uri, tmp_path / f"model-{number}", body)
        assert version.version == str(number)
        done = subprocess.run(
            [sys.executable, *evaluate],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": scratch},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        printed = json.loads(done.stdout.splitlines()[-1])
        assert printed["decision"]["champion"] == str(number)
    assert {entry.name for entry in Path(scratch).iterdir()} <= {"ray"}  # no model is left
    shutil.rmtree(scratch)
    assert registry.resolve(uri, "models:/sttn@previous").version == "1"
    assert registry.pending(uri, "sttn") == []
    assert 0 < registry.megabytes(uri, registry.resolve(uri, "models:/sttn/1")) < 1
    assert promote.main([*team, "--rollback", "--why", "flickers"]) == 0
    assert registry.resolve(uri, "models:/sttn@champion").version == "1"
    capsys.readouterr()
    assert promote.main([*team, "--history", "--json"]) == 0
    history = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["to"] for one in history] == ["1", "2", "1"]
    assert lineage.main(["models:/sttn@champion", *team[:2]]) == 0
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert report.main(["models:/sttn/2", *team[:2], "--out", str(tmp_path / "page.html")]) == 0
    assert list(temporary.iterdir()) == []  # no copies of the server's files are left


def test_a_wrong_password_and_no_user_are_one_line(server, team, login, monkeypatch, capsys):
    login(ADMIN, "wrong, also of 20 chars")
    line = said(capsys, 2, promote, *team)
    assert line.startswith(f"error: MLflow at {server.uri} does not know user 'admin' with this")
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    assert "wants to know who asks" in said(capsys, 2, promote, *team)


def test_a_read_only_user_cannot_promote(server, team, login, tmp_path, capsys):
    uri = server.uri
    version = foreign.register(uri, tmp_path / "model")
    levels = {"candidate": 95.0, **foreign.CLASSICAL}
    champion = registry.alias_or_none(uri, names.MODEL, names.CHAMPION)
    against = {"champion": 1.0} if champion else {}
    foreign.record_evaluation(
        uri, version, tmp_path / "results", champion and champion.version, **levels, **against
    )
    create_user(uri, READER, READER_PASSWORD)
    login(READER, READER_PASSWORD)
    assert registry.resolve(uri, version.uri).version == version.version  # may read
    line = said(capsys, 2, promote, *team)
    assert line == (
        f"error: MLflow at {uri} does not let user 'reader' do this: ask its administrator for it"
    )
    login(ADMIN, PASSWORD)
    now = registry.alias_or_none(uri, names.MODEL, names.CHAMPION)
    assert (now and now.version) == (champion and champion.version)


def test_a_host_name_the_server_does_not_allow(server, team, capsys):
    elsewhere = f"http://localhost:{server.port}"
    line = said(capsys, 2, promote, "--tracking-uri", elsewhere, *team[2:])
    assert line.startswith(f"error: MLflow at {elsewhere} does not answer to that host name")
    # Probes use the address.
    with urllib.request.urlopen(f"{elsewhere}/health", timeout=5) as response:
        assert response.status == 200


def test_an_unreachable_server_is_one_line(team, capsys):
    line = said(capsys, 2, promote, "--tracking-uri", "http://127.0.0.1:9", *team[2:])
    assert line.startswith("error: MLflow at http://127.0.0.1:9 does not answer: start it, or")


@pytest.mark.faults  # after the one above that decides
def test_each_decision_records_its_user(server, team):
    decided = runs.find_all(server.uri, {names.KIND: names.KIND_DECISION}, finished=True, limit=10)
    assert team
    assert {run.data.tags["mlflow.user"] for run in decided} == {ADMIN}
