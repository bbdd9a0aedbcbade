"""Scores and pictures of the averaged generator on fixed clips, during training.

The clips are of held-out videos. Where the data set has none they are of training videos, and the
scores have other names: overfitting looks good there. H, W frame; T
frames.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_pipeline.read.clips import Clip, evaluation_clips
from data_pipeline.read.reader import DataSet
from mlops.evaluation import metrics
from mlops.tracking import names
from training.config.train_config import TrainConfig
from training.learn import parallel
from training.learn.adversary import Adversary
from training.learn.batch import Pixels, batch_of
from training.learn.filling import reading
from training.learn.networks import build_generator
from training.model.generator import Generator

Frames = NDArray[np.uint8]

_GREY = 128  # what a hole looks like in a picture
_VIDEO_FRAMES = 16
_PICTURED_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Shown:
    """One clip to look at."""

    given: Frames
    """uint8 [T, H, W, 3]; holes are grey."""
    filled: Frames
    """uint8 [T, H, W, 3], with the prediction in the holes."""
    truth: Frames
    """uint8 [T, H, W, 3]."""

    def picture(self) -> Frames:
        """Rows are the input, the result and the truth; columns are up to 3 frames spread over it.

        Returns:
            uint8 [3 * H, n * W, 3].
        """
        last, shown = len(self.truth) - 1, min(_PICTURED_FRAMES, len(self.truth))
        spread = np.linspace(0, last, shown).round().astype(int)
        rows = (self.given, self.filled, self.truth)
        return np.concatenate([np.concatenate(list(row[spread]), axis=1) for row in rows])

    def video(self) -> Frames:
        """The input, the result and the truth beside each other: uint8 [T, H, 3 * W, 3]."""
        return np.concatenate([self.given, self.filled, self.truth], axis=2)


class Validation:
    """The fixed clips of a run, the same ones whatever restarts and however many ranks there are.

    Args:
        data_set: of the run.
        split: the training split; used where no video is held out.
        config: of the run.
        device: of this rank.
    """

    def __init__(
        self, data_set: DataSet, split: str, config: TrainConfig, device: torch.device
    ) -> None:
        self._data_set, self._device, self._shape = data_set, device, config.generator
        self._reading = reading(config)
        self._names = score_names(data_set)
        videos = data_set.videos(
            names.HELD_OUT_SPLIT if names.HELD_OUT_SPLIT in data_set.splits else split
        )
        number = min(config.validation_clips, len(videos))
        spread = np.linspace(0, len(videos) - 1, number).round().astype(int)
        self._videos = [videos[i] for i in spread]
        lengths = tuple(video.frames for video in self._videos)
        kinds = tuple(len(video.mask_kinds) for video in self._videos)
        each = -(-config.validation_clips // number)
        frames = min(config.clip_frames, *lengths)
        self._clips = evaluation_clips(lengths, kinds, each, frames)[: config.validation_clips]
        length = min(_VIDEO_FRAMES, lengths[0])
        self._shown = evaluation_clips(lengths[:1], kinds[:1], 1, length)[0]

    def generator(self, adversary: Adversary) -> Generator:
        """The averaged generator, whole, on this rank's device. Collective."""
        weights = {name: parallel.whole(value) for name, value in adversary.ema.items()}
        generator = build_generator(self._shape).to(self._device)
        generator.load_state_dict(weights)
        return generator

    def scores(self, generator: Generator) -> dict[str, float]:
        """Means over all frames with a hole: PSNR and SSIM inside it. Collective."""
        rank, world = parallel.rank(), parallel.world()
        own = [self._score(generator, clip) for clip in self._clips[rank::world]]
        per_rank = parallel.gathered(own)
        # In the order of the clips, so that the sum does not depend on the number of ranks.
        in_order = [per_rank[i % world][i // world] for i in range(len(self._clips))]
        frames = [frame for clip in in_order for frame in clip]
        found = {}
        for name, values in zip(self._names, zip(*frames, strict=True), strict=True):
            finite = [value for value in values if np.isfinite(value)]
            if finite:
                found[name] = float(np.mean(finite))
        return found

    def shown(self, generator: Generator) -> Shown:
        """One longer clip, of the first video."""
        return show(generator, self._read(self._shown), self._device)

    def _score(self, generator: Generator, clip: Clip) -> list[tuple[float, float]]:
        pixels = self._read(clip)
        filled = show(generator, pixels, self._device).filled
        return [
            (metrics.hole_psnr_db(*one), metrics.hole_ssim(*one))
            for one in zip(pixels.frames, filled, pixels.masks, strict=True)
        ]

    def _read(self, clip: Clip) -> Pixels:
        return self._reading(self._data_set, self._videos[clip.video], clip)


def score_names(data_set: DataSet) -> tuple[str, str]:
    """Names of PSNR and SSIM inside the hole: others where no video is held out."""
    if names.HELD_OUT_SPLIT in data_set.splits:
        return names.VALIDATION_HOLE_PSNR, names.VALIDATION_HOLE_SSIM
    return names.TRAINING_VIDEOS_HOLE_PSNR, names.TRAINING_VIDEOS_HOLE_SSIM


def remark(data_set: DataSet) -> str:
    """A remark where validation has no held-out clips, "" where it has."""
    if names.HELD_OUT_SPLIT in data_set.splits:
        return ""
    psnr, _ = score_names(data_set)
    return (
        f"{data_set.uri} holds no video out: validation scores training clips, as "
        f"{psnr}; build the data set with --held-out or --test-share to score others"
    )


@torch.no_grad()
def show(generator: Generator, pixels: Pixels, device: torch.device) -> Shown:
    """Fill one clip in a single pass.

    Args:
        generator: whole, on the device.
        pixels: filled as the generator wants it, `filling.reading`.
        device: of the generator.
    """
    batch = batch_of([pixels], [1.0]).to(device)
    predicted = generator(*batch.given)[0]
    answer = ((predicted + 1) * 127.5).round().clamp(0, 255).byte()
    inside, frames = pixels.masks[..., None] != 0, pixels.frames
    result = answer.permute(0, 2, 3, 1).cpu().numpy()  # [T, 3, H, W] -> [T, H, W, 3]
    return Shown(
        np.where(inside, np.uint8(_GREY), frames), np.where(inside, result, frames), frames
    )
