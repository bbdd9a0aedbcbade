"""A whole video through the generator: windows, reference frames, blending.

T frames of the video, H x W frame. Frames are uint8 RGB; masks are 0 outside and one other number
inside the hole. A window is a run of neighbouring frames that are decoded together; references are
frames further away that are only looked at (paper section 3.1: neighbouring and distant frames).
The area is the part of the frame that the generator sees.

A generator with a fill sees the neighbours as they were filled from other frames, and references as
they were filled from themselves.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from .area import Area, area_around, hole_of, taken, union, whole_area
from .generator import Generator, corrected, given_with_fill, size_units, unsure
from .given import Fill, Filled, Frame, Mask, checked, shrunk, unfilled, with_fill
from .memory import free_bytes, window_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Frames that a window sees, the part of them that is computed, and the precision.

    A video of up to 50 frames has the windows and references of the official driver, and its
    result lies within 2 grey levels of it: only rounding differs.
    """

    stride: int = 5
    """Frames between the centres of neighbouring windows."""
    reach: int = 5
    """Frames decoded on each side of a window's centre."""
    reference_every: int = 10
    """Frames between candidates for a reference."""
    references_per_side: int = 4
    """Maximum of references on each side of a window; also the look-ahead, in candidates."""
    reference: bool = False
    """Do as the official driver does: look at every candidate of the whole video, which all stays
    in memory and makes a frame cost more the longer the video is; cut predictions and results to 8
    bits instead of rounding once (but not with a fill, whose pixels would become darker)."""
    crop_width: int = 0
    """Width in pixels of the area around the holes of a window, which grows with larger holes;
    0 = the whole frame."""
    crop_height: int = 0
    """Height of it."""
    bfloat16: bool = False
    """Compute in bfloat16 where it is enough (autocast): faster on a GPU, and off by about a grey
    level."""
    propagate: bool = False
    """Give the generator propagated frames, whatever it was trained with: what was found for sure
    in other frames counts as known, and the hole is what is left."""

    def __post_init__(self) -> None:
        """Refuse numbers that leave frames out."""
        least_one = self.stride, self.reference_every
        least_zero = self.reach, self.references_per_side, self.crop_width, self.crop_height
        if min(least_one) < 1 or min(least_zero) < 0:
            raise ValueError(f"window schedule has a number below its least: {self}")
        # The last window stands up to stride - 1 frames before the end of the video.
        if self.stride > self.reach + 1:
            raise ValueError(
                f"windows {self.stride} frames apart that reach {self.reach} frames leave frames "
                f"out: use a stride of at most {self.reach + 1}"
            )
        if (self.crop_width == 0) != (self.crop_height == 0):
            raise ValueError(
                f"a crop of {self.crop_width}x{self.crop_height} pixels: give both sides, or "
                "neither for the whole frame"
            )

    @property
    def ahead(self) -> float:
        """Frames after a window's centre that it may look at."""
        if self.reference:
            return math.inf
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
        if self.reference:
            return before + after
        side = self.references_per_side
        return (before[-side:] if side else []) + after[:side]


@torch.no_grad()
def stream(
    generator: Generator,
    frames_and_masks: Iterable[tuple[Frame, Mask]],
    schedule: Schedule,
    fills: Mapping[str, Fill] = MappingProxyType({}),
) -> Iterator[Frame]:
    """Inpaint a video frame by frame, in memory that does not grow with its length.

    Every window predicts its neighbours; where a later window predicts a frame again, the result is
    the mean of the new prediction and of what was there, as in the official driver. Pixels outside
    the hole are passed through bit for bit. A size that the patches do not divide is filled up by
    reflection.

    Args:
        generator: in evaluation mode; its device is used.
        frames_and_masks: pairs of uint8 [H, W, 3] and uint8 [H, W], all of one size.
        schedule: which frames a window sees.
        fills: by name, the one that the generator wants, and "propagate" where the schedule has it.

    Yields:
        uint8 [H, W, 3], one for each frame, in order.

    Raises:
        ValueError: no frames, mixed sizes, a mask of more than two values, or a window that does
            not fit into the memory that is free.
    """
    if schedule.propagate and generator.fill != "propagate":
        frames_and_masks = shrunk(frames_and_masks, fills["propagate"])
    fill = fills[generator.fill] if generator.fill != "none" else unfilled
    source = _Lookahead(generator, with_fill(checked(frames_and_masks), fill), schedule)
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
    """The part of a video that is held: pixels, features, and the blend of predictions."""

    def __init__(
        self,
        generator: Generator,
        given: Iterator[tuple[Frame, Mask, Filled]],
        schedule: Schedule,
    ) -> None:
        self._generator = generator
        self._device = next(generator.parameters()).device
        self._units = size_units(generator.grids, generator.patch_sizes)
        self._given = given
        self._schedule = schedule
        self._cuts = schedule.reference and generator.fill == "none"
        self._frames: dict[int, tuple[Frame, Mask]] = {}
        self._filled: dict[int, Filled] = {}
        self._holes: dict[int, Area | None] = {}
        # [1, C, h, w] of an area, of a neighbour or of a reference
        self._features: dict[tuple[int, bool], tuple[Area, Tensor]] = {}
        self._blends: dict[int, Tensor] = {}  # float [3, height, width] of the hole, in 0..255
        self._area: Area | None = None
        self.count = 0  # frames read so far

    def read_to(self, end: float) -> int:
        """Read frames until `end` of them were read or the video is over; returns how many were."""
        while self.count < end:
            given = next(self._given, None)
            if given is None:
                break
            frame, mask, self._filled[self.count] = given
            self._frames[self.count] = frame, mask
            self._holes[self.count] = hole_of(mask)
            self.count += 1
        return self.count

    def has_hole(self, index: int) -> bool:
        return self._holes[index] is not None

    def predict(self, window: range, references: list[int]) -> None:
        """Run the window and blend its predictions with those of the windows before."""
        wanted = [i for i in window if self.has_hole(i)]
        near = [*wanted, *(i for i in window if i not in wanted)]
        seen = [*near, *references]
        area = self._area = self._area_of(window)
        self._check_memory(len(seen), area)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._schedule.bfloat16):
            encoded = [self._encoded(i, area, reference=False) for i in near]
            encoded += [self._encoded(i, area, reference=True) for i in references]
            features = torch.cat(encoded)
            masks = torch.stack([self._mask(i, area) for i in seen])
            mixed = self._generator.transform(features, masks, clips=1, wanted=len(wanted))
            predictions = self._generator.decode(mixed)
        for index, prediction in zip(wanted, predictions, strict=True):
            hole = self._holes[index]
            assert hole is not None
            if self._generator.fill != "none":
                prediction = self._corrected(index, area, prediction.float())
            levels = (hole.within(area).cut(prediction).float() + 1) / 2 * 255
            if self._cuts:
                levels = levels.floor()
            known = self._blends.get(index)
            self._blends[index] = levels if known is None else known * 0.5 + levels * 0.5

    def finish(self, index: int) -> Frame:
        """The result for a frame that no further window predicts."""
        frame, mask = self._frames[index]
        hole = self._holes[index]
        # From here on it is a reference at most, seen as it was filled alone.
        alone = self._filled[index].alone
        self._filled[index] = Filled(alone, torch.empty(0), alone)
        if hole is None:
            return frame
        blend = self._blends.pop(index)
        levels = blend.floor() if self._cuts else blend.round()
        pixels = levels.clamp(0, 255).to(torch.uint8).cpu()
        result = frame.clone().permute(2, 0, 1)
        inside = hole.cut(result)
        inside.copy_(torch.where(hole.cut(mask) != 0, pixels, inside))
        return result.permute(1, 2, 0)

    def forget(self, before: float) -> None:
        """Drop what no window looks at any more."""
        for held in (self._frames, self._filled, self._holes):
            for index in [i for i in held if i < before]:
                del held[index]
        for key in [key for key in self._features if key[0] < before]:
            del self._features[key]

    def _area_of(self, window: range) -> Area:
        """The part of the frame that this window works on; the last one, as long as it does."""
        size = self._frames[window.start][1].shape
        if not self._schedule.crop_width:
            return whole_area(size, self._units)
        crop = self._schedule.crop_height, self._schedule.crop_width
        holes = union([hole for i in window if (hole := self._holes[i]) is not None])
        return area_around(holes, size, crop, self._units, self._area)

    def _check_memory(self, frames: int, area: Area) -> None:
        needed = window_bytes(frames, area.height, area.width, self._generator.channels)
        free = free_bytes(self._device)
        if free is not None and needed > free:
            raise ValueError(
                f"a window of {frames} frames of {area.width}x{area.height} pixels needs about "
                f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free on "
                f"{self._device}: give crop_width and crop_height, or fewer frames by reference="
                "False and a smaller references_per_side or reach"
            )

    def _mask(self, index: int, area: Area) -> Tensor:
        hole = taken(self._frames[index][1], area) != 0
        return hole.to(self._device, torch.float32).unsqueeze(0)  # [1, height, width]

    def _encoded(self, index: int, area: Area, *, reference: bool) -> Tensor:
        key = index, reference and self._generator.fill != "none"
        known = self._features.get(key)
        if known is not None and known[0] == area:
            return known[1]
        features = self._generator.encode(self._inputs(index, area, reference).unsqueeze(0))
        self._features[key] = area, features
        return features

    def _inputs(self, index: int, area: Area, reference: bool) -> Tensor:
        """Input of the generator for a frame: [3 or 9, height, width]."""
        mask = self._mask(index, area)
        if self._generator.fill == "none":
            return self._levels(self._frames[index][0], area) * (1 - mask)
        filled = self._filled[index]
        alone = self._levels(filled.alone, area)
        if reference:
            nothing_found = (1 - mask).expand(2, -1, -1)
            return given_with_fill(alone, mask, nothing_found, alone)
        belief = self._belief(index, area)
        return given_with_fill(self._levels(filled.frame, area), mask, belief, alone)

    def _corrected(self, index: int, area: Area, decoded: Tensor) -> Tensor:
        """The fill with what the generator changes, where it was not sure: [3, height, width]."""
        changed = unsure(self._mask(index, area), self._belief(index, area))
        filled = self._filled[index]
        return corrected(
            self._levels(filled.frame, area), self._levels(filled.alone, area), decoded, changed
        )

    def _belief(self, index: int, area: Area) -> Tensor:
        belief = taken(self._filled[index].belief, area)
        return belief.to(self._device, torch.float32).permute(2, 0, 1)

    def _levels(self, frame: Frame, area: Area) -> Tensor:
        """uint8 [H, W, 3] -> [3, height, width] in [-1, 1]."""
        pixels = taken(frame, area).to(self._device, torch.float32).permute(2, 0, 1)
        return pixels / 255 * 2 - 1
