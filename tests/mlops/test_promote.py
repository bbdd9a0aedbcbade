import json

import pytest

from mlops import names, promote, registry, tracking
from tests.mlops import foreign

GOOD = {"candidate": 15.0, "trivial_frame_mean": 12.0, "trivial_ring_mean": 13.0}


@pytest.fixture
def versions(store, tmp_path):
    """Three registered versions; the last one is the candidate."""
    return [foreign.register(store, tmp_path / f"model-{i}") for i in range(3)]


def _champion(uri, alias=names.CHAMPION):
    found = registry.alias_or_none(uri, names.MODEL, alias)
    return found.version if found else None


def _decisions(uri):
    runs = tracking.client(uri).search_runs(
        [tracking.experiment_id(uri)], f"tags.kind = '{names.KIND_DECISION}'"
    )
    return [run.data.tags for run in runs]


def _promote(uri, model="models:/sttn@candidate", *more):
    return promote.main(["--tracking-uri", uri, "--model", model, *more])


def test_the_first_model_above_the_trivial_fills_becomes_champion(
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
    assert "hole PSNR is -1.000 dB against the champion (version 1) over 2 clips" in said
    assert (_champion(store), _champion(store, names.PREVIOUS)) == ("1", None)
    assert _promote(store) == 1
    (tags,) = _decisions(store)  # the same refusal is written once
    assert (tags[names.DECISION_FROM], tags[names.DECISION_TO]) == ("1", "1")
    assert _promote(store, "models:/sttn@candidate", "--margin-db", "1.5") == 0
    assert _champion(store) == "3"


def test_a_model_below_a_trivial_fill_is_never_promoted(store, versions, tmp_path):
    foreign.record_evaluation(
        store, versions[2], tmp_path / "results", **{**GOOD, "candidate": 12.5}
    )
    assert _promote(store) == 1
    assert _champion(store) is None


def test_a_version_without_an_evaluation_is_the_users_mistake(store, versions, capsys):
    assert _promote(store, "models:/sttn/2") == 2
    assert "models:/sttn/2 was not evaluated yet: run `python mlops/ev" in capsys.readouterr().err
    assert _promote(store, "models:/sttn/7") == 2
    assert "sttn has 3 version(s)" in capsys.readouterr().err
    assert _decisions(store) == []
    assert versions[1].version == "2"


def test_an_evaluation_against_another_champion_does_not_count(store, versions, tmp_path, capsys):
    foreign.record_evaluation(store, versions[2], tmp_path / "results", **GOOD)
    registry.set_alias(store, versions[0], names.CHAMPION)
    assert _promote(store) == 2
    said = capsys.readouterr().err
    assert "was evaluated against no champion, but the champion is version 1" in said
    assert _champion(store) == "1"
