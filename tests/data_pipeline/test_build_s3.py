"""A whole data set on S3: the same content as on disk."""

import numpy as np
import pytest
import ray

from data_pipeline.cli.command import UserError
from data_pipeline.format import manifest
from data_pipeline.inspection.verify import verify
from data_pipeline.read.clips import clip_order
from data_pipeline.read.reader import DataSet, read_clip
from data_pipeline.storage import lake
from tests.tiny import shard_tiny, write_videos


@pytest.mark.usefixtures("ray_for_all")
def test_a_data_set_on_s3_equals_that_on_disk(s3, tmp_path):
    videos = write_videos(tmp_path, (7, 8))
    uri = lake.join(s3, "curated", "tiny", "v1")
    far = shard_tiny(uri, videos, workers=2)
    near = shard_tiny(tmp_path / "v1", videos)
    assert shard_tiny(uri, videos).already_there
    # A nested session leaves the outer one open.
    assert ray.is_initialized()
    assert far.digest == near.digest
    assert lake.list_files(uri) == lake.list_files(near.uri)
    assert verify(uri).differences == ()
    with pytest.raises(FileExistsError):
        manifest.create(uri, manifest.load(uri))
    clips = []
    for data in (DataSet.open(uri), DataSet.open(near.uri)):
        clip = clip_order(data, "train", 0, 5, 4).clip(0)
        clips.append(read_clip(data, data.videos("train")[clip.video], clip))
    for a, b in zip(*clips, strict=True):
        assert np.array_equal(a, b)
    lake.write_bytes(lake.join(uri, "catalogue.parquet"), b"damaged")
    assert len(verify(uri).differences) == 1
    with pytest.raises(UserError, match="no data set at"):
        DataSet.open(lake.join(s3, "nothing"))
