"""The registry stays usable after deleted versions and killed commands."""

import random
import shutil

import pytest

from mlops import promote, prune
from mlops.promotion import decisions
from mlops.tracking import connection, names, registry
from tests.mlops import foreign
from tests.mlops.killed import run

MODEL = names.MODEL
LEVELS = {"candidate": 15.0, **foreign.CLASSICAL}


@pytest.fixture(scope="module")
def registered(empty_database, tmp_path_factory):
    """Make a store of five versions, each evaluated against the one before; gives its folder."""
    folder = tmp_path_factory.mktemp("registered")
    shutil.copy(empty_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    connection.local_store_ready(uri)
    for number in range(1, 6):
        evaluate(uri, foreign.register(uri, folder / f"model-{number}"), folder, number - 1)
    return folder


@pytest.fixture
def store(registered, tmp_path, monkeypatch):
    """A copy of it for one test; files of runs and versions stay where they were made."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    (tmp_path / "store").mkdir()
    shutil.copy(registered / "mlflow.db", tmp_path / "store")
    return f"sqlite:///{tmp_path}/store/mlflow.db"


def evaluate(uri, version, folder, against):
    """Record that a version is 1 dB better than the champion it is compared with."""
    champion = {"champion": 14.0} if against else {}
    name = folder / f"results-{version.version}-{against}-{len(list(folder.iterdir()))}"
    foreign.record_evaluation(
        uri, version, name, str(against) if against else None, **LEVELS, **champion
    )


def command(uri, *argv):
    return promote.main(["--tracking-uri", uri, "--model", f"models:/{MODEL}@champion", *argv])


def promote_all(uri, *numbers):
    for number in numbers:
        assert promote.main(["--tracking-uri", uri, "--model", f"models:/{MODEL}/{number}"]) == 0


def aliases(uri):
    found = registry.aliases(uri, MODEL)
    return found.get(names.CHAMPION), found.get(names.PREVIOUS)


def states(uri):
    return [(one.word, one.state) for one in decisions.history(uri, MODEL, unfinished=True)]


def delete(uri, number):
    """Delete a version by hand."""
    connection.client(uri).delete_model_version(MODEL, str(number))


def test_versions_needed_for_rollback_are_not_pruned(store, capsys):
    promote_all(store, 1, 2, 3, 4)
    assert prune.main(["--tracking-uri", store, "--keep", "1"]) == 0
    out = capsys.readouterr().out
    assert "models:/sttn/1: deleted" in out
    assert "models:/sttn/2: stays, an earlier champion that a rollback needs" in out
    assert command(store, "--rollback") == 0
    assert aliases(store) == ("3", "2")
    assert command(store, "--rollback") == 0
    assert aliases(store) == ("2", None)
    assert command(store, "--rollback") == 1


@pytest.mark.parametrize(
    ("gone", "after"),
    [((1,), ("2", None)), ((2,), None), ((1, 2), None)],
    ids=["what-previous-becomes", "previous", "both"],
)
def test_rollback_skips_deleted_versions(store, capsys, gone, after):
    promote_all(store, 1, 2, 3)
    for number in gone:
        delete(store, number)
    code = command(store, "--rollback")
    if after:
        assert code == 0
        assert aliases(store) == after
    else:
        assert code == 1
        assert aliases(store)[0] == "3"
        assert "there is nothing to return to" in capsys.readouterr().err
    assert all(state == "finished" for _, state in states(store))
    evaluate_next(store)
    promote_all(store, 5)
    assert aliases(store)[0] == "5"


def evaluate_next(uri):
    """Compare version 5 with the champion of now."""
    folder = connection.sqlite_file(uri).parent
    evaluate(uri, registry.resolve(uri, f"models:/{MODEL}/5"), folder, aliases(uri)[0])


def test_deleted_former_champions_are_skipped(store):
    promote_all(store, 1, 2, 3, 4)
    delete(store, 2)
    assert command(store, "--rollback") == 0
    assert aliases(store) == ("3", "1")


def test_deleting_the_champion_by_hand_keeps_previous(store):
    promote_all(store, 1, 2, 3)
    delete(store, 3)
    folder = connection.sqlite_file(store).parent
    evaluate(store, registry.resolve(store, f"models:/{MODEL}/4"), folder, None)
    promote_all(store, 4)
    assert aliases(store) == ("4", "2")


@pytest.mark.parametrize("killed", [1, 3, 4, 5])
def test_a_promotion_killed_before_any_write_is_completed(store, killed):
    promote_all(store, 1, 2)
    flags = ("--tracking-uri", store, "--model", f"models:/{MODEL}/3")
    assert run("promote", *flags, kill_before=killed) == -9
    assert run("promote", *flags) == 0
    assert aliases(store) == ("3", "2")
    assert set(states(store)) == {("promoted", "finished")}
    assert command(store, "--rollback") == 0
    assert aliases(store) == ("2", "1")


@pytest.mark.parametrize("killed", [1, 4, 5])
def test_an_interrupted_decision_on_a_deleted_version_is_dropped(store, killed, capsys):
    promote_all(store, 1, 2)
    number = 3
    assert (
        run("promote", "--tracking-uri", store, "--model", f"models:/{MODEL}/3", kill_before=killed)
        == -9
    )
    delete(store, number)
    capsys.readouterr()
    assert command(store, "--history") == 0
    assert "interrupted, the next decision brings it to its end" in capsys.readouterr().out
    promote.main(["--tracking-uri", store, "--model", f"models:/{MODEL}/2"])
    assert "is given up: version 3 is not in the registry any more" in capsys.readouterr().out
    assert aliases(store) == ("2", "1")
    assert ("promoted", "given up") in states(store)
    evaluate_next(store)
    promote_all(store, 5)
    assert aliases(store) == ("5", "2")


def test_a_registry_left_inconsistent_by_an_earlier_release_is_repaired(store):
    """Its rollback had moved the champion and ended at a version that was pruned."""
    promote_all(store, 1, 2, 3)
    assert run("promote", "--tracking-uri", store, "--rollback", kill_before=2) == -9
    registry.set_alias(store, registry.resolve(store, "models:/sttn/2"), names.CHAMPION)
    delete(store, 1)
    evaluate_next(store)
    promote_all(store, 5)
    assert aliases(store) == ("5", "2")
    assert all(state == "finished" for _, state in states(store))


@pytest.mark.parametrize("killed", [1, 2])
def test_a_killed_prune_is_completed_by_the_next(store, killed):
    promote_all(store, 1, 2, 3, 4)
    assert run("prune", "--tracking-uri", store, "--keep", "1", kill_before=killed) == -9
    # The interrupted prune is completed, though --keep would keep more now.
    assert prune.main(["--tracking-uri", store, "--keep", "5"]) == 0
    assert len(registry.versions(store, MODEL)) == 4
    left = registry.versions(store, MODEL)
    assert not any(registry.half_deleted(one) for one in left)
    for one in left:
        known = connection.client(store).get_logged_model(one.source.removeprefix("models:/"))
        assert known.status == "READY"
    assert command(store, "--rollback") == 0
    assert aliases(store) == ("3", "2")


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(20))
def test_twenty_rounds_of_randomly_killed_commands(store, tmp_path, seed):
    """Promotions, rollbacks, prunes and deletions by hand, most of them killed at random."""
    chance = random.Random(seed)
    for turn in range(12):
        what = chance.choice(["promote", "promote", "rollback", "prune", "delete"])
        killed = chance.choice([None, *range(9)])
        known = registry.versions(store, MODEL)
        if what == "promote":
            version = foreign.register(store, tmp_path / f"model-{turn}")
            champion = aliases(store)[0]
            evaluate(store, version, tmp_path / "store", champion)
            flags = ["promote", "--model", version.uri]
        elif what == "delete":
            if len(known) > 1:
                delete(store, chance.choice(known).version)
            continue
        else:
            flags = {"rollback": ["promote", "--rollback"], "prune": ["prune", "--keep", "1"]}[what]
        name, *rest = flags
        code = run(name, "--tracking-uri", store, *rest, kill_before=killed)
        assert code in (0, 1, 2, -9), what
    # Afterwards the next decision completes everything, and the registry is consistent.
    version = foreign.register(store, tmp_path / "model-last")
    for _ in range(2):  # the first may find the champion changed by the decision that it completes
        evaluate(store, version, tmp_path / "store", aliases(store)[0])
        code = promote.main(["--tracking-uri", store, "--model", version.uri])
    assert code == 0
    assert "interrupted" not in {state for _, state in states(store)}
    champion, previous = aliases(store)
    assert champion == version.version
    entries = decisions.history(store, MODEL)
    there = registry.by_number(store, MODEL)
    assert previous == next(iter(decisions.earlier_champions(entries, there)), None)
    if previous:
        assert command(store, "--rollback") == 0
        assert aliases(store)[0] == previous
