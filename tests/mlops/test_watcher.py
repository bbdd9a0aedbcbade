"""Versions that a watcher cannot evaluate; the evaluation itself is a stub."""

import pytest

from data_pipeline.cli.command import Refused, UserError
from data_pipeline.read.reader import DataSet
from data_pipeline.storage.lease import Held, LeaseLost
from data_pipeline.storage.store import TransientError
from mlops.evaluation import watcher
from mlops.tracking import connection, names, registry
from tests.mlops import foreign

MODEL = names.MODEL


@pytest.fixture
def version(store, tmp_path):
    return foreign.register(store, tmp_path / "model")


def watch(store, tmp_path, *attempts):
    """Watch with a stub whose attempts run in turn; an exception among them is raised."""
    left = list(attempts)

    def work(version, still_ours):
        still_ours()
        what = left.pop(0)
        if isinstance(what, Exception):
            raise what
        what(version)

    return watcher.watch(store, MODEL, str(tmp_path / "leases"), work, until_idle=True), left


def done(store):
    tags = {names.EVALUATION: names.EVALUATION_DONE}
    return lambda version: registry.set_tags(store, version, tags)


def state(store, version):
    return registry.resolve(store, version.uri).tags[names.EVALUATION]


@pytest.mark.parametrize("error", [UserError("of 96x96 pixels"), Refused("fell over")])
def test_a_bad_version_is_tagged_with_the_reason(store, version, tmp_path, error):
    assert watch(store, tmp_path, error) == (1, [])
    tags = registry.resolve(store, version.uri).tags
    assert tags[names.EVALUATION] == names.EVALUATION_FAILED
    assert tags[names.EVALUATION_PROBLEM] == str(error)


@pytest.mark.parametrize("error", [Held("by somebody else"), LeaseLost("to somebody else")])
def test_a_version_held_by_another_watcher_is_retried(store, version, tmp_path, error):
    assert watch(store, tmp_path, error, done(store)) == (1, [])
    assert state(store, version) == names.EVALUATION_DONE


def test_an_outage_ends_the_watcher_and_the_version_stays_pending(store, version, tmp_path):
    with pytest.raises(TransientError, match="away"):
        watch(store, tmp_path, TransientError("the store is away"))
    assert state(store, version) == names.EVALUATION_PENDING


def test_a_missing_data_set_is_not_blamed_on_the_version(store, version, tmp_path):
    with pytest.raises(UserError, match="no data set"):
        watch(store, tmp_path, lambda _: DataSet.open(str(tmp_path / "gone")))
    assert state(store, version) == names.EVALUATION_PENDING


def delete(store):
    return lambda version: connection.client(store).delete_model_version(MODEL, version.version)


def test_a_version_deleted_during_evaluation_does_not_end_the_watcher(
    store, version, tmp_path, capsys
):
    second = foreign.register(store, tmp_path / "second")

    def deleted(one):
        delete(store)(one)
        raise UserError("it is not in the registry")

    assert watch(store, tmp_path, deleted, done(store)) == (2, [])
    assert f"{version.uri} was deleted while it was evaluated" in capsys.readouterr().out
    assert state(store, second) == names.EVALUATION_DONE


def test_a_version_deleted_before_its_turn_is_skipped(store, version, tmp_path):
    second = foreign.register(store, tmp_path / "second")

    def first(one):
        delete(store)(second)
        done(store)(one)

    assert watch(store, tmp_path, first) == (1, [])
    assert state(store, version) == names.EVALUATION_DONE
