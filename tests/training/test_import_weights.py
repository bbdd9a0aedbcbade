"""`training/import_weights.py`: from a file of official weights to a version that inpaints."""

import json

import mlflow
import numpy as np
import pytest
import torch

from mlops.tracking import registry
from tests.training.test_official import random_weights
from training import import_weights


@pytest.fixture
def tracking_uri(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    weights = {"netG": random_weights("generator"), "netD": random_weights("discriminator")}
    # Small weights, so that nothing overflows on its way through eight blocks.
    weights["netG"] = {name: 0.02 * tensor for name, tensor in weights["netG"].items()}
    torch.save({"netG": weights["netG"]}, folder / "sttn.pth")
    torch.save({"netD": weights["netD"]}, folder / "dis.pth")
    short = dict(weights["netG"])
    del short["encoder.0.bias"]
    torch.save({"netG": short}, folder / "short.pth")
    (folder / "page.pth").write_text("<html>404</html>")
    return folder


def run(capsys, *argv):
    """(exit code, last line of stdout, stderr)."""
    code = import_weights.main([str(one) for one in argv])
    said = capsys.readouterr()
    return code, (said.out.splitlines() or [""])[-1], said.err


def test_a_file_is_registered_once_and_its_version_inpaints(files, tracking_uri, capsys):
    command = (files / "sttn.pth", "--name", "sttn", "--tracking-uri", tracking_uri, "--json")
    terms = ("--origin", "the authors' page", "--licence", "CC-BY-NC-4.0")
    code, line, _ = run(capsys, *command, *terms)
    assert code == 0
    printed = json.loads(line)
    assert printed["model"] == "models:/sttn/1"
    assert printed["origin"] == "the authors' page"
    assert not printed["already_there"]
    again = json.loads(run(capsys, *command)[1])
    assert again == printed | {"already_there": True}
    version = registry.resolve(tracking_uri, "models:/sttn@candidate")
    assert version.tags["origin_sha256"] == printed["origin_sha256"]
    assert version.tags["masked_attention"] == "false"
    masked = json.loads(run(capsys, *command, "--masked-attention")[1])
    assert masked["model"] == "models:/sttn/2"

    model = mlflow.pyfunc.load_model(printed["model"])
    frames = np.full((1, 240, 432, 3), 100, np.uint8)
    masks = np.zeros((1, 240, 432), np.uint8)
    masks[:, 100:140, 200:260] = 1
    filled = model.predict({"frames": frames, "masks": masks})
    assert model.metadata.metadata["licence"] == "CC-BY-NC-4.0"
    other = mlflow.models.get_model_info(masked["model"])
    assert other.metadata["licence"] == "not stated"
    assert filled.shape == frames.shape
    assert (filled[masks == 0] == 100).all()
    assert (filled[masks == 1] != 100).any()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("short.pth", "1 missing (encoder.0.bias)"),
        ("dis.pth", "holds a discriminator only"),
        ("page.pth", "page.pth is not a file of weights that torch reads safely"),
        ("absent.pth", "cannot be read (No such file or directory)"),
    ],
)
def test_a_wrong_file_is_one_line(files, tracking_uri, capsys, name, words):
    code, _, said = run(capsys, files / name, "--tracking-uri", tracking_uri)
    assert code == 2
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert words in said
    assert said.count(name) == 1


def test_a_missing_registry_is_named_with_flag_and_variable(files, monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, _, said = run(capsys, files / "sttn.pth")
    assert code == 2
    assert "--tracking-uri" in said
    assert said.count("\n") == 1
