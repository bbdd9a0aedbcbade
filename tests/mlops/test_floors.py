import cv2
import numpy as np
import pytest

from mlops.evaluation import floors
from mlops.evaluation.floor_fills import FILLS
from mlops.fills.propagation import propagated
from mlops.tracking import names

RNG = np.random.default_rng(3)
TRUTH = RNG.integers(0, 256, (3, 80, 96, 3), dtype=np.uint8)
HOLE = np.zeros((3, 80, 96), np.uint8)
HOLE[:, 20:50, 30:60] = 1


def fill(subject, frames, masks):
    return FILLS[subject](frames, masks)


def one_pixel(side, where):
    """A clip of one black frame, and a hole of one of its pixels."""
    masks = np.zeros((1, side, side), np.uint8)
    masks[0, where, where] = 1
    return np.zeros((1, side, side, 3), np.uint8), masks


def test_the_frame_mean_uses_all_known_pixels():
    frames, masks = one_pixel(4, 0)
    frames[0, :, 2:] = (10, 20, 30)
    frames[0, 0, 0] = 255  # in the hole: must not count
    filled = fill(names.SUBJECT_FRAME_MEAN, frames, masks)
    # 8 of 15 known pixels have the colour: 5.33, 10.67 and 16.0, rounded.
    assert filled[0, 0, 0].tolist() == [5, 11, 16]


def test_the_ring_mean_uses_known_pixels_within_ten():
    frames, masks = one_pixel(60, 30)
    frames[:] = 200
    y, x = np.mgrid[:60, :60]
    away = np.hypot(y - 30, x - 30)
    frames[0, away <= 10] = 50
    frames[0, 30, 30] = 255
    assert fill(names.SUBJECT_RING_MEAN, frames, masks)[0, 30, 30].tolist() == [50, 50, 50]
    frames[0, away <= 9] = 0
    assert 0 < fill(names.SUBJECT_RING_MEAN, frames, masks)[0, 30, 30, 0] < 50


def test_telea_equals_opencv_per_frame():
    for frame, hole, filled in zip(
        TRUTH, HOLE, fill(names.SUBJECT_TELEA, TRUTH, HOLE), strict=True
    ):
        expected = cv2.inpaint(frame, hole, 3, cv2.INPAINT_TELEA)
        np.testing.assert_array_equal(filled, expected)


def test_propagation_floor_equals_the_streamed_fill():
    expected = [one.frame for one in propagated(zip(TRUTH, HOLE, strict=True))]
    np.testing.assert_array_equal(fill(names.SUBJECT_PROPAGATED, TRUTH, HOLE), expected)


def test_diffusion_continues_a_slope_where_a_mean_cannot():
    slope = np.broadcast_to(np.arange(96, dtype=np.uint8)[:, None] * 2, (3, 80, 96, 3))
    apart = {
        subject: np.abs(fill(subject, slope, HOLE).astype(int) - slope)[HOLE != 0].mean()
        for subject in names.CLASSICAL_SUBJECTS
    }
    assert apart[names.SUBJECT_DIFFUSED] < 1.0 < 10 < apart[names.SUBJECT_RING_MEAN]


def test_floors_match_the_promotion_rule_and_have_definitions():
    assert tuple(one.subject for one in floors.FLOORS) == names.CLASSICAL_SUBJECTS
    assert tuple(FILLS) == names.CLASSICAL_SUBJECTS
    for one in floors.FLOORS:
        assert f"{one.subject}: {one.definition}" in floors.table()
        assert one.definition.endswith(".")


@pytest.mark.parametrize("subject", names.CLASSICAL_SUBJECTS)
class TestBadInput:
    def test_no_hole_changes_nothing(self, subject):
        np.testing.assert_array_equal(fill(subject, TRUTH, np.zeros_like(HOLE)), TRUTH)

    def test_known_pixels_are_unchanged_and_hole_pixels_unused(self, subject):
        filled = fill(subject, TRUTH, HOLE)
        assert (filled.dtype, filled.shape) == (np.uint8, TRUTH.shape)
        np.testing.assert_array_equal(filled[HOLE == 0], TRUTH[HOLE == 0])
        other = np.where(HOLE[..., None] != 0, 255 - TRUTH, TRUTH)
        np.testing.assert_array_equal(fill(subject, other, HOLE), filled)

    def test_one_frame(self, subject):
        filled = fill(subject, TRUTH[:1], HOLE[:1])
        assert filled.shape == (1, 80, 96, 3)
        np.testing.assert_array_equal(filled[HOLE[:1] == 0], TRUTH[:1][HOLE[:1] == 0])

    @pytest.mark.parametrize("frames", [1, 3])
    def test_a_hole_that_is_every_frame_becomes_mid_grey(self, subject, frames):
        filled = fill(subject, TRUTH[:frames], np.ones_like(HOLE[:frames]))
        assert np.unique(filled).tolist() == [128]

    def test_a_hole_at_the_same_place_of_every_frame_is_filled_from_around_it(self, subject):
        still = np.full((4, 80, 96, 3), 90, np.uint8)
        masks = np.repeat(HOLE[:1], 4, axis=0)
        still[masks != 0] = 7  # hidden by the hole
        # OpenCV's implementation of Telea's method is slightly off even on one colour.
        np.testing.assert_allclose(fill(subject, still, masks), 90, rtol=0, atol=5)

    def test_frames_smaller_than_flow_needs(self, subject):
        masks = np.zeros((2, 9, 7), np.uint8)
        masks[:, 3:5, 2:4] = 1
        filled = fill(subject, TRUTH[:2, :9, :7], masks)
        np.testing.assert_array_equal(filled[masks == 0], TRUTH[:2, :9, :7][masks == 0])

    def test_any_nonzero_value_is_a_hole(self, subject):
        np.testing.assert_array_equal(fill(subject, TRUTH, HOLE * 255), fill(subject, TRUTH, HOLE))
