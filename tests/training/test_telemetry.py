"""Pictures of a run. What it writes to MLflow is tested in `tests/mlops/test_tracking.py`."""

import numpy as np
import pytest

from tests.training.small import SIDE, small_generator
from training.telemetry import before_and_after


@pytest.mark.parametrize(
    ("frames", "shown"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (9, [0, 4, 8])]
)
def test_a_picture_shows_input_result_and_truth_of_frames_spread_over_the_clip(frames, shown):
    random = np.random.default_rng(0)
    truth = random.integers(0, 256, (frames, SIDE, SIDE, 3), np.uint8)
    masks = (random.random((frames, SIDE, SIDE)) < 0.3).astype(np.uint8)
    picture = before_and_after(small_generator(), truth, masks)
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
