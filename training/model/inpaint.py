"""A whole video through the generator: windows, reference frames, blending.

T frames of the video, H x W frame. Frames are uint8 RGB; masks are 0 outside and nonzero inside the
hole. A window is a run of neighbouring frames that are decoded together; references are frames
further away that are only looked at (paper section 3.1: neighbouring and distant frames).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .generator import Generator

Frame = Tensor  # uint8 [H, W, 3]
Mask = Tensor  # uint8 [H, W], nonzero = hole


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Which frames a window sees.

    The official driver uses stride 5, reach 5 and every 10th frame of the whole video, which makes
    the cost of a frame grow with the length of the video; here references are bounded.
    """

    stride: int = 5
    """Frames between the centres of neighbouring windows."""
    reach: int = 5
    """Frames decoded on each side of a window's centre."""
    reference_every: int = 10
    """Frames between candidates for a reference."""
    references_per_side: int = 4
    """References on each side of a window, at most; also the look-ahead, in candidates."""

    def __post_init__(self) -> None:
        """Refuse numbers that leave frames out."""
        if (
            min(self.stride, self.reference_every) < 1
            or min(self.reach, self.references_per_side) < 0
        ):
            raise ValueError(f"window schedule has a number below its least: {self}")
        # The last window stands up to stride - 1 frames before the end of the video.
        if self.stride > self.reach + 1:
            raise ValueError(
                f"windows {self.stride} frames apart that reach {self.reach} frames leave frames "
                f"out: use a stride of at most {self.reach + 1}"
            )

    @property
    def ahead(self) -> int:
        """Frames after a window's centre that it may look at."""
        return self.reach + self.references_per_side * self.reference_every

    def neighbours(self, centre: int, frames: int) -> range:
        """Frames decoded by the window at `centre` of a video of `frames` frames."""
        return range(max(0, centre - self.reach), min(frames, centre + self.reach + 1))

    def references(self, centre: int, frames: int) -> list[int]:
        """Frames looked at beside the neighbours: the nearest candidates on each side."""
        window = self.neighbours(centre, frames)
        before = list(range(0, window.start, self.reference_every))
        first_after = -(-window.stop // self.reference_every) * self.reference_every
        after = list(range(first_after, frames, self.reference_every))
        side = self.references_per_side
        return (before[-side:] if side else []) + after[:side]


@torch.no_grad()
def stream(
    generator: Generator,
    frames_and_masks: Iterable[tuple[Frame, Mask]],
    schedule: Schedule,
) -> Iterator[Frame]:
    """Inpaint a video frame by frame, in memory that does not grow with its length.

    Every window predicts its neighbours; a frame seen by several windows gets the mean of their
    predictions. Pixels outside the hole are passed through bit for bit.

    Args:
        generator: in evaluation mode; its device is used.
        frames_and_masks: pairs of uint8 [H, W, 3] and uint8 [H, W], all of one size.
        schedule: which frames a window sees.

    Yields:
        uint8 [H, W, 3], one for each frame, in order.

    Raises:
        ValueError: no frames, mixed sizes, or a size that the patch grids do not divide.
    """
    source = _Lookahead(generator, frames_and_masks)
    centre = done = 0
    while source.read_to(centre + schedule.ahead + 1) > centre:
        available = source.count
        window = schedule.neighbours(centre, available)
        if any(source.has_hole(i) for i in window):
            source.predict(window, schedule.references(centre, available))
        centre += schedule.stride
        # The next window begins at centre - reach: everything before it is final.
        while done < min(centre - schedule.reach, available):
            yield source.finish(done)
            done += 1
        source.forget(before=centre - schedule.ahead - schedule.reference_every)
    while done < source.count:
        yield source.finish(done)
        done += 1
    if not done:
        raise ValueError("the video has 0 frames: nothing to inpaint")


class _Lookahead:
    """The part of a video that is held: pixels, features, and the running sums of predictions."""

    def __init__(self, generator: Generator, pairs: Iterable[tuple[Frame, Mask]]) -> None:
        self._generator = generator
        self._device = next(generator.parameters()).device
        self._pairs = iter(pairs)
        self._shape: tuple[int, ...] | None = None
        self._frames: dict[int, tuple[Frame, Mask]] = {}
        self._features: dict[int, Tensor] = {}  # [1, C, h, w]
        self._sums: dict[int, Tensor] = {}  # float [3, H, W] in [-1, 1]
        self._votes: dict[int, int] = {}
        self.count = 0  # frames read so far

    def read_to(self, end: int) -> int:
        """Read frames until `end` of them were read or the video is over; returns how many were."""
        while self.count < end:
            pair = next(self._pairs, None)
            if pair is None:
                break
            self._check(*pair)
            self._frames[self.count] = pair
            self.count += 1
        return self.count

    def has_hole(self, index: int) -> bool:
        return bool(self._frames[index][1].any())

    def predict(self, window: range, references: list[int]) -> None:
        """Run the window and add its predictions to the running sums."""
        seen = [*window, *references]
        masks = torch.stack([self._hole(i) for i in seen])
        features = torch.cat([self._encoded(i) for i in seen])
        mixed = self._generator.transform(features, masks, clips=1, wanted=len(window))
        for index, prediction in zip(window, self._generator.decode(mixed), strict=True):
            self._sums[index] = (
                self._sums[index] + prediction if index in self._sums else prediction
            )
            self._votes[index] = self._votes.get(index, 0) + 1

    def finish(self, index: int) -> Frame:
        """The result for a frame that no further window predicts."""
        frame, mask = self._frames[index]
        if index not in self._sums:
            return frame
        mean = self._sums.pop(index) / self._votes.pop(index)
        pixels = ((mean + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu()
        return torch.where(mask.unsqueeze(-1) != 0, pixels, frame)

    def forget(self, before: int) -> None:
        """Drop what no window looks at any more."""
        for held in (self._frames, self._features):
            for index in [i for i in held if i < before]:
                del held[index]

    def _check(self, frame: Frame, mask: Mask) -> None:
        if frame.dtype != torch.uint8 or frame.dim() != 3 or frame.shape[-1] != 3:
            raise ValueError(
                f"frame {self.count} is {frame.dtype} {tuple(frame.shape)}; wanted uint8 [H, W, 3]"
            )
        self._shape = self._shape or tuple(frame.shape)
        if tuple(frame.shape) != self._shape or tuple(mask.shape) != self._shape[:2]:
            raise ValueError(
                f"frame {self.count} is {tuple(frame.shape)} with a mask {tuple(mask.shape)}; "
                f"the video began with {self._shape}: all frames and masks must be of one size"
            )

    def _hole(self, index: int) -> Tensor:
        hole = self._frames[index][1] != 0
        return hole.to(self._device, torch.float32).unsqueeze(0)  # [1, H, W]

    def _encoded(self, index: int) -> Tensor:
        if index not in self._features:
            frame = self._frames[index][0].to(self._device, torch.float32).permute(2, 0, 1)
            masked = (frame / 127.5 - 1) * (1 - self._hole(index))
            self._features[index] = self._generator.encode(masked.unsqueeze(0))
        return self._features[index]
