"""The inputs of a build -> its video records, sorted by id."""

from data_pipeline.config import ShardConfig
from data_pipeline.sources import video_files
from data_pipeline.sources.record import SourceVideo


def find_videos(config: ShardConfig) -> tuple[SourceVideo, ...]:
    """Look at the inputs without reading frames; needs a Ray session.

    Raises:
        UserError: an input cannot be used at all.
    """
    return video_files.find(config.input, config.held_out)
