"""Human-readable numbers."""

import pytest

from data_pipeline.cli import formatting


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (999_600, "1 MB"), (5 * 10**12, "5 TB")],
)
def test_byte_counts_are_human_readable(count, words):
    assert formatting.human_bytes(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(-3, "0 seconds"), (125, "2 minutes"), (7200, "2 hours")]
)
def test_ages_are_human_readable(seconds, words):
    assert formatting.human_age(seconds) == words
