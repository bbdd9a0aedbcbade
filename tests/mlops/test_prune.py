import json

import pytest
from mlflow.exceptions import MlflowException

from mlops import prune
from mlops.tracking import connection, names, registry
from tests.mlops import foreign


@pytest.fixture
def versions(store, tmp_path):
    """Six versions: 6 is the candidate, 2 the champion, 3 protected, 4 protected no more."""
    made = [foreign.register(store, tmp_path / f"model-{i}") for i in range(6)]
    registry.set_alias(store, made[1], names.CHAMPION)
    registry.set_tags(store, made[2], {names.PROTECTED: "paper, table 2"})
    registry.set_tags(store, made[3], {names.PROTECTED: "false"})
    return made


def run(store, *flags):
    return prune.main(["--tracking-uri", store, *flags])


def numbers(store):
    return [one.version for one in registry.versions(store, names.MODEL)]


def test_prune_keeps_aliases_protected_and_newest_versions(store, versions, capsys):
    assert run(store, "--keep", "1", "--json") == 0
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[-1]) == {
        "deleted": ["1", "4", "5"], "kept": ["2", "3", "6"], "dry_run": False,
    }  # fmt: skip
    assert out[:-1] == [
        "models:/sttn/1: deleted",
        "models:/sttn/2: stays, @champion",
        "models:/sttn/3: stays, protected=paper, table 2",
        "models:/sttn/4: deleted",
        "models:/sttn/5: deleted",
        "models:/sttn/6: stays, @candidate, one of the newest 1",
    ]
    assert numbers(store) == ["2", "3", "6"]
    with pytest.raises(MlflowException, match="not found"):
        connection.client(store).get_logged_model(versions[0].source.removeprefix("models:/"))
    assert foreign.load("models:/sttn@champion") is not None


def test_the_source_of_a_copied_version_is_kept(store, versions, capsys):
    """MLflow copies no files of a version; and a copy may be copied again."""
    known = connection.client(store)
    known.copy_model_version(versions[0].uri, "production")
    known.copy_model_version("models:/production/1", "archive")
    known.create_registered_model("again")
    known.create_model_version("again", versions[4].source)
    assert run(store, "--keep", "1") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("models:/sttn/1: stays, its files are those of models:/archive/1")
    assert "models:/production/1 too" in out[0]
    assert out[4] == "models:/sttn/5: stays, its files are those of models:/again/1 too"
    assert numbers(store) == ["1", "2", "3", "5", "6"]
    assert foreign.load("models:/archive/1") is not None


def test_files_that_may_not_be_deleted_are_named(store, versions, monkeypatch, capsys):
    def forbidden(*_):
        raise MlflowException("Permission denied")

    monkeypatch.setattr("mlflow.MlflowClient.delete_logged_model", forbidden)
    assert run(store, "--keep", "5") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("models:/sttn/1: deleted, but its files stay: MLflow does not let go")
    assert "(Permission denied)" in out[0]
    assert numbers(store) == [one.version for one in versions[1:]]


def test_a_dry_run_deletes_nothing(store, versions, capsys):
    assert run(store, "--keep", "2", "--dry-run") == 0
    assert "models:/sttn/1: would be deleted" in capsys.readouterr().out
    assert numbers(store) == [one.version for one in versions]


def test_fewer_versions_than_keep_prunes_nothing(store, versions):
    assert run(store, "--keep", "100") == 0
    assert numbers(store) == [one.version for one in versions]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--keep", "0"], "--keep is 0: give 1 to 1,000,000"),
        (
            ["--model", "stn"],
            "models:/stn is not in the registry: no model 'stn' (did you",
        ),
    ],
)
def test_user_errors_are_one_line(store, versions, capsys, flags, said):
    assert run(store, *flags) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert numbers(store) == [one.version for one in versions]
