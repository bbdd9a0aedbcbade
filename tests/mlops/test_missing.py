"""Tags that name a missing run: deleted, deleted with its experiment, or purged."""

import json
import shutil

import pytest

from mlops import evaluate, lineage, promote, report
from mlops.tracking import connection, names, registry, runs
from tests.data_pipeline import handmade
from tests.mlops import foreign

KINDS = ["deleted", "experiment", "gone"]


@pytest.fixture
def version(store, tmp_path):
    """The candidate, evaluated well enough to be promoted."""
    version = foreign.register(store, tmp_path / "model")
    levels = {"candidate": 20.0, **foreign.CLASSICAL}
    foreign.record_evaluation(store, version, tmp_path / "results", **levels)
    return registry.resolve(store, version.uri)


def lose(uri, run_id, kind):
    """Delete a run; returns the restore hint that messages give."""
    known = connection.client(uri)
    if kind == "experiment":
        number = connection.experiment_id(uri)
        known.delete_experiment(number)
        return f"MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {number}"
    known.delete_run(run_id)
    if kind == "deleted":
        return f"MLFLOW_TRACKING_URI={uri} mlflow runs restore --run-id {run_id}"
    known._tracking_client.store._hard_delete_run(run_id)  # what `mlflow gc` does
    return f"MLflow at {uri} has no run {run_id}: it was deleted for good"


def said(capsys, command, *argv):
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    code = command.main([str(word) for word in argv])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_evaluation_promotes_nothing(store, version, capsys, kind):
    cure = lose(store, version.tags[names.EVALUATION_RUN], kind)
    code, out, err = said(capsys, promote, "--tracking-uri", store)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert cure in err
    assert registry.alias_or_none(store, names.MODEL, names.CHAMPION) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["run", "evaluation"])
def test_lineage_and_report_show_what_is_known_and_what_is_missing(
    store, version, tmp_path, capsys, which, kind
):
    lost = version.run_id if which == "run" else version.tags[names.EVALUATION_RUN]
    cure = lose(store, lost, kind)
    flags = version.uri, "--tracking-uri", store, "--json"
    code, out, err = said(capsys, lineage, *flags)
    assert (code, err) == (0, "")
    found = json.loads(out.splitlines()[-1])
    assert any(cure in line for line in found["missing"])
    assert f"not there: {found['missing'][0]}" in out
    word = "gone" if kind == "gone" else "deleted"
    states = found["run_state"], found["evaluation_state"]
    assert (
        states
        == {
            ("run", True): (word, word),
            ("evaluation", True): (word, word),
            ("run", False): (word, ""),
            ("evaluation", False): ("", word),
        }[which, kind == "experiment"]
    )
    # Tags of the version stay when its runs are gone.
    assert (found["clips"], found["data_digest"]) == ("12", "d" * 64)
    assert found["decision"] == ("unknown" if kind == "experiment" else "none yet")

    code, out, err = said(capsys, report, *flags, "--out", tmp_path / "page.html")
    assert (code, err) == (0, "")
    assert cure in out
    page = (tmp_path / "page.html").read_text()
    assert "Not there any more" in page
    assert ("Its evaluation is" in page) == (which == "evaluation" or kind == "experiment")


@pytest.mark.parametrize("rest", [("--reproduce",), ("--reproduce", "--json")])
def test_a_missing_evaluation_cannot_be_reproduced(store, version, capsys, rest):
    cure = lose(store, version.tags[names.EVALUATION_RUN], "deleted")
    code, _, err = said(capsys, lineage, version.uri, "--tracking-uri", store, *rest)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{cure}, or evaluate again" in err


@pytest.mark.parametrize("argv", [["--history"], ["--history", "--json"], ["--rollback"], []])
def test_a_deleted_experiment_is_an_error_not_an_empty_history(store, version, capsys, argv):
    registry.set_alias(store, version, names.CHAMPION)
    registry.set_alias(store, version, names.PREVIOUS)
    cure = lose(store, "", "experiment")
    code, out, err = said(capsys, promote, *argv, "--tracking-uri", store)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert cure in err


def test_a_report_on_a_run_of_a_deleted_experiment(store, version, tmp_path, capsys):
    assert version
    cure = lose(store, "", "experiment")
    code, _, err = said(
        capsys, report, "tiny", "--tracking-uri", store, "--out", tmp_path / "page.html"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert cure in err


def test_a_version_without_a_run_has_a_lineage(store, tmp_path, capsys):
    """Registered by hand, from a folder."""
    known = connection.client(store)
    known.create_registered_model("other")
    known.create_model_version("other", str(foreign.save(tmp_path / "one", foreign.GREY)))
    code, out, err = said(capsys, lineage, "models:/other/1", "--tracking-uri", store)
    assert (code, err) == (0, "")
    assert out.startswith("models:/other/1 -> run unknown (unknown, unknown clips, gone)")


def test_missing_files_of_an_evaluation_are_named(store, version, tmp_path, capsys):
    evaluation = version.tags[names.EVALUATION_RUN]
    shutil.rmtree(tmp_path / "store" / "mlartifacts" / evaluation)
    code, _, err = said(capsys, promote, "--tracking-uri", store)
    assert (code, err.count("\n")) == (2, 1)
    assert f"run {evaluation} of MLflow at {store} has no file results.json any more" in err


@pytest.mark.parametrize("lost", ["experiment", "files"])
def test_a_missing_experiment_or_model_is_named_by_evaluate(store, version, tmp_path, capsys, lost):
    handmade.make(str(tmp_path / "tiny" / "v1"))
    if lost == "experiment":
        cure = lose(store, "", "experiment")
    else:
        shutil.rmtree(tmp_path / "store" / "mlartifacts" / "models")
        cure = f"MLflow at {store} does not have the files of {version.uri} any more"
    data = tmp_path / "tiny" / "v1"
    flags = "--tracking-uri", store, "--data", data, "--frames-per-clip", 4
    code, _, err = said(capsys, evaluate, *flags)
    assert (code, err.count("\n")) == (2, 1)
    assert cure in err


def test_an_evaluation_that_is_restored_counts_again(store, version, capsys):
    run_id = version.tags[names.EVALUATION_RUN]
    lose(store, run_id, "deleted")
    assert said(capsys, promote, "--tracking-uri", store)[0] == 2
    connection.client(store).restore_run(run_id)
    assert said(capsys, promote, "--tracking-uri", store)[0] == 0
    assert runs.get(store, run_id).info.run_id == run_id
