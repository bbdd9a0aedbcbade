"""The order of training clips: a pure function from (seed, position) to frames of a video.

World size, rank and number of workers never enter: rank r of a job takes its share of the
positions of each batch, and the whole state of a loader is one integer.

Order: position -> (epoch, place in the epoch). In each epoch the shards are permuted and cut in
windows of like size, of at most `window_shards`; the videos of a window are shuffled among
themselves. So every video comes once an epoch, and a reader with a cache of `window_shards` shards
fetches each of them once an epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from data_pipeline.format import draws


@dataclass(frozen=True, slots=True)
class Clip:
    """Some frames of one video, with one of its masks."""

    position: int
    """Place in the endless sequence of clips, from 0."""
    video: int
    """Index into `videos(split)`."""
    frames: tuple[int, ...]
    """Frame numbers, ascending; with references, the neighbours and then the references."""
    consecutive: bool
    """True for frames that follow each other, False for frames picked from anywhere."""
    flip: bool
    """Mirror the frames (not the masks) left to right."""
    variant: int
    """Index of the mask variant of the video."""
    references: int = 0
    """Number of frames at the end that are distant references; the others follow each other."""


@dataclass(frozen=True)
class ClipOrder:
    """The endless sequence of training clips over a list of videos.

    Raises:
        UserError: there is no video, or one is too short or has no mask.
    """

    seed: int
    """Seed of the sequence."""
    shards: tuple[str, ...]
    """Shard of each video."""
    lengths: tuple[int, ...]
    """Frames of each video."""
    variants: tuple[int, ...]
    """Masks of each video."""
    frames_per_clip: int
    """Frames of a clip."""
    window_shards: int
    """Shards whose videos are mixed with each other; part of the order."""
    references: int | None = None
    """Frames of each clip that are picked from anywhere, beside neighbours that follow each other;
    None = as the official code: half of the clips are all neighbours, half all picked."""
    _orders: dict[int, NDArray[np.int64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.lengths:
            raise UserError("no videos to take clips from: choose another split")
        if self.frames_per_clip < 1 or self.window_shards < 1:
            raise UserError(
                f"frames per clip ({self.frames_per_clip}) and window ({self.window_shards} "
                "shards) must be at least 1"
            )
        if self.references is not None and not 0 <= self.references < self.frames_per_clip:
            raise UserError(
                f"{self.references} references in clips of {self.frames_per_clip} frames: leave at "
                "least one neighbour"
            )
        _check_lengths(self.lengths, self.variants, self.frames_per_clip)

    def clip(self, position: int) -> Clip:
        """Return the clip at `position` (from 0, endless)."""
        epoch, place = divmod(position, len(self.lengths))
        video = int(self._order(epoch)[place])
        length, count = self.lengths[video], self.frames_per_clip
        mode, start, flip, variant, *picks = draws.words(self.seed, "clip", position, 4 + count)
        references = self.references
        if references is None:
            references = 0 if draws.below(mode, 2) == 0 else count
        neighbours = count - references
        first = draws.below(start, length - neighbours + 1)
        others = draws.subset(picks[:references], length - neighbours)
        return Clip(
            position=position,
            video=video,
            frames=(
                *range(first, first + neighbours),
                *(frame if frame < first else frame + neighbours for frame in others),
            ),
            consecutive=references == 0,
            flip=draws.below(flip, 2) == 1,
            variant=draws.below(variant, self.variants[video]),
            references=self.references or 0,
        )

    @cached_property
    def _videos_of_shards(self) -> list[NDArray[np.int64]]:
        """Index arrays of the videos of each shard, shards in order of first appearance."""
        groups: dict[str, list[int]] = {}
        for video, shard in enumerate(self.shards):
            groups.setdefault(shard, []).append(video)
        return [np.array(group, dtype=np.int64) for group in groups.values()]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of the videos in the order of one epoch, [videos]; cached."""
        known = self._orders.get(epoch)
        if known is not None:
            return known
        groups = self._videos_of_shards
        shards = draws.permutation(self.seed, "shards", epoch, len(groups))
        # One key for each video and epoch; sorted inside its window only.
        keys = draws.word_array(self.seed, "videos", epoch, len(self.lengths))
        windows = []
        # Windows of like size: a last one of one shard would give batches of one shard.
        for chosen in np.array_split(shards, -(-len(shards) // self.window_shards)):
            videos = np.concatenate([groups[shard] for shard in chosen])
            windows.append(videos[np.argsort(keys[videos], kind="stable")])
        order = np.concatenate(windows)
        for old in [past for past in list(self._orders) if abs(past - epoch) > 1]:
            self._orders.pop(old, None)
        self._orders[epoch] = order
        return order


class _Video(Protocol):
    @property
    def shard(self) -> str: ...
    @property
    def frames(self) -> int: ...
    @property
    def mask_kinds(self) -> tuple[str, ...]: ...


class _DataSet(Protocol):
    def videos(self, split: str) -> Sequence[_Video]: ...


def clip_order(
    dataset: _DataSet,
    split: str,
    seed: int,
    frames_per_clip: int,
    window_shards: int,
    references: int | None = None,
) -> ClipOrder:
    """Make the sequence of training clips over the videos of one split of a `reader.DataSet`."""
    videos = dataset.videos(split)
    return ClipOrder(
        seed=seed,
        shards=tuple(video.shard for video in videos),
        lengths=tuple(video.frames for video in videos),
        variants=tuple(len(video.mask_kinds) for video in videos),
        frames_per_clip=frames_per_clip,
        window_shards=window_shards,
        references=references,
    )


def evaluation_clips(
    lengths: Sequence[int], variants: Sequence[int], clips_per_video: int, frames_per_clip: int
) -> tuple[Clip, ...]:
    """Choose fixed clips for evaluation: evenly spaced, consecutive, masks taken in turn.

    Args:
        lengths: frames of each video.
        variants: masks of each video.
        clips_per_video: clips of each video; they overlap when the video is short.
        frames_per_clip: frames of a clip.

    Raises:
        UserError: a video is too short or has no mask.
    """
    _check_lengths(lengths, variants, frames_per_clip)
    clips: list[Clip] = []
    for video, (length, masks) in enumerate(zip(lengths, variants, strict=True)):
        room = length - frames_per_clip
        for turn in range(clips_per_video):
            # Middles of equal parts: one clip sits in the middle of its video.
            start = room * (2 * turn + 1) // (2 * clips_per_video)
            clips.append(
                Clip(
                    position=len(clips),
                    video=video,
                    frames=tuple(range(start, start + frames_per_clip)),
                    consecutive=True,
                    flip=False,
                    variant=turn % masks,
                )
            )
    return tuple(clips)


def _check_lengths(lengths: Sequence[int], variants: Sequence[int], frames_per_clip: int) -> None:
    for video, (length, masks) in enumerate(zip(lengths, variants, strict=True)):
        if length < frames_per_clip:
            raise UserError(
                f"clips of {frames_per_clip} frames were requested, but video {video} has "
                f"{length}: request shorter clips or leave the video out"
            )
        if masks < 1:
            raise UserError(
                f"video {video} has no masks: build the data set with --static or --moving"
            )
