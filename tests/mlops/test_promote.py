import itertools
import json
import time

import pytest

from data_pipeline.cli.command import UserError
from mlops import lineage, promote
from mlops.evaluation import results
from mlops.promotion import decisions
from mlops.tracking import connection, locks, names, registry, runs
from tests.mlops import foreign

GOOD = {"candidate": 15.0, **foreign.CLASSICAL}


@pytest.fixture
def versions(store, tmp_path):
    """Three registered versions; the last one is the candidate."""
    return [foreign.register(store, tmp_path / f"model-{i}") for i in range(3)]


def _champion(uri, alias=names.CHAMPION):
    found = registry.alias_or_none(uri, names.MODEL, alias)
    return found.version if found else None


def _decisions(uri):
    decided = connection.client(uri).search_runs(
        [connection.experiment_id(uri)], f"tags.kind = '{names.KIND_DECISION}'"
    )
    return [run.data.tags for run in decided]


def _promote(uri, model="models:/sttn@candidate", *more):
    return promote.main(["--tracking-uri", uri, "--model", model, *more])


def test_the_first_model_above_the_classical_fills_becomes_champion(
    store, versions, tmp_path, capsys
):
    foreign.record_evaluation(store, versions[2], tmp_path / "results", **GOOD)
    assert _promote(store, "models:/sttn@candidate", "--json") == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["decision"], said["champion"]) == ("promoted", "3")
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("3", None)
    (tags,) = _decisions(store)
    assert tags[names.DECISION] == names.DECISION_PROMOTED
    assert (tags[names.DECISION_FROM], tags[names.DECISION_TO]) == (names.NO_VERSION, "3")
    assert tags[names.DATA_DIGEST] == "d" * 64
    assert "15.500 dB is above the 13.500 dB of trivial_ring_mean" in tags[names.REASONS]
    assert "15.500 dB is above the 14.500 dB of floor_propagated, the best" in tags[names.REASONS]
    assert tags[names.FLOORS] == "classical"


def test_the_champion_is_not_decided_again(store, versions, capsys):
    registry.set_alias(store, versions[2], names.CHAMPION)
    assert _promote(store) == 0
    assert "is the champion already" in capsys.readouterr().out
    assert _decisions(store) == []


def test_a_better_model_replaces_the_champion_which_becomes_previous(store, versions, tmp_path):
    registry.set_alias(store, versions[0], names.CHAMPION)
    foreign.record_evaluation(store, versions[2], tmp_path / "results", "1", champion=14.0, **GOOD)
    assert _promote(store) == 0
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("3", "1")


def test_a_worse_model_is_refused_with_numbers_and_the_champion_stays(
    store, versions, tmp_path, capsys
):
    registry.set_alias(store, versions[0], names.CHAMPION)
    foreign.record_evaluation(store, versions[2], tmp_path / "results", "1", champion=16.0, **GOOD)
    assert _promote(store) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "hole PSNR is -1.000 dB against the champion (version 1), mean over 2 videos" in said
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("1", None)
    assert _promote(store) == 1
    (tags,) = _decisions(store)  # the same refusal is written once
    assert (tags[names.DECISION_FROM], tags[names.DECISION_TO]) == ("1", "1")


def test_a_model_below_a_trivial_fill_is_never_promoted(store, versions, tmp_path):
    foreign.record_evaluation(
        store, versions[2], tmp_path / "results", **{**GOOD, "candidate": 12.5}
    )
    assert _promote(store) == 1
    assert _promote(store, "models:/sttn@candidate", "--floors", "trivial") == 1
    assert _champion(store) is None


BELOW = {**GOOD, "candidate": 13.7}  # above every fill but propagation
WEAK = "judged by weak floors only: mean fills; not by the best classical fill"


def test_a_model_below_the_best_classical_fill_is_refused_with_the_numbers(
    store, versions, tmp_path, capsys
):
    foreign.record_evaluation(store, versions[2], tmp_path / "results", **BELOW)
    assert _promote(store) == 1
    said = capsys.readouterr().err
    assert (
        "hole PSNR 14.200 dB is not above the 14.500 dB of floor_propagated, the best classical "
        "fill, -0.300 dB mean over 2 videos"
    ) in said
    assert WEAK not in said
    assert _champion(store) is None


def test_a_champion_by_weak_floors_is_marked_in_every_output(store, versions, tmp_path, capsys):
    foreign.record_evaluation(store, versions[2], tmp_path / "results", **BELOW)
    assert _promote(store, "models:/sttn@candidate", "--floors", "trivial", "--json") == 0
    decided, *_, printed = capsys.readouterr().out.splitlines()
    assert "is the champion now" in decided
    assert json.loads(printed)["reasons"][-1] == WEAK
    (tags,) = _decisions(store)
    assert tags[names.FLOORS] == "trivial"
    assert tags[names.REASONS].splitlines()[-1] == WEAK
    assert _promote(store, "models:/sttn@champion", "--history", "--json") == 0
    *lines, printed = capsys.readouterr().out.splitlines()
    assert f"    {WEAK}" in lines
    assert json.loads(printed)[0]["floors"] == "trivial"
    assert lineage.main(["models:/sttn@champion", "--tracking-uri", store]) == 0
    assert f"-> decision promoted, {WEAK}" in capsys.readouterr().out


def test_a_refusal_by_weak_floors_is_marked(store, versions, tmp_path, capsys):
    foreign.record_evaluation(
        store, versions[2], tmp_path / "results", **{**GOOD, "candidate": 12.5}
    )
    assert _promote(store, "models:/sttn@candidate", "--floors", "trivial") == 1
    assert WEAK in capsys.readouterr().err
    assert [one.weak for one in decisions.history(store, "sttn")] == [True]


def test_an_old_decision_without_classical_fills_counts_as_weak_floors(store, versions, tmp_path):
    _rounds(store, versions, tmp_path, 1)
    (run,) = runs.find_all(store, {names.KIND: names.KIND_DECISION}, finished=True, limit=2)
    connection.client(store).delete_tag(run.info.run_id, names.FLOORS)
    (entry,) = decisions.history(store, "sttn")
    assert entry.weak
    assert entry.reasons[-1] == WEAK


def test_an_old_evaluation_without_classical_fills_is_read_and_recomputed(
    store, versions, tmp_path, capsys
):
    run_id = foreign.record_evaluation(
        store, versions[2], tmp_path / "results", candidate=15.0, **foreign.TRIVIAL
    )
    found = results.read(store, run_id)
    assert found.unscored_floors() == ("floor_telea", "floor_diffused", "floor_propagated")
    assert _promote(store) == 2
    assert (
        "models:/sttn/3 was evaluated without floor_telea, floor_diffused, floor_propagated, which "
        "the rule compares with: evaluate again, run `python mlops/evaluate.py --model "
        "models:/sttn/3` first"
    ) in capsys.readouterr().err
    assert _decisions(store) == []
    assert _promote(store, "models:/sttn@candidate", "--floors", "trivial") == 0
    assert _champion(store) == "3"


def test_a_version_without_an_evaluation_is_refused(store, versions, capsys):
    assert _promote(store, "models:/sttn/2") == 2
    assert "models:/sttn/2 was not evaluated yet: run `python mlops/ev" in capsys.readouterr().err
    assert _promote(store, "models:/sttn/7") == 2
    assert "sttn has 3 version(s)" in capsys.readouterr().err
    assert _decisions(store) == []
    assert versions[1].version == "2"


def test_an_evaluation_on_training_videos_promotes_nothing(store, versions, tmp_path, capsys):
    foreign.record_evaluation(store, versions[2], tmp_path / "results", split="train", **GOOD)
    assert _promote(store) == 2
    assert (
        "models:/sttn/3 was evaluated on split 'train', which it was trained on: run `python "
        "mlops/evaluate.py --model models:/sttn/3` first, on held-out videos"
    ) in capsys.readouterr().err
    assert _decisions(store) == []
    assert _champion(store) is None


def test_an_evaluation_against_another_champion_is_refused(store, versions, tmp_path, capsys):
    foreign.record_evaluation(store, versions[2], tmp_path / "results", **GOOD)
    registry.set_alias(store, versions[0], names.CHAMPION)
    assert _promote(store) == 2
    said = capsys.readouterr().err
    assert "was evaluated against no champion, but the champion is version 1" in said
    assert _champion(store) == "1"


def _rounds(uri, versions, tmp_path, *numbers):
    """Promote versions one after the other, each better than the last."""
    champion = None
    for level, number in enumerate(numbers):
        levels = {**GOOD, "candidate": 15.0 + level}
        if champion:
            levels["champion"] = 14.0 + level
        foreign.record_evaluation(
            uri, versions[number - 1], tmp_path / f"results-{level}", champion, **levels
        )
        assert _promote(uri, f"models:/sttn/{number}") == 0
        champion = str(number)


def test_repeated_rollbacks_go_further_back(store, versions, tmp_path, capsys):
    _rounds(store, versions, tmp_path, 1, 2, 3)
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("3", "2")
    assert _promote(store, "models:/sttn@champion", "--rollback", "--why", "flickers") == 0
    assert "models:/sttn/2 is the champion again" in capsys.readouterr().out
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("2", "1")
    assert _promote(store, "models:/sttn@champion", "--rollback") == 0
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("1", None)
    assert _promote(store, "models:/sttn@champion", "--rollback") == 1
    assert "sttn has no version @previous: there is nothing to ret" in capsys.readouterr().err


def test_history_lists_every_decision_in_order(store, versions, tmp_path, capsys):
    _rounds(store, versions, tmp_path, 1, 2)
    foreign.record_evaluation(
        store, versions[2], tmp_path / "worse", "2", champion=16.0, **{**GOOD, "candidate": 15.5}
    )
    assert _promote(store) == 1
    assert _promote(store, "models:/sttn@champion", "--rollback", "--why", "flickers") == 0
    capsys.readouterr()
    assert _promote(store, "models:/sttn@champion", "--history", "--json") == 0
    out = capsys.readouterr().out
    printed = json.loads(out.splitlines()[-1])
    assert [(one["decision"], one["version"], one["from"], one["to"]) for one in printed] == [
        ("promoted", "1", "none", "1"),
        ("promoted", "2", "1", "2"),
        ("refused", "3", "2", "2"),
        ("rolled back", "1", "2", "1"),
    ]
    assert printed[3]["reasons"] == ["flickers"]
    assert "-0.500 dB against the champion (version 2)" in out


def test_an_empty_history_is_reported(store, versions, capsys):
    assert versions
    assert _promote(store, "models:/sttn@champion", "--history") == 0
    assert "nothing was decided about sttn yet" in capsys.readouterr().out


def test_a_decision_with_a_deleted_run_remains_in_force(store, versions, tmp_path, capsys):
    _rounds(store, versions, tmp_path, 1, 2, 3)
    second = decisions.history(store, "sttn")[1]
    connection.client(store).delete_run(second.run_id)
    assert _promote(store, "models:/sttn@champion", "--history") == 0
    assert "its MLflow run is deleted; the decision stands" in capsys.readouterr().out
    assert _promote(store, "models:/sttn@champion", "--rollback") == 0
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("2", "1")


def test_decision_order_does_not_depend_on_clocks(store, versions, tmp_path, monkeypatch):
    """The clock of each decision is an hour behind that of the decision before."""
    now, behind = time.time, itertools.count(0, 3600)
    for number in (1, 2, 3):
        with monkeypatch.context() as patch:
            late = next(behind)
            patch.setattr(time, "time", lambda late=late: now() - late)
            foreign.record_evaluation(
                store, versions[number - 1], tmp_path / f"results-{number}",
                str(number - 1) if number > 1 else None,
                **{**GOOD, "candidate": 15.0 + number},
                **({"champion": 14.0 + number} if number > 1 else {}),
            )  # fmt: skip
            assert _promote(store, f"models:/sttn/{number}") == 0
    assert [one.after for one in decisions.history(store, "sttn")] == ["1", "2", "3"]
    assert _promote(store, "models:/sttn@champion", "--rollback") == 0
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("2", "1")


@pytest.mark.parametrize("after", [0, 1], ids=["before-any-alias", "between-the-aliases"])
def test_an_interrupted_decision_is_completed(store, versions, tmp_path, monkeypatch, after):
    _rounds(store, versions, tmp_path, 1, 2)
    foreign.record_evaluation(store, versions[2], tmp_path / "results", "2", champion=14.0, **GOOD)
    moved, move = [], registry.set_alias

    def cut(*what):
        if len(moved) == after:
            raise KeyboardInterrupt
        moved.append(what)
        move(*what)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_alias", cut)
        assert _promote(store) == 130
    assert _champion(store) == "2"
    assert _promote(store, "models:/sttn/1") == 2  # any later command completes it
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("3", "2")
    assert [one.after for one in decisions.history(store, "sttn")] == ["1", "2", "3"]


def test_an_interrupted_decision_overtaken_by_a_manual_change_is_dropped(
    store, versions, tmp_path, monkeypatch
):
    _rounds(store, versions, tmp_path, 1)
    foreign.record_evaluation(store, versions[1], tmp_path / "results", "1", champion=14.0, **GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_alias", lambda *_: 1 / 0)
        assert _promote(store, "models:/sttn/2") == 1
    registry.set_alias(store, versions[2], names.CHAMPION)
    assert _promote(store, "models:/sttn/2") == 2
    assert _champion(store) == "3"
    assert [one.after for one in decisions.history(store, "sttn")] == ["1"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rollback", "--history"], "--rollback and --history: give one of the two"),
        (["--why", "x"], "--why belongs to --rollback"),
        (["--margin-db", "-1"], "--margin-db is -1.0: give 0 to 100"),
        (["--confidence", "1.5"], "--confidence is 1.5"),
        (["--floors", "none"], "classical"),
        (["--rollback"], "sttn has 3 version(s), aliases: candidate = version 3"),
    ],
)
def test_user_errors_are_one_line(store, versions, capsys, flags, said):
    assert versions
    assert _promote(store, "models:/sttn@candidate", *flags) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_registry_on_a_server_requires_a_leases_folder(monkeypatch):
    monkeypatch.delenv("STTN_STORAGE", raising=False)
    with pytest.raises(UserError, match="--leases is missing: give a folder that all who"):
        locks.folder_of("http://127.0.0.1:5000")
    monkeypatch.setenv("STTN_STORAGE", "s3://lake/runs")
    assert locks.folder_of("http://127.0.0.1:5000") == "s3://lake/runs/leases"
    assert locks.folder_of("http://127.0.0.1:5000", "/shared/leases") == "/shared/leases"
    assert locks.folder_of("sqlite:////store/mlflow.db") == "/store/leases"
