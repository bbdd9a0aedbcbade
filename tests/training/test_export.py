"""The command registers any checkpoint, even when its run or data set is gone."""

import shutil

import pytest

from mlops import lineage
from mlops.tracking import connection, names, registry, runs
from tests.data_pipeline import handmade
from tests.training.test_launch import change_state
from tests.training.test_written_before import RUN
from training import export

CHECKPOINT = "checkpoints/clips-000000004"
LOST = "1" * 32  # the MLflow run of that checkpoint, which no store has


@pytest.fixture
def store(new_store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return new_store(tmp_path / "store")


@pytest.fixture
def moved(tmp_path):
    """A run whose data set lies elsewhere now: (URI of its checkpoint, of the data set, digest)."""
    data = str(tmp_path / "new place" / "tiny" / "v1")
    digest = handmade.make(data).digest
    shutil.copytree(RUN, tmp_path / "run")
    change_state(tmp_path / "run" / CHECKPOINT, data_digest=digest)
    return str(tmp_path / "run" / CHECKPOINT), data, digest


def exported(capsys, *argv):
    """(exit code, stdout, stderr)"""
    code = export.main([str(word) for word in argv])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_weights_of_a_purged_run_are_registered_once_with_a_warning(store, capsys):
    argv = f"{RUN}/{CHECKPOINT}", "--tracking-uri", store, "--frame-size", 96, 96
    code, out, _ = exported(capsys, *argv)
    assert code == 0
    assert f"has no run {LOST}" in out
    assert "models:/sttn/1 is @candidate: 4 clips of run first" in out
    assert exported(capsys, *argv)[0] == 0
    (version,) = registry.versions(store, "sttn")
    assert version.tags[names.LOST_RUN] == LOST
    assert runs.get(store, version.run_id).info.status == "FINISHED"
    assert lineage.main([version.uri, "--tracking-uri", store]) == 0
    assert "-> run export-first (" in capsys.readouterr().out


def test_weights_of_a_deleted_run_are_registered_with_a_restore_hint(store, tmp_path, capsys):
    run_id = runs.ensure(store, run_name="first", kind=names.KIND_TRAINING, tags={})
    connection.client(store).delete_run(run_id)
    shutil.copytree(RUN, tmp_path / "run")
    change_state(tmp_path / "run" / CHECKPOINT, run_id=run_id)
    argv = tmp_path / "run" / CHECKPOINT, "--tracking-uri", store, "--frame-size", 96, 96
    code, out, _ = exported(capsys, *argv)
    assert code == 0
    restore = f"MLFLOW_TRACKING_URI={store} mlflow runs restore --run-id {run_id}"
    assert f"is deleted in MLflow at {store}: restore it by {restore}" in out
    # A restored run is registered for as usual.
    connection.client(store).restore_run(run_id)
    assert exported(capsys, *argv)[0] == 0
    assert [one.run_id for one in registry.versions(store, "sttn")][-1] == run_id


def test_export_to_a_deleted_experiment_is_refused_by_name(store, capsys):
    number = connection.experiment_id(store)
    connection.client(store).delete_experiment(number)
    code, _, err = exported(
        capsys, f"{RUN}/{CHECKPOINT}", "--tracking-uri", store, "--frame-size", 96, 96
    )
    assert code == 2
    assert err == (
        f"error: experiment sttn is deleted in MLflow at {store}, with all its runs: restore it by "
        f"MLFLOW_TRACKING_URI={store} mlflow experiments restore --experiment-id {number}\n"
    )


def test_export_takes_a_moved_data_set_and_reports_a_missing_one(store, moved, capsys):
    checkpoint, data, digest = moved
    argv = checkpoint, "--tracking-uri", store
    code, _, err = exported(capsys, *argv)
    assert (code, err.count("\n")) == (2, 1)
    assert "/lake/v1" in err
    assert "or give --data with the place that its data set has now" in err
    assert exported(capsys, *argv, "--data", data)[0] == 0
    (version,) = registry.versions(store, "sttn")
    assert (version.tags[names.DATA_URI], version.tags[names.DATA_DIGEST]) == (data, digest)


@pytest.mark.parametrize("flags", [("--data", "{other}"), ("--frame-size", "0", "96")])
def test_another_data_set_or_no_size_is_refused(flags, store, moved, tmp_path, capsys):
    other = str(tmp_path / "other" / "v1")
    handmade.make(other, seed=1)
    words = [word.format(other=other) for word in flags]
    code, _, err = exported(capsys, moved[0], "--tracking-uri", store, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert "--frame-size" in err


def test_a_store_that_was_not_named_is_not_created(moved, capsys):
    """The store of the run, /mlflow.db, was on another machine."""
    code, _, err = exported(capsys, moved[0], "--frame-size", 96, 96)
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no tracking store at sqlite:////mlflow.db" in err
    assert "give the --tracking-uri" in err


def test_a_damaged_checkpoint_is_refused(store, tmp_path, capsys):
    shutil.copytree(RUN, tmp_path / "run")
    (shard,) = (tmp_path / "run" / CHECKPOINT).glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    argv = shard.parent, "--tracking-uri", store, "--frame-size", 96, 96
    code, _, err = exported(capsys, *argv)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{shard.name} has " in err
    assert registry.by_number(store, "sttn") == {}
