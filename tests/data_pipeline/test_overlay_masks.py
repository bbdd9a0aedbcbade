"""Masks in the shape of subtitles and logos."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.config import ShardConfig
from data_pipeline.format import manifest
from data_pipeline.masks.overlays import overlay_frames
from data_pipeline.read.reader import DataSet
from tests.tiny import shard_tiny

HEIGHT, WIDTH, FRAMES = 120, 216, 20
SEEDS = range(60)


def masks(seed, frames=FRAMES, height=HEIGHT, width=WIDTH):
    return np.stack(list(overlay_frames(seed, frames, height, width)))


@pytest.mark.parametrize("size", [(16, 16), (48, 64), (240, 432), (432, 240)])
def test_every_mask_has_a_hole_and_is_small(size):
    for seed in SEEDS:
        found = masks(seed, 3, *size)
        assert found.shape == (3, *size)
        assert found.dtype == np.uint8
        assert set(np.unique(found)) == {0, 1}
        assert found.mean(axis=(1, 2)).max() < 0.35


def test_the_number_of_frames_changes_nothing_of_the_first_ones():
    for seed in SEEDS:
        assert np.array_equal(masks(seed, 5), masks(seed, 30)[:5])


def test_there_are_subtitles_standing_logos_and_drifting_ones():
    standing = [seed for seed in SEEDS if (masks(seed) == masks(seed)[0]).all()]
    drifting = set(SEEDS) - set(standing)
    assert 0.15 < len(drifting) / len(SEEDS) < 0.5
    for seed in drifting:  # the same shape, elsewhere, wholly inside the frame
        assert len({int(one.sum()) for one in masks(seed, 60)}) == 1
    # Subtitles are wide, low down or at the top, and centred.
    wide = [
        m for m in (masks(seed)[0] for seed in standing) if np.ptp(m.nonzero()[1]) > 0.45 * WIDTH
    ]
    assert len(wide) >= 10
    for one in wide:
        rows, columns = one.nonzero()
        assert rows.min() > 0.5 * HEIGHT or rows.max() < 0.5 * HEIGHT
        assert abs(columns.min() + columns.max() - WIDTH) < 6


def test_a_data_set_with_overlays_has_them_and_one_without_keeps_its_digest(
    tmp_path, videos, ray_for_all  # noqa: ARG001
):  # fmt: skip
    built = shard_tiny(tmp_path / "v1", videos, overlays=2)
    (row, *_) = pq.read_table(f"{built.uri}/catalogue.parquet").to_pylist()
    assert row["mask_kinds"] == ["stationary", "moving", "overlay", "overlay"]
    assert manifest.load(built.uri).settings["masks"]["overlays"] == 2
    assert {"overlays", "overlay_generator"}.isdisjoint(
        manifest.load(shard_tiny(tmp_path / "v2", videos).uri).settings["masks"]
    )
    assert DataSet.open(built.uri).digest == built.digest


def test_overlays_alone_are_masks_enough():
    given = {"input": ("a.mp4",), "output": "/out", "static": 0, "moving": 0}
    assert ShardConfig(**given, overlays=1).overlays == 1
    with pytest.raises(UserError, match="give --static, --moving or --overlays"):
        ShardConfig(**given)
