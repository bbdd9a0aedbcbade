"""Makes the masks of a video: what is marked, tracked through all frames, written."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from data_pipeline.cli.progress import progress
from data_pipeline.cli.scratch import scratch_folder
from mlops.config import MasksConfig
from mlops.masking.marks import marks_of
from mlops.masking.on_disk import FramesOnDisk
from mlops.masking.scene import Scene
from mlops.masking.still import Still, find_still, still_masks
from mlops.masking.tracking import Tracker, by_flow, track
from mlops.media import video
from mlops.media.encoders import Encoding
from mlops.media.encoding import PictureWriter, VideoWriter, Writer
from mlops.media.files import check_outputs, local_footage
from mlops.media.mask_writing import mask_writer, picture_of
from mlops.media.video import Timed, VideoFacts

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_RED = np.array([230, 30, 30], np.float32)
_TINT = 0.5  # share of it in the preview


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Result of the command."""

    config: MasksConfig
    facts: VideoFacts
    """Facts of VIDEO."""
    frames: int
    still: tuple[Still, ...]
    """Overlays that were found, where they were asked for."""
    masked: tuple[int, ...]
    """Frames in which something is masked."""
    hole_share: float
    """Masked pixels of all pixels, 0 to 1."""

    def in_words(self) -> str:
        """In lines, for people."""
        size = f"{self.facts.width}x{self.facts.height}"
        lines = [
            f"{self.config.out}: {self.frames} masks of {size}, {100 * self.hole_share:.1f} % of "
            f"the pixels, in {len(self.masked)} frames"
        ]
        lines += [f"stands still: {one.in_words()}" for one in self.still]
        end = self.masked[-1] + 1 if self.masked else 0
        if end < self.frames and not self.config.overlays:
            lines.append(
                f"nothing is masked from frame {end} on: if it is still to be seen there, mark it "
                f"again, as with --box X,Y,WIDTH,HEIGHT@{end}"
            )
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {
            "out": str(self.config.out.absolute()),
            "frames": self.frames,
            "masked_frames": len(self.masked),
            "hole_share": self.hole_share,
            "still": [{"box": one.box, "frames": one.frames} for one in self.still],
        }


def make_masks(config: MasksConfig) -> Made:
    """Make the masks of a video and write them.

    Raises:
        UserError: footage, marks, output and options do not fit each other.
    """
    with ExitStack() as stack:
        source = stack.enter_context(local_footage(config.video))
        outputs = {"OUT": config.out} | ({"--preview": config.preview} if config.preview else {})
        check_outputs(outputs, {"VIDEO": source, **_read(config)})
        if config.preview and config.preview.suffix:
            Encoding().check(config.preview.suffix.lower(), "--preview")
        facts = video.facts_of(source, Fraction(config.fps).limit_denominator(1001))
        if not config.overlays:
            return _written(config, facts, stack.enter_context(_tracked(config, facts)))
        things = find_still(_with_bar(video.read(source), facts, "look at"))
        if not things:
            raise UserError(
                f"nothing stands still in {config.video} while its camera moves: mask the object "
                "by --box, --point or --mask"
            )
        return _written(config, facts, still_masks(video.read(source), things), things)


def _read(config: MasksConfig) -> dict[str, str | Path]:
    """Files that are read, by their names on the command line."""
    pictures = {f"--mask {name}": name.rpartition("@")[0] or name for name in config.mask}
    return {**pictures, "--sam2-weights": config.sam2_weights or ""}


@contextmanager
def _tracked(config: MasksConfig, facts: VideoFacts) -> Iterator[Iterator[Mask]]:
    """The masks of what is marked, in all frames; these are on disk until the end."""
    marks = marks_of(config, facts)
    tracker = _tracker(config)
    with scratch_folder("frames") as folder:
        frames = FramesOnDisk.written(folder, _with_bar(video.read(facts.path), facts, "read"))
        for number in marks:
            if number >= len(frames):
                raise UserError(
                    f"frame {number} is marked, but only {len(frames)} frames of {facts.path} "
                    f"decode: mark one of frames 0 to {len(frames) - 1}"
                )
        scene = Scene(frames)
        anchors = {number: one.mask(scene, frames[number], number) for number, one in marks.items()}
        yield _with_bar(track(frames, anchors, tracker), facts, "track")


def _tracker(config: MasksConfig) -> Tracker:
    if config.sam2_weights is None:
        return by_flow
    from mlops.masking.sam2_tracker import sam2  # loads torch

    return sam2(config.sam2_weights, config.sam2_config)


def _with_bar(each: Iterable[Any], facts: VideoFacts, what: str) -> Iterator[Any]:
    with progress(f"{what} {facts.path.name}", facts.frames, "frames") as bar:
        for one in each:
            yield one
            bar.advance()


def _written(
    config: MasksConfig, facts: VideoFacts, masks: Iterator[Mask], things: Sequence[Still] = ()
) -> Made:
    """Write masks, and the preview where it is wanted."""
    masked, pixels, frames = [], 0, 0
    with ExitStack() as stack:
        out = mask_writer(config.out, facts)
        stack.enter_context(out)
        preview = _preview(config.preview, facts) if config.preview else None
        if preview:
            stack.enter_context(preview)
        pairs = zip(video.read_timed(facts.path), masks, strict=True)
        for number, (timed, mask) in enumerate(pairs):
            out.write(picture_of(mask, timed.pts))
            if preview:
                preview.write(Timed(_tinted(timed.frame, mask), timed.pts))
            count = int(np.count_nonzero(mask))
            pixels, frames = pixels + count, number + 1
            masked += [number] if count else []
    share = pixels / (frames * facts.width * facts.height)
    return Made(
        config=config,
        facts=facts,
        frames=frames,
        still=tuple(one for one in things if one.frames),
        masked=tuple(masked),
        hole_share=share,
    )


def _preview(path: Path, facts: VideoFacts) -> Writer:
    return VideoWriter(path, facts, Encoding(), alone=True) if path.suffix else PictureWriter(path)


def _tinted(frame: Frame, mask: Mask) -> Frame:
    tinted = frame.copy()
    tinted[mask] = np.round((1 - _TINT) * frame[mask] + _TINT * _RED)
    return tinted
