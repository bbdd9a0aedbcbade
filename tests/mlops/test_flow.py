import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.cli.command import UserError
from mlops.evaluation import flow

SIDE = 48


def textured(seed=0):
    """A smooth random picture, float32 [H,W,3] in 0..1."""
    noise = np.random.default_rng(seed).random((SIDE // 6, SIDE // 6, 3))
    return np.kron(noise, np.ones((6, 6, 1))).astype(np.float32)


def constant(x, y):
    return np.full((SIDE, SIDE, 2), (x, y), np.float32)


@settings(max_examples=20)
@given(st.integers(-5, 5), st.integers(-5, 5))
def test_motion_that_matches_the_flow_has_no_error(x, y):
    first = textured()
    second = np.roll(first, (y, x), axis=(0, 1))
    step = flow.step(constant(x, y), constant(-x, -y))
    inner = np.zeros((SIDE, SIDE), bool)
    inner[6:-6, 6:-6] = True  # pixels that enter at the border are not part of the motion
    assert step.visible.all()
    warped = flow.warp(second, step.forward)
    np.testing.assert_allclose(warped[inner], first[inner], atol=1e-6)


def test_a_static_picture_has_no_error():
    still = constant(0, 0)
    assert flow.step(still, still).error(textured(), textured()) == 0
    assert flow.step(still, still).error(textured(0), textured(1)) > 0.01


def test_inconsistent_flows_are_occluded_and_full_occlusion_has_no_error():
    step = flow.step(constant(8, 0), constant(8, 0))
    assert not step.visible.any()
    assert step.error(textured(0), textured(1)) == 0


def test_dis_finds_a_shift_and_is_deterministic():
    picture = (textured() * 255).astype(np.uint8)
    moved = np.roll(picture, 3, axis=1)
    (forward, backward), (again, _) = (flow.dis()(0, picture, moved) for _ in range(2))
    assert np.array_equal(forward, again)
    assert np.median(forward[8:-8, 8:-8], axis=(0, 1)) == pytest.approx((3, 0), abs=0.3)
    assert np.median(backward[8:-8, 8:-8], axis=(0, 1)) == pytest.approx((-3, 0), abs=0.3)


def test_frames_too_small_for_dis_are_refused():
    small = np.zeros((12, 40, 3), np.uint8)
    with pytest.raises(UserError, match="frames of 40x12 pixels are too small for optical flow"):
        flow.dis()(0, small, small)


def write_flo(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape[:2]
    path.write_bytes(b"PIEH" + struct.pack("<ii", width, height) + values.astype("<f4").tobytes())


def test_flow_folder_round_trips_and_errors_are_named(tmp_path):
    values = np.random.default_rng(0).random((SIDE, SIDE + 2, 2)).astype(np.float32)
    write_flo(tmp_path / "dog" / "forward" / "00007.flo", values)
    write_flo(tmp_path / "dog" / "backward" / "00007.flo", -values)
    frame = np.zeros((SIDE, SIDE + 2, 3), np.uint8)
    source = flow.given(str(tmp_path), "dog")
    forward, backward = source(7, frame, frame)
    assert np.array_equal(forward, values)
    assert np.array_equal(backward, -values)
    with pytest.raises(UserError, match=r"no optical flow .*/dog/forward/00008.flo: --flows wants"):
        source(8, frame, frame)
    with pytest.raises(UserError, match=r"is no .flo file of 48x48 pixels \(it says 50x48 in"):
        source(7, frame[:, 2:], frame[:, 2:])
    (tmp_path / "dog" / "forward" / "00007.flo").write_bytes(b"PIE")
    with pytest.raises(UserError, match=r"is no .flo file of 50x48 pixels \(it says 0x0 in 3 byt"):
        source(7, frame, frame)
