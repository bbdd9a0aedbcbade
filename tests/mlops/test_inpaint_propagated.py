"""`inpaint` with known pixels propagated along optical flow."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from mlops import inpaint
from mlops.fills.propagation import propagated
from mlops.tracking import names, registry
from tests.mlops import foreign
from tests.mlops.test_fills import write_flow
from tests.panning import HEIGHT, WIDTH, hidden, moving_hole, panned, psnr_db
from tests.training.small import GRIDS, small_generator
from training.config.train_config import GeneratorConfig
from training.registration.model_folder import model_folder

FRAMES = 10
FLOW = (2, 0)  # of the picture, pixels a frame


def pictures(folder, frames):
    """A folder of PNGs, which lose nothing."""
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    return folder


def read(folder):
    return np.stack([np.asarray(Image.open(one)) for one in sorted(folder.iterdir())])


@pytest.fixture
def footage(tmp_path):
    """A picture that moves steadily behind a hole that moves the other way, and the truth."""
    truth, masks = panned(FRAMES, 0, -FLOW[0]), moving_hole(FRAMES, step=-3, first=60)
    pictures(tmp_path / "in", hidden(truth, masks))
    pictures(tmp_path / "masks", masks)
    return truth, masks


@pytest.fixture
def run(store, tmp_path, capsys):
    """Inpaint with the newest version; gives exit code, result if there is one, and stderr."""

    def to(out, *flags):
        where = tmp_path / "in", tmp_path / "masks", tmp_path / out
        argv = [*where, *flags, "--model", "models:/sttn@candidate", "--tracking-uri", store]
        code = inpaint.main([str(word) for word in argv])
        said = capsys.readouterr().err
        return code, read(tmp_path / out) if code == 0 else None, said

    return to


def register_small(store, fill):
    """Register a small untrained network of the product."""
    shape = GeneratorConfig(channels=8, blocks=1, grids=GRIDS, fill=fill)
    weights = small_generator(seed=1, blocks=1, fill=fill).state_dict()
    run_id = foreign.training_run(store)
    with model_folder(weights, shape, WIDTH, HEIGHT, "MIT") as (folder, _):
        version = registry.register(
            store, name=names.MODEL, run_id=run_id, clips=1, model_dir=folder, tags={}
        )
    registry.set_alias(store, version, names.CANDIDATE)


@pytest.fixture
def register(store):
    return partial(register_small, store)


def test_any_version_accepts_propagated_frames(footage, register, run):
    truth, masks = footage
    register("none")
    hole = masks != 0
    pairs = zip(hidden(truth, masks), masks, strict=True)
    sure = np.stack([one.belief[..., 1] for one in propagated(pairs)]) > np.exp(-0.5)
    assert (sure & hole).sum() > 0.7 * hole.sum()
    _, without, _ = run("without")
    code, found, _ = run("found", "--propagate")
    assert code == 0
    assert psnr_db(found, truth, sure & hole) > 40
    assert psnr_db(without, truth, sure & hole) < 20
    assert np.array_equal(found[~hole], truth[~hole])
    assert not np.array_equal(found[~sure], truth[~sure])  # there the network has filled


def test_a_version_trained_with_propagation_needs_no_flag(footage, register, run):
    truth, masks = footage
    register("propagate")
    wanted = [one.frame for one in propagated(zip(hidden(truth, masks), masks, strict=True))]
    for out, *flags in (("plain",), ("asked", "--propagate")):
        code, found, _ = run(out, *flags)
        assert code == 0
        assert np.array_equal(found, wanted)


def true_flow(folder, frames=FRAMES - 1, **size):
    for number in range(frames):
        write_flow(folder, number, FLOW, **size)
    return folder


@pytest.mark.parametrize("fill", ["none", "propagate"])
def test_given_flow_files_are_used(footage, register, run, tmp_path, fill):
    """And --flows implies propagation."""
    truth, masks = footage
    register(fill)
    code, found, _ = run("found", "--flows", true_flow(tmp_path / "flows"))
    assert code == 0
    assert psnr_db(found, truth, masks != 0) > 45


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        (partial(true_flow, width=WIDTH - 1), "is no .flo file of 96x64 pixels (it says 95x64 in"),
        (partial(true_flow, frames=4), "forward/00004.flo: --flows wants"),
        (lambda folder: folder, "forward/00000.flo: --flows wants"),
    ],
)
@pytest.mark.usefixtures("footage")
def test_flow_of_another_size_or_count_is_refused_without_output(
    register, run, tmp_path, flow, words
):
    register("none")
    there = sorted(tmp_path.iterdir())
    code, _, said = run("found", "--flows", flow(tmp_path / "flows"))
    assert code == 2
    *bar, error = said.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert not any("error" in line or "Traceback" in line for line in bar)
    assert set(tmp_path.iterdir()) - {*there, tmp_path / "flows"} == set()


@pytest.mark.parametrize("flags", [["--propagate"], ["--flows", "nowhere"]])
@pytest.mark.usefixtures("footage")
def test_a_version_that_cannot_take_propagated_frames_is_refused(store, run, tmp_path, flags):
    foreign.register(store, tmp_path / "model")
    code, _, said = run("found", *flags)
    assert code == 2
    assert "models:/sttn/1 cannot be given propagated frames: leave --propagate and --flows" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "found").exists()


@pytest.mark.usefixtures("footage")
def test_one_frame_that_is_all_hole_is_grey(register, store, tmp_path):
    register("propagate")
    pictures(tmp_path / "one", panned(1, 0, 0))
    argv = [tmp_path / "one", f"0,0,{WIDTH},{HEIGHT}", tmp_path / "out", "--propagate"]
    to = "--model", "models:/sttn/1", "--tracking-uri", store
    assert inpaint.main([*map(str, argv), *to]) == 0
    assert (read(tmp_path / "out") == 128).all()
