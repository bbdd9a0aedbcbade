import numpy as np
import pytest

from data_pipeline.masks import MOVING, STATIONARY, mask_sequence, variant_kinds, variant_seed


def corner(mask):
    rows, columns = np.nonzero(mask)
    return rows.min(), columns.min()


@pytest.mark.parametrize("kind", [STATIONARY, MOVING])
@pytest.mark.parametrize(("height", "width"), [(240, 432), (96, 192), (17, 16)])
def test_shape_values_and_repeatable(kind, height, width):
    for seed in range(20):
        masks = mask_sequence(kind, seed, 7, height, width)
        assert masks.shape == (7, height, width)
        assert masks.dtype == np.uint8
        assert set(np.unique(masks)) == {0, 1}
        assert masks.any(axis=(1, 2)).all()
        assert not masks.all(axis=(1, 2)).any()
        assert np.array_equal(masks, mask_sequence(kind, seed, 7, height, width))


@pytest.mark.parametrize("seed", [117, 440, 1286])
def test_a_shape_that_vanishes_is_drawn_again(seed):
    # The first shape of these seeds leaves no pixel at this size.
    assert mask_sequence(STATIONARY, seed, 1, 16, 16).any()


def test_stationary_stands_still_and_moving_moves():
    for seed in range(30):
        still = mask_sequence(STATIONARY, seed, 20, 240, 432)
        assert (still == still[0]).all()
        moving = mask_sequence(MOVING, seed, 20, 240, 432)
        places = [corner(mask) for mask in moving]
        assert len(set(places)) > 1
        # The shape itself is rigid, and the same as without motion.
        assert len({int(mask.sum()) for mask in [*moving, still[0]]}) == 1


def test_a_longer_sequence_begins_as_the_shorter_one():
    assert np.array_equal(
        mask_sequence(MOVING, 3, 40, 96, 192)[:10], mask_sequence(MOVING, 3, 10, 96, 192)
    )


def test_statistics_of_the_official_generator():
    # Measured on 2,000 draws of the official code at 240x432: means 0.0771 (area share),
    # 90.0 and 163.3 (box), 2.63 (pixels a frame); within four standard errors of both samples.
    draws = 300
    area, tall, wide, steps = [], [], [], []
    for seed in range(draws):
        masks = mask_sequence(MOVING, seed, 20, 240, 432)
        rows, columns = np.nonzero(masks[0])
        area.append(masks[0].mean())
        tall.append(np.ptp(rows) + 1)
        wide.append(np.ptp(columns) + 1)
        places = np.array([corner(mask) for mask in masks])
        steps.append(np.hypot(*np.diff(places, axis=0).T).mean())
    official = [(area, 0.0771, 0.0364), (tall, 90.0, 28.6), (wide, 163.3, 51.0), (steps, 2.63, 1.6)]
    for values, mean, deviation in official:
        allowed = 4 * deviation * np.sqrt(1 / draws + 1 / 2000)
        assert abs(np.mean(values) - mean) < allowed
    assert np.allclose(np.percentile(area, [5, 50, 95]), [0.031, 0.070, 0.147], rtol=0.15)


def test_seeds_depend_on_names_only():
    seeds = {
        variant_seed(seed, video, variant)
        for seed in range(3)
        for video in ("a", "b", "a:1")
        for variant in range(4)
    }
    assert len(seeds) == 36
    assert max(seeds) < 2**53
    assert variant_seed(0, "a", 1) == 4790501460367058


def test_kinds_are_taken_in_turn():
    assert variant_kinds(2, 2) == (STATIONARY, MOVING, STATIONARY, MOVING)
    assert variant_kinds(3, 1) == (STATIONARY, MOVING, STATIONARY, STATIONARY)
    assert variant_kinds(0, 2) == (MOVING, MOVING)
