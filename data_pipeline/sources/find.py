"""Finds the videos of the inputs of a build: records sorted by id."""

from data_pipeline.config import ShardConfig
from data_pipeline.sources import frame_folders, ids, photos, splits, video_files, zips
from data_pipeline.sources.record import SourceVideo


def find_videos(config: ShardConfig) -> tuple[SourceVideo, ...]:
    """Look at the inputs without reading frames; needs a Ray session.

    A video that is seen to be unusable is among them, with the reason in `bad`.

    Raises:
        UserError: an input is not what `--source` says, two videos have one id, or the splits
            cannot be made.
        TransientError: a store does not answer.
    """
    lists = splits.read_lists(config.split_lists)
    found = splits.assign(
        ids.in_order(_found(config)),
        held_out=config.held_out,
        test_share=config.test_share,
        seed=config.seed,
        lists=lists,
    )
    return photos.with_layers(found, config.seed) if config.source == "photos" else found


def _found(config: ShardConfig) -> list[SourceVideo]:
    match config.source:
        case "youtube-vos":
            return frame_folders.find_youtube_vos(config.input)
        case "davis":
            return frame_folders.find_davis(config.input)
        case "sttn-layout":
            return zips.find(config.input)
        case "videos":
            return video_files.find(config.input, config.max_frames)
        case "photos":
            return photos.find(
                config.input,
                seed=config.seed,
                videos=config.photo_videos,
                frames=config.photo_frames,
            )
