"""The model that comes with the program: used without a registry, registered, begun with."""

import dataclasses
import json

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from data_pipeline.cli.command import UserError
from mlops import inpaint, inpaint_batch
from mlops.media import video
from mlops.starter import files as starter
from mlops.tracking import registry
from tests.tiny import write_video
from training import import_weights
from training.config.presets import PRESETS
from training.driver import initial_weights
from training.learn.networks import build_generator
from training.registration import to_starter

BOX = "20,10,16,8"


@pytest.fixture(autouse=True)
def no_registry(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracking_uri(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_video_is_filled_without_a_registry_and_the_model_is_named(tmp_path, capsys):
    source = write_video(tmp_path / "in.mp4", frames=6, width=96, height=48)
    out = tmp_path / "out.mp4"
    assert inpaint.main([str(source), BOX, str(out), "--native", "--json"]) == 0
    said = capsys.readouterr()
    assert "no registry is named: the starter model is used" in said.out + said.err
    assert json.loads(said.out.splitlines()[-1])["model"] == "starter"
    assert video.facts_of(out).frames == 6


def test_a_registry_that_is_named_is_used_unless_the_starter_model_is_asked_for(
    tmp_path, tracking_uri, capsys
):
    source = write_video(tmp_path / "in.mp4", frames=3, width=96, height=48)
    words = [
        str(source),
        BOX,
        str(tmp_path / "out.mp4"),
        "--native",
        "--tracking-uri",
        tracking_uri,
    ]
    assert inpaint.main(words) == 2
    assert "models:/sttn@champion: there is no registry at" in capsys.readouterr().err
    assert inpaint.main([*words, "--model", "starter"]) == 0
    assert "no registry is named" not in capsys.readouterr().out


def test_many_videos_are_filled_without_a_registry(tmp_path):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", frames=3, width=96, height=48)
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--masks", BOX, "--native"]
    assert inpaint_batch.main([*words, "--workers", "1"]) == 0
    (row,) = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert (row["status"], row["model"]) == ("ok", "starter")
    assert row["weights_sha256"] == starter.tags()["weights_sha256"]


def test_it_is_registered_once_and_its_version_answers_alike(tracking_uri, capsys):
    words = ["starter", "--tracking-uri", tracking_uri, "--json"]
    assert import_weights.main(words) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (first["model"], first["origin"]) == ("models:/sttn/1", "starter")
    assert not first["already_there"]
    assert import_weights.main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == first | {"already_there": True}
    version = registry.resolve(tracking_uri, "models:/sttn@candidate")
    assert starter.tags().items() <= version.tags.items()
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (2, 48, 96, 3), np.uint8)
    masks = np.zeros((2, 48, 96), np.uint8)
    masks[:, 10:30, 20:60] = 1
    given = {"frames": frames, "masks": masks}
    ours, theirs = (
        mlflow.pyfunc.load_model(where).predict(given)
        for where in (str(starter.FOLDER), first["model"])
    )
    assert np.array_equal(ours, theirs)


def test_a_training_can_begin_with_it():
    config = PRESETS["starter"]
    uri = initial_weights.pinned("starter", "")
    weights = initial_weights.weights_of(uri, "")
    initial_weights.refuse_unfit(uri, weights, config)
    generator = build_generator(config.generator)
    generator.load_state_dict(weights["generator"])
    held = load_file(starter.WEIGHTS)
    assert all(torch.equal(one, held[name]) for name, one in generator.state_dict().items())


def test_networks_of_another_shape_and_another_starter_are_refused():
    uri = initial_weights.pinned("starter", "")
    config = PRESETS["starter"]
    wide = dataclasses.replace(config.generator, channels=128)
    with pytest.raises(UserError, match=r"starter.* has a generator of another shape"):
        initial_weights.refuse_unfit(
            uri, initial_weights.weights_of(uri, ""), dataclasses.replace(config, generator=wide)
        )
    with pytest.raises(UserError, match="of this version of the program is another one"):
        initial_weights.weights_of("starter:0000", "")


def test_a_version_takes_its_place_and_says_nothing_of_where_it_was(tracking_uri, tmp_path, capsys):
    assert import_weights.main(["starter", "--tracking-uri", tracking_uri]) == 0
    folder = tmp_path / "held" / "model"
    words = ["models:/sttn/1", "--tracking-uri", tracking_uri, "--folder", str(folder)]
    assert to_starter.main(words) == 0
    assert "is models:/sttn/1 now: write its card" in capsys.readouterr().out
    assert json.loads(folder.with_name("tags.json").read_text()) == starter.tags()
    for file in (*folder.rglob("*"), *starter.FOLDER.rglob("*")):
        if file.is_file() and file.suffix not in (".safetensors", ".pyc"):
            assert "/tmp" not in file.read_text(), file
    names = {one.relative_to(folder) for one in folder.rglob("*") if "__pycache__" not in str(one)}
    assert names == {
        one.relative_to(starter.FOLDER)
        for one in starter.FOLDER.rglob("*")
        if "__pycache__" not in str(one)
    }
