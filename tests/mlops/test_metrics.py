import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mlops.evaluation import metrics
from tests.mlops import published

RNG = np.random.default_rng(3)
TRUTH = RNG.integers(0, 256, (80, 96, 3), dtype=np.uint8)
RESULT = np.clip(TRUTH + RNG.normal(0, 12, TRUTH.shape), 0, 255).astype(np.uint8)
HOLE = np.zeros((80, 96), np.uint8)
HOLE[20:50, 30:60] = 1


def test_psnr_matches_scikit_image():
    expected = peak_signal_noise_ratio(TRUTH, RESULT, data_range=255)
    assert metrics.psnr_db(TRUTH, RESULT) == pytest.approx(expected, abs=1e-9)


def test_psnr_of_a_known_error():
    # Off by 5 everywhere: 20 log10(255 / 5).
    dark = np.full((8, 8, 3), 100, np.uint8)
    assert metrics.psnr_db(dark, dark + 5) == pytest.approx(34.151403521958725)
    assert metrics.psnr_db(dark, dark) == math.inf


def test_ssim_uses_the_standard_window_and_crops_its_border():
    expected = structural_similarity(TRUTH, RESULT, channel_axis=2, data_range=255, win_size=65)
    assert metrics.ssim(TRUTH, RESULT) == pytest.approx(expected, abs=1e-12)
    assert metrics.ssim(TRUTH, TRUTH) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("height", "width", "window"), [(240, 432, 65), (65, 65, 65), (64, 200, 11), (10, 40, 9)]
)
def test_ssim_window_shrinks_on_small_frames(height, width, window):
    assert metrics.frame_window(height, width) == window


def _ssim_at(y, x, half=5):
    """SSIM of one window, mean over channels, from its definition (sample covariance)."""
    values = []
    for c in range(3):
        a = TRUTH[y - half : y + half + 1, x - half : x + half + 1, c].astype(float).ravel()
        b = RESULT[y - half : y + half + 1, x - half : x + half + 1, c].astype(float).ravel()
        covariance = np.cov(a, b)
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        top = (2 * a.mean() * b.mean() + c1) * (2 * covariance[0, 1] + c2)
        bottom = a.mean() ** 2 + b.mean() ** 2 + c1
        values.append(top / (bottom * (covariance[0, 0] + covariance[1, 1] + c2)))
    return float(np.mean(values))


def test_hole_metrics_read_hole_pixels_only():
    inside = HOLE.astype(bool)
    error = np.mean((TRUTH[inside].astype(float) - RESULT[inside]) ** 2)
    assert metrics.hole_psnr_db(TRUTH, RESULT, HOLE) == pytest.approx(10 * np.log10(255**2 / error))
    expected = np.mean([_ssim_at(y, x) for y, x in zip(*np.nonzero(inside), strict=True)])
    assert metrics.hole_ssim(TRUTH, RESULT, HOLE) == pytest.approx(expected, abs=1e-9)


def test_hole_metrics_without_a_hole_are_nan():
    nothing = np.zeros_like(HOLE)
    assert math.isnan(metrics.hole_psnr_db(TRUTH, RESULT, nothing))
    assert math.isnan(metrics.hole_ssim(TRUTH, RESULT, nothing))


@pytest.mark.parametrize("number", [0, 1])
def test_frame_metrics_match_the_published_evaluation(number):
    truth, result = published.frame_pair(number)
    assert metrics.psnr_db(truth, result) == pytest.approx(published.PSNR_DB[number], abs=1e-9)
    assert metrics.ssim(truth, result) == pytest.approx(published.SSIM[number], abs=1e-9)
