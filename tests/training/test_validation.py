"""Pictures of a validation; when and of which clips is tested in `test_trainer.py`."""

import numpy as np
import pytest
import torch

from tests.training.small import SIDE, small_generator
from training.learn.batch import Pixels
from training.observe.validation import show


@pytest.mark.parametrize(
    ("frames", "shown"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (9, [0, 4, 8])]
)
def test_a_picture_shows_input_result_and_truth_of_frames_spread_over_the_clip(frames, shown):
    random = np.random.default_rng(0)
    truth = random.integers(0, 256, (frames, SIDE, SIDE, 3), np.uint8)
    masks = (random.random((frames, SIDE, SIDE)) < 0.3).astype(np.uint8)
    found = show(small_generator(), Pixels(truth, masks), torch.device("cpu"))
    picture = found.picture()
    assert picture.dtype == np.uint8
    assert picture.shape == (3 * SIDE, len(shown) * SIDE, 3)
    # [3, H, n, W, 3] -> [3, n, H, W, 3]
    given, result, wanted = picture.reshape(3, SIDE, len(shown), SIDE, 3).swapaxes(1, 2)
    holes = masks[shown] == 1
    assert np.array_equal(wanted, truth[shown])
    assert np.array_equal(given[~holes], truth[shown][~holes])
    assert np.array_equal(result[~holes], truth[shown][~holes])
    assert (given[holes] == 128).all()  # mid grey
    assert (result[holes] != truth[shown][holes]).any()
    assert len(np.unique(result[holes])) > 10
    # [T, H, 3, W, 3] -> three of [T, H, W, 3]
    left, middle, right = found.video().reshape(frames, SIDE, 3, SIDE, 3).transpose(2, 0, 1, 3, 4)
    for side, wanted in ((left, found.given), (middle, found.filled), (right, found.truth)):
        assert np.array_equal(side, wanted)
