import numpy as np
import pytest

from data_pipeline.cli.command import UserError
from mlops.tracking import connection, loaded_model, names, registry
from tests.mlops import foreign


@pytest.fixture(autouse=True)
def _no_pickle(monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")


def _versions(uri):
    return connection.client(uri).search_model_versions(f"name = '{names.MODEL}'")


def test_a_version_is_registered_once_for_a_run_and_a_number_of_clips(store, tmp_path):
    folder = foreign.save(tmp_path / "one", foreign.GREY)
    run_id = foreign.training_run(store)
    arguments = {"name": names.MODEL, "run_id": run_id, "model_dir": folder, "tags": {"a": "b"}}
    first = registry.register(store, clips=4, **arguments)
    again = registry.register(store, clips=4, **arguments)
    later = registry.register(store, clips=8, **arguments)
    assert (first.version, again.version, later.version) == ("1", "1", "2")
    assert len(_versions(store)) == 2
    assert first.tags == {
        "a": "b",
        names.RUN_ID: run_id,
        names.CLIPS: "4",
        names.EVALUATION: names.EVALUATION_PENDING,
    }


def test_a_registered_version_loads_by_alias_without_the_folder_it_came_from(store, tmp_path):
    version = foreign.register(store, tmp_path / "one", foreign.GREY, size=(32, 16))
    (tmp_path / "one").rename(tmp_path / "gone")
    loaded = foreign.load("models:/sttn@candidate")
    frames, masks = np.zeros((2, 16, 32, 3), np.uint8), np.zeros((2, 16, 32), np.uint8)
    masks[:, :4] = 1
    filled = loaded.predict({"frames": frames, "masks": masks})
    assert filled.dtype == np.uint8
    assert np.unique(filled[:, :4]).tolist() == [128]
    assert np.unique(filled[:, 4:]).tolist() == [0]
    assert loaded_model.trained_size(store, version) == (32, 16)


def test_artifacts_are_stored_beside_the_database_only(store, tmp_path):
    foreign.register(store, tmp_path / "one")
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == ["mlartifacts", "mlflow.db"]
    assert list((tmp_path / "here").iterdir()) == []


def test_aliases_move_and_are_distinct(store, tmp_path):
    first = foreign.register(store, tmp_path / "one")
    second = foreign.register(store, tmp_path / "two")
    assert registry.resolve(store, "models:/sttn@candidate").version == "2"
    assert registry.resolve(store, "models:/sttn/1").run_id == first.run_id
    assert registry.alias_or_none(store, names.MODEL, names.CHAMPION) is None
    registry.set_alias(store, second, names.CHAMPION)
    assert registry.alias_or_none(store, names.MODEL, names.CHAMPION).uri == "models:/sttn/2"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/sttn@champion", "sttn has 1 version(s), aliases: candidate = version 1"),
        ("models:/sttn/9", "sttn has 1 version(s), aliases: candidate = version 1"),
        ("models:/stn@candidate", "no model 'stn' (did you mean 'sttn'?)"),
        ("sttn", "give models:/sttn@candidate (an alias) or models:/sttn/1 (a version)"),
        ("models:/sttn/one", "give models:/sttn@candidate"),
        ("runs:/abc/model", "give models:/sttn@candidate"),
    ],
)
def test_a_model_uri_not_in_the_registry_is_a_user_error(store, tmp_path, uri, message):
    foreign.register(store, tmp_path / "one")
    with pytest.raises(UserError) as mistake:
        registry.resolve(store, uri)
    assert message in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_resolving_in_a_missing_store_creates_none(tmp_path):
    with pytest.raises(UserError, match="there is no registry at"):
        registry.resolve(f"sqlite:///{tmp_path}/none/mlflow.db", "models:/sttn@champion")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_model_is_not_registered(store, tmp_path):
    run_id = foreign.training_run(store)
    with pytest.raises(UserError, match="no MLflow model folder"):
        registry.register(
            store, name=names.MODEL, run_id=run_id, clips=1, model_dir=tmp_path, tags={}
        )
    assert _versions(store) == []
