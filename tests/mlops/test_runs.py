"""Runs of MLflow, read back by its own client."""

import numpy as np

from mlops.tracking import connection, names, runs


def _run(uri, **tags):
    return runs.ensure(uri, run_name="demo", kind=names.KIND_TRAINING, tags=tags)


def test_scalars_use_clips_as_the_step(store):
    run_id = _run(store)
    runs.log_scalars(store, run_id, 4, {names.LOSS_HOLE: 0.5, names.LOSS_VALID: 0.1})
    runs.log_scalars(store, run_id, 8, {names.LOSS_HOLE: 0.25})
    history = connection.client(store).get_metric_history(run_id, names.LOSS_HOLE)
    assert [(one.step, one.value) for one in history] == [(4, 0.5), (8, 0.25)]


def test_a_resumed_run_keeps_parameters_and_adds_new_ones(store):
    run_id = _run(store)
    runs.log_params(store, run_id, {f"field_{i}": i for i in range(150)})
    runs.log_params(store, run_id, {"field_0": "other", "text": "x" * 9000})
    params = connection.client(store).get_run(run_id).data.params
    assert params["field_0"] == "0"
    assert len(params) == 151
    assert len(params["text"]) == 6000


def test_a_run_is_resumed_by_its_id(store):
    run_id = _run(store, a="1")
    runs.finish(store, run_id, "FAILED")
    again = runs.ensure(
        store, run_name="demo", kind=names.KIND_TRAINING, tags={"a": "2"}, run_id=run_id
    )
    run = connection.client(store).get_run(again)
    assert again == run_id
    assert (run.info.status, run.data.tags["a"]) == ("RUNNING", "2")


def test_a_run_is_found_by_tags_and_status(store):
    run_id = _run(store, a="1", b="2")
    assert runs.find(store, {"a": "1", "b": "2"}, finished=False) == run_id
    assert runs.find(store, {"a": "1", "b": "2"}, finished=True) is None
    runs.finish(store, run_id)
    assert runs.find(store, {"a": "1", "b": "2"}, finished=True) == run_id
    assert runs.find(store, {"a": "1", "b": "3"}, finished=True) is None


def test_a_data_set_is_an_input_of_its_run(store):
    run_id = _run(store)
    runs.log_data_set(store, run_id, "/lake/curated/demo/v1", "f" * 64, "training")
    run = connection.client(store).get_run(run_id)
    (found,) = run.inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("demo/v1", "f" * 32)
    assert run.data.tags[names.DATA_DIGEST] == "f" * 64


def test_pictures_are_stored_by_clips(store):
    run_id = _run(store)
    runs.log_picture(store, run_id, "before", np.zeros((8, 8, 3), np.uint8), 4)
    files = connection.client(store).list_artifacts(run_id, "images")
    assert any("before" in file.path and "step+4" in file.path.replace("%", "+") for file in files)
