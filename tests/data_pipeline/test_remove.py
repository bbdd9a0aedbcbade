"""`remove`: what it may delete, what it may not, and that an interrupted one can be completed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from data_pipeline import run
from data_pipeline.cli.command import Refused, UserError
from data_pipeline.config import RemoveConfig
from data_pipeline.format import manifest
from data_pipeline.format.provenance import DATA_DIGEST
from data_pipeline.inspection import remove
from data_pipeline.inspection.references import references as find_references
from data_pipeline.inspection.remove import MARK, remove_abandoned, remove_data_set
from data_pipeline.storage import lake
from data_pipeline.storage.lease import lease
from mlops.tracking import connection, runs
from tests.data_pipeline import handmade

DAY = 86400


@pytest.fixture
def own(tmp_path):
    uri = str(tmp_path / "lake" / "tiny" / "v1")
    handmade.make(uri)
    return uri


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """An MLflow with one run and one registered version, both made with data set `d...`."""
    # `mlflow.set_tracking_uri` writes this variable; tests of the next package must not read it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")
        uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
        connection.local_store_ready(uri)
        run_id = runs.ensure(uri, run_name="first", kind="training", tags={})
        runs.log_data_set(uri, run_id, "/lake/tiny/v1", "d" * 64, "training")
        client = MlflowClient(uri, uri)
        client.create_registered_model("sttn")
        tags = {DATA_DIGEST: "d" * 64}
        client.create_model_version("sttn", "/nowhere", run_id=run_id, tags=tags)
        other = runs.ensure(uri, run_name="binned", kind="training", tags={})
        runs.log_data_set(uri, other, "/lake/tiny/v2", "e" * 64, "training")
        client.delete_run(other)
        yield uri


def config(uri, **fields):
    return RemoveConfig(uri=str(uri), **{"tracking_uri": "", "no_registry": True, **fields})


def no_references(_uri, _digest):
    return ()


def files_below(root):
    return sorted(p.relative_to(root).as_posix() for p in Path(root).rglob("*") if p.is_file())


def age(root, days, clock=0.0):
    """Make every file below look this many days old."""
    then = (clock or time.time()) - days * DAY
    for path in Path(root).rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def test_remove_deletes_the_data_set_only(own, tmp_path):
    keep = tmp_path / "lake" / "tiny" / "v2"
    handmade.make(str(keep), seed=1, version="v2")
    before = files_below(keep)
    (Path(own) / "thesis.tex").write_text("years of work")
    (Path(own) / "shards" / "photo.tar").write_text("of somebody else")
    size = sum(file.size for file in manifest.load(own).payload.values())
    removed = remove_data_set(config(own), no_references)
    assert files_below(own) == ["shards/photo.tar", "thesis.tex"]
    assert files_below(keep) == before
    assert removed.files == 8
    assert removed.bytes > size


def test_remove_leaves_no_empty_folder(own):
    remove_data_set(config(own), no_references)
    assert not Path(own).exists()
    with pytest.raises(UserError, match="no data set at"):
        remove_data_set(config(own), no_references)


def test_the_manifest_is_removed_first_and_an_interrupted_remove_is_completed(own, monkeypatch):
    gone, honest = [], lake.remove

    def killed_after(count):
        left = iter(range(count))

        def remove_one(uri):
            if next(left, None) is None:
                raise KeyboardInterrupt
            gone.append(uri)
            honest(uri)

        return remove_one

    for count in range(1, 40):
        monkeypatch.setattr(lake, "remove", killed_after(count))
        with contextlib.suppress(KeyboardInterrupt):
            remove_data_set(config(own), no_references)
        assert not manifest.exists(own)
        if not Path(own).exists():
            break
        assert (Path(own) / MARK).exists(), gone[-1]
    assert gone[0].endswith(manifest.MANIFEST)
    assert not Path(own).exists()


KILLED = """
import os, signal, sys
from data_pipeline.storage import lake
from data_pipeline import run
honest, gone = lake.remove, []
def remove(uri):
    if len(gone) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    gone.append(uri)
    honest(uri)
lake.remove = remove
run.main(["remove", sys.argv[1], "--no-registry"])
"""


def test_a_killed_remove_is_completed_by_the_same_command(own):
    total = len(files_below(own))
    command = [sys.executable, "-c", KILLED, own]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not manifest.exists(own)
    assert 0 < len(files_below(own)) <= total
    assert run.main(["remove", own, "--no-registry"]) == 0
    assert not Path(own).exists()


def test_a_dry_run_removes_nothing(own, capsys):
    before = files_below(own)
    assert run.main(["remove", own, "--no-registry", "--dry-run", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"would remove {own}"
    value = json.loads(out[-1])
    assert (value["files"], value["dry_run"], value["removed"]) == (8, True, [own])
    assert files_below(own) == before


def test_remove_requires_a_registry_or_no_registry(own, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert run.main(["remove", own]) == 2
    assert "--no-registry" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{own}/none.db")
    assert run.main(["remove", own]) == 2
    assert "there is no registry at" in capsys.readouterr().err
    assert manifest.exists(own)
    assert not (Path(own) / "none.db").exists()


def test_runs_and_versions_that_use_the_data_set_are_named(own, registry, capsys, monkeypatch):
    path = Path(own) / manifest.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "d" * 64}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    assert run.main(["remove", own]) == 1
    error = capsys.readouterr().err
    assert "is used by models:/sttn/1, run first (" in error
    assert "of experiment sttn: nothing was removed" in error
    assert manifest.exists(own)
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "e" * 64}))
    assert run.main(["remove", own]) == 0
    assert not Path(own).exists()


def test_many_runs_are_all_found(registry, monkeypatch):
    search = MlflowClient.search_runs

    def two_at_once(self, *args, **kwargs):
        return search(self, *args, max_results=2, **kwargs)

    monkeypatch.setattr(MlflowClient, "search_runs", two_at_once)
    client = MlflowClient(registry, registry)
    experiment = client.create_experiment("many")
    ids = {
        client.create_run(experiment, tags={DATA_DIGEST: "c" * 64}).info.run_id for _ in range(7)
    }
    found = find_references(registry, "c" * 64)
    assert len(found) == 7
    assert all(any(run_id in line for line in found) for run_id in ids)


def test_an_unreachable_registry_prevents_removal(own, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Refused, match="removed, because references are not known: MLflow"):
        remove_data_set(
            config(own, tracking_uri="http://127.0.0.1:9", no_registry=False), find_references
        )
    assert manifest.exists(own)


def test_a_data_set_with_a_child_is_not_removed(own, tmp_path):
    parents = {own: manifest.load(own).digest}
    child = str(tmp_path / "lake" / "small" / "v1")
    handmade.make(child, seed=1, parents=parents)
    with pytest.raises(Refused, match=f"is used by data set {child}: nothing was removed"):
        remove_data_set(config(own), no_references)
    assert manifest.exists(own)
    far = str(tmp_path / "elsewhere" / "small" / "v1")
    Path(child).rename(tmp_path / "moved")
    handmade.make(far, seed=1, parents=parents)
    with pytest.raises(Refused, match="elsewhere"):
        remove_data_set(config(own, lake=str(tmp_path / "elsewhere")), no_references)
    remove_data_set(config(own), no_references)


def test_an_unfinished_build_is_not_removed_by_its_name(own):
    (Path(own) / manifest.MANIFEST).unlink()
    before = files_below(own)
    with pytest.raises(UserError, match="is an unfinished build"):
        remove_data_set(config(own), no_references)
    assert files_below(own) == before


def test_a_data_set_in_use_is_not_removed(own):
    with lease(lake.join(own, manifest.LEASE), what="the test"):
        with pytest.raises(Refused):
            remove_data_set(config(own), no_references)
        assert manifest.exists(own)


def test_only_abandoned_files_are_removed(own, tmp_path):
    root = tmp_path / "lake"
    for name in ("old", "new", "mixed"):
        uri = root / name / "v1"
        handmade.make(str(uri))
        (uri / manifest.MANIFEST).unlink()
        (uri / "_staging").mkdir()
        (uri / "_staging" / "note.json").write_text("{}")
        (uri / "thesis.tex").write_text("years of work")
        age(uri, 0 if name == "new" else 10)
    os.utime(root / "mixed/v1/_staging/note.json")
    (Path(own) / "_staging").mkdir()
    (Path(own) / "_staging" / "note.json").write_text("left by a build that finished")
    (root / "tiny/v1/shards/.train-00000-aaaaaaaa.tar.0123abcd.part").write_text("half")
    (root / ".paper.part").write_text("somebody's")
    age(own, 10)
    age_of_paper = time.time() - 10 * DAY
    os.utime(root / ".paper.part", (age_of_paper, age_of_paper))
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("a" * 64, "b" * 64, "notes.txt"):
        (cache / name).write_text("x")
    age(cache, 10)
    os.utime(cache / ("b" * 64))
    kept = {name: files_below(root / name) for name in ("new", "mixed")}
    settings = config(root, older_than=7.0, cache=str(cache))
    before = files_below(tmp_path)
    would = remove_abandoned(config(root, older_than=7.0, cache=str(cache), dry_run=True))
    assert files_below(tmp_path) == before
    removed = remove_abandoned(settings)
    assert removed == would
    assert sorted(line.split(" /")[0] for line in removed.removed) == [
        "cached file",
        "partial file",
        "unfinished build",
        "work files of",
    ]
    assert files_below(root / "old") == ["v1/thesis.tex"]
    assert {name: files_below(root / name) for name in kept} == kept
    assert sorted(files_below(own)) == sorted([*manifest.load(own).payload, manifest.MANIFEST])
    assert (root / ".paper.part").exists()
    assert sorted(path.name for path in cache.iterdir()) == ["b" * 64, "notes.txt"]
    assert remove_abandoned(settings).removed == ()
    # Another process resumes a build that looks abandoned, at the same moment.
    age(root / "mixed", 10)
    with lease(str(root / "mixed/v1/_lease"), what="the test"):
        age(root / "mixed", 10)
        assert remove_abandoned(settings).removed == ()
    assert files_below(root / "mixed/v1/shards")


@pytest.mark.parametrize("store", ["disk", "s3"])
def test_age_is_measured_by_the_clock_of_the_store(store, tmp_path, s3, monkeypatch):
    """A machine whose clock is years ahead deletes no file that was just written."""
    root = str(tmp_path / "lake") if store == "disk" else lake.join(s3, tmp_path.name)
    for name in ("shards/train-00000-aaaaaaaa.tar", "_staging/note.json"):
        lake.write_bytes(lake.join(root, "new/v1", name), b"{}")
    there = lake.list_files(root)
    year_s = 365 * DAY
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + year_s)
    assert run.main(["remove", root, "--older-than", "30"]) == 0
    assert lake.list_files(root) == there
    monkeypatch.setattr(time, "time", lambda: clock() - year_s)
    time.sleep(1.1 if store == "s3" else 0)  # S3 has times in whole seconds
    assert run.main(["remove", root, "--older-than", "0"]) == 0
    assert lake.list_files(root) == []


def test_wrong_flags_of_remove_are_refused(own, tmp_path, capsys):
    assert run.main(["remove", own, "--older-than", "-1"]) == 2
    assert "--older-than is -1.0: give 0" in capsys.readouterr().err
    assert run.main(["remove", own, "--cache", "/x"]) == 2
    assert "--cache needs --older-than" in capsys.readouterr().err
    assert run.main(["remove", str(tmp_path / "typo"), "--older-than", "1"]) == 2
    assert "there is nothing at" in capsys.readouterr().err
    assert run.main(["remove", own, "--older-than", "1", "--cache", str(tmp_path / "no")]) == 2
    assert "there is no cache folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "around"),
    [
        ("/x/curated/tiny/v1", "/x/curated"),
        ("/data/v1", "/data"),
        ("s3://bucket/curated/tiny/v1", "s3://bucket/curated"),
        ("s3://bucket/v1", "s3://bucket"),
    ],
)
def test_the_lake_of_a_data_set_uri(uri, around):
    assert remove._lake_of(uri) == around


def test_on_s3(s3):
    uri = lake.join(s3, "removed", "tiny", "v1")
    made = handmade.make(uri)
    lake.write_bytes(lake.join(uri, "thesis.tex"), b"years of work")
    child = lake.join(s3, "removed", "small", "v1")
    handmade.make(child, seed=1, parents={uri: made.digest})
    with pytest.raises(Refused, match="is used by data set s3://"):
        remove_data_set(config(uri), no_references)
    remove_data_set(config(child), no_references)
    remove_data_set(config(uri), no_references)
    assert lake.list_files(lake.join(s3, "removed")) == ["tiny/v1/thesis.tex"]
