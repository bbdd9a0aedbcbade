"""Limits of the tests here, and short ways to read a record."""

import pytest

from data_pipeline.sources.read import jpegs
from data_pipeline.sources.record import BadVideoError, Limits, SourceStats
from tests.layouts import HEIGHT, WIDTH

LIMITS = Limits(min_frames=5, max_frames=1000, max_pixels=2**21, max_frame_bytes=10**6)


def read(video, width=WIDTH, height=HEIGHT, limits=LIMITS):
    return list(jpegs(video, width, height, limits, SourceStats()))


def bad(video, limits=LIMITS, **size):
    with pytest.raises(BadVideoError) as caught:
        read(video, limits=limits, **size)
    assert "\n" not in caught.value.reason
    assert "/" not in caught.value.reason
    return caught.value
