"""A registered version's folder, loaded in processes that do not have this project."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow.models import Model
from safetensors import safe_open

from mlops.fills.propagation import propagated
from tests.panning import hidden, moving_hole, panned
from tests.training.small import GRIDS, SIDE, small_generator
from training.config.train_config import GeneratorConfig
from training.registration import model_folder

FRAMES = 15
SCRIPT = Path(__file__).parent / "loads_alone.py"
ROOT = Path(__file__).parents[2]


@contextmanager
def folder_of(masked_attention=False, fill="none"):
    """The model folder of the small generator and the digest of its code."""
    shape = GeneratorConfig(
        channels=8, blocks=2, grids=GRIDS, masked_attention=masked_attention, fill=fill
    )
    weights = small_generator(seed=1, fill=fill).state_dict()
    with model_folder.model_folder(weights, shape, SIDE, SIDE, "MIT") as made:
        yield made


def load(folder, given, scratch):
    """Run `loads_alone.py` in a separate process; returns (its JSON output, arrays)."""
    np.savez(scratch / "given.npz", **given)
    done = subprocess.run(
        [sys.executable, "-S", SCRIPT, folder, scratch / "given.npz", scratch / "result.npz"],
        cwd=scratch,
        env={
            **os.environ,
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(scratch / "result.npz") as file:
        return json.loads(done.stdout.splitlines()[-1]), dict(file)


@pytest.fixture(scope="module")
def given():
    random = np.random.default_rng(0)
    masks = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    masks[:, 4:12, 3:12] = 255
    return {
        "frames": random.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8),
        "masks": masks,
    }


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """(a copy of the model folder, digest of its code)."""
    target = tmp_path_factory.mktemp("model") / "model"
    with folder_of() as (folder, code):
        shutil.copytree(folder, target)
    return target, code


@pytest.fixture(scope="module")
def loaded(kept, given, tmp_path_factory):
    folder, _ = kept
    return load(folder, given, tmp_path_factory.mktemp("alone"))


def test_a_version_inpaints_without_this_project_installed(loaded, given):
    said, found = loaded
    assert said["foreign"] == []
    predicted, hole = found["predicted"], given["masks"] != 0
    assert predicted.shape == given["frames"].shape
    assert predicted.dtype == np.uint8
    assert np.array_equal(predicted[~hole], given["frames"][~hole])
    assert all((a != b).any() for a, b in zip(predicted, given["frames"], strict=True))
    assert len(np.unique(predicted[hole])) > 50


def test_streaming_equals_predict(loaded):
    _, found = loaded
    assert np.array_equal(found["streamed"], found["predicted"])


def test_the_schedule_can_be_chosen_by_parameters(loaded):
    _, found = loaded
    assert found["without_references"].shape == found["predicted"].shape
    assert not np.array_equal(found["without_references"], found["predicted"])


def test_official_schedule_crop_and_any_size_can_be_requested(loaded, given):
    _, found = loaded
    difference = found["predicted"].astype(int) - found["as_reference"]
    assert 0 < abs(difference).max() <= 2
    rounded = found["in_bfloat16"].astype(int) - found["predicted"]
    assert 0 < abs(rounded).max() <= 8  # noise, filled by untrained weights
    assert abs(rounded[given["masks"] != 0]).mean() < 1.5
    assert found["another_size"].shape == (FRAMES, SIDE, SIDE - 4, 3)
    known = given["masks"] == 0
    assert np.array_equal(found["cropped"][known], given["frames"][known])
    assert np.array_equal(found["cropped"], found["predicted"])  # with its margin it is the frame


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("fewer masks", ["15 frames", "14 masks"]),
        ("no frames", ["no frames"]),
        ("other numbers in masks", ["mask of frame 0", "3 values", "from 0 to 212"]),
        ("masks of another size", ["(16, 16, 3)", "(16, 12)"]),
        ("gaps", ["40", "at most 6"]),
        ("no such parameter", ["'crop_widht' (did you mean 'crop_width'?)", "stride, reach"]),
        ("no parameter at all", ["unknown parameter 'zoom'; there are: stride"]),
        ("a word for a switch", ["bfloat16 is 'False' (str): give True or False"]),
        ("a number for a switch", ["propagate is 1 (int): give True or False"]),
        ("no value for a switch", ["reference is None (NoneType): give True or False"]),
        ("a word for a number", ["reach is '5' (str): give a whole number"]),
        ("a broken number", ["stride is 2.5 (float): give a whole number"]),
        ("a switch for a number", ["stride is True (bool): give a whole number"]),
        ("not a number", ["crop_width is nan (float): give a whole number"]),
        ("below its least", ["below its least"]),
    ],
)
def test_invalid_inputs_are_refused_with_numbers(loaded, case, words):
    said, _ = loaded
    kind, message = said[case]
    assert kind == "ValueError"
    for word in words:
        assert word in message


def test_numpy_scalars_are_accepted_as_parameters(loaded):
    said, _ = loaded
    assert said["numbers of numpy"] == ["nothing", ""]


def test_pixels_of_another_type_are_refused(loaded):
    said, _ = loaded
    kind, message = said["other type"]
    assert kind != "nothing"
    assert "float32" in message
    assert "uint8" in message


def test_nothing_in_a_version_is_pickled(kept):
    folder, _ = kept
    files = [path for path in folder.rglob("*") if path.is_file()]
    suffixes = {path.suffix for path in files if path.name not in ("MLmodel", "LICENSE")}
    assert suffixes <= {".py", ".safetensors", ".txt", ".yaml", ".json"}
    assert not [
        path for path in files if path.read_bytes()[:2] in (b"\x80\x04", b"\x80\x05", b"PK")
    ]
    assert "pkl" not in (folder / "MLmodel").read_text()


def test_a_version_records_signature_size_and_requirements(kept):
    folder, _ = kept
    (weights,) = folder.rglob("*.safetensors")
    with safe_open(weights, framework="pt") as file:
        assert json.loads(file.metadata()["generator"]) == {
            "channels": 8,
            "blocks": 2,
            "grids": list(GRIDS),
            "masked_attention": False,
            "patch_sizes": [],
            "fill": "none",
        }
    described = yaml.safe_load((folder / "MLmodel").read_text())
    assert described["metadata"] == {"width": SIDE, "height": SIDE, "licence": "MIT"}
    assert (folder / "LICENSE").read_text().split() == (ROOT / "LICENSE").read_text().split()
    inputs = {
        one["name"]: one["tensor-spec"] for one in json.loads(described["signature"]["inputs"])
    }
    assert inputs == {
        "frames": {"dtype": "uint8", "shape": [-1, -1, -1, 3]},
        "masks": {"dtype": "uint8", "shape": [-1, -1, -1]},
    }
    params = {one["name"]: one for one in json.loads(described["signature"]["params"])}
    assert params["propagate"] == {
        "name": "propagate", "type": "boolean", "default": False, "shape": None
    }  # fmt: skip
    needed = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert needed == {"mlflow", "numpy", "opencv-python-headless", "safetensors", "torch"}


def test_the_input_example_of_a_version_is_valid(kept, loaded):
    folder, _ = kept
    assert loaded
    model = Model.load(folder)
    example = model.load_input_example(str(folder))
    frames = np.asarray(example["frames"], np.uint8)
    masks = np.asarray(example["masks"], np.uint8)
    assert frames.shape[:-1] == masks.shape
    assert sum(path.stat().st_size for path in folder.glob("*.json")) < 100_000


def test_the_code_digest_changes_with_any_change_of_the_code(kept, tmp_path, monkeypatch):
    _, code = kept
    with folder_of(masked_attention=True) as (_, again):
        assert again == code
    room = copy_of_the_code(tmp_path)
    with (room / "served.py").open("a") as file:
        file.write("# one more line\n")
    monkeypatch.setattr(model_folder, "_ROOM", room)
    with folder_of() as (_, other):
        assert other != code


def test_the_code_digest_includes_the_fills(kept, tmp_path, monkeypatch):
    _, code = kept
    fills = tmp_path / "fills"
    shutil.copytree(model_folder._FILLS, fills)
    monkeypatch.setattr(model_folder, "_FILLS", fills)
    with folder_of() as (_, same):
        assert same == code
    with (fills / "diffusion.py").open("a") as file:
        file.write("# one more line\n")
    with folder_of() as (_, other):
        assert other != code


@pytest.fixture(scope="module")
def panning():
    """A picture that moves a pixel a frame, and a hole that moves faster."""
    masks = moving_hole(FRAMES, step=2, first=4, top=8, height=32, width=48)
    video = panned(FRAMES, 0, -1, height=32, width=48)
    return {"frames": hidden(video, masks), "masks": masks}


def test_a_version_with_a_fill_runs_standalone_and_starts_from_propagation(panning, tmp_path):
    with folder_of(fill="propagate") as (folder, _):
        said, found = load(folder, panning, tmp_path)
    assert said["foreign"] == []
    pairs = list(zip(panning["frames"], panning["masks"], strict=True))
    wanted = np.stack([one.frame for one in propagated(pairs)])
    for name in ("predicted", "streamed", "propagated", "cropped", "as_reference"):
        assert np.array_equal(found[name], wanted), name
    still = np.stack([one.frame for one in propagated(pairs, standing_still)])
    assert np.array_equal(found["by_other_flow"], still)
    assert not np.array_equal(still, wanted)


def standing_still(_number, first, _second):
    return (np.zeros((*first.shape[:2], 2), np.float32),) * 2


def test_a_version_without_a_fill_accepts_propagated_frames(kept, panning, tmp_path):
    _, found = load(kept[0], panning, tmp_path)
    pairs = list(zip(panning["frames"], panning["masks"], strict=True))
    fills = list(propagated(pairs))
    sure = np.stack([one.belief[..., 1] for one in fills]) > np.exp(-0.5)
    hole = panning["masks"] != 0
    assert (sure & hole).sum() > 0.5 * hole.sum()
    wanted = np.stack([one.frame for one in fills])
    assert np.array_equal(found["propagated"][sure], wanted[sure])
    assert not np.array_equal(found["predicted"][sure], wanted[sure])


def test_each_version_runs_its_own_code(kept, loaded, given, tmp_path, monkeypatch):
    _, code = kept
    said, found = loaded
    room = copy_of_the_code(tmp_path)
    generator = room / "model" / "generator.py"
    before = "torch.tanh(self.decoder(part))"
    source = generator.read_text()
    assert source.count(before) == 1
    generator.write_text(source.replace(before, f"-{before}"))
    monkeypatch.setattr(model_folder, "_ROOM", room)
    with folder_of() as (folder, other_code):
        other_said, other = load(folder, given, tmp_path)
    assert other_code != code
    assert code[:12] in said["package"]
    assert other_code[:12] in other_said["package"]
    hole = given["masks"] != 0
    inverted = other["predicted"][hole].astype(int) + found["predicted"][hole]
    assert abs(inverted - 255).max() <= 1
    assert (other["predicted"][hole] != found["predicted"][hole]).mean() > 0.5


def copy_of_the_code(scratch):
    room = scratch / "room"
    shutil.copytree(model_folder._ROOM / "model", room / "model")
    shutil.copyfile(model_folder._ROOM / "served.py", room / "served.py")
    return room
