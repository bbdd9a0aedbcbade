import pytest

from training.learn.schedules import ema_decay, learning_rate


@pytest.mark.parametrize(
    ("clips", "rate"),
    [
        (0, 1e-4),
        (1_199_999, 1e-4),
        (1_200_000, 1e-5),
        (2_400_000, 1e-6),
        (3_600_000, 1e-6),
        (40_000_000, 1e-6),
    ],
)
def test_the_official_learning_rate_falls_tenfold_twice(clips, rate):
    assert learning_rate(1e-4, clips, 1_200_000, 2) == pytest.approx(rate)


def test_a_zero_decay_interval_disables_decay():
    assert learning_rate(1e-4, 10**9, 0, 2) == 1e-4


@pytest.mark.parametrize("batch_clips", [1, 4, 100])
def test_ema_half_life_does_not_depend_on_the_batch_size(batch_clips):
    assert ema_decay(100, batch_clips) ** (100 / batch_clips) == pytest.approx(0.5)


def test_zero_half_life_disables_averaging():
    assert ema_decay(0, 4) == 0
