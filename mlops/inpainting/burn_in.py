"""Burns subtitles and a logo into a video, and writes the masks of where they are."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from data_pipeline.cli.command import UserError
from data_pipeline.cli.progress import progress
from mlops.config import BurnInConfig
from mlops.media import overlays, video
from mlops.media.encoders import Encoding
from mlops.media.encoding import PictureWriter, VideoWriter, Writer, print_not_kept
from mlops.media.files import check_outputs, local_footage
from mlops.media.mask_writing import mask_writer, picture_of
from mlops.media.overlays import FontOfSize, Overlay
from mlops.media.pasting import deepened
from mlops.media.tracks import refuse_sound
from mlops.media.video import Timed, VideoFacts

Overlays = Callable[[int], Sequence[Overlay]]
"""Number of a frame, from 0 -> what is burnt into it, the last one on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurntIn:
    """Result of the command."""

    config: BurnInConfig
    facts: VideoFacts
    """Facts of VIDEO."""
    frames: int
    hole_share: float
    """Hole pixels of all pixels, 0 to 1."""
    sound: bool
    """True when OUT has the audio tracks of VIDEO."""

    def in_words(self) -> str:
        """In lines, for people."""
        config, facts = self.config, self.facts
        form = "lossless" if config.lossless or not config.out.suffix else "H.264"
        size = f"{facts.width}x{facts.height}"
        lines = [
            f"{config.out}: {self.frames} frames of {size} at {facts.fps} fps, {form}",
            f"{config.masks}: holes are {100 * self.hole_share:.1f} % of the pixels",
        ]
        if facts.audio and not self.sound:
            lines.append("audio left out")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {
            "out": str(self.config.out.absolute()),
            "masks": str(self.config.masks.absolute()),
            "frames": self.frames,
            "fps": str(self.facts.fps),
            "hole_share": self.hole_share,
        }


def burn_in(config: BurnInConfig) -> BurntIn:
    """Write the video with its overlays, and the masks.

    Raises:
        UserError: footage, output, texts, font and options do not fit each other.
    """
    with ExitStack() as stack:
        source = stack.enter_context(local_footage(config.video))
        outputs = {"OUT": config.out, "MASKS": config.masks}
        check_outputs(outputs, {"VIDEO": source, "--font": config.font or ""})
        facts = video.facts_of(source, Fraction(config.fps).limit_denominator(1001))
        sound = bool(facts.audio) and config.audio and config.out.suffix != ""
        if sound:
            refuse_sound(facts.audio, config.out.suffix.lower())
        encoding = Encoding(lossless=config.lossless)
        if config.out.suffix:
            encoding.check_depth(config.out.suffix.lower(), facts)
        _check_size(facts, config)
        frames, share = _burn(config, encoding, facts, _shown(config, facts))
    return BurntIn(config=config, facts=facts, frames=frames, hole_share=share, sound=sound)


def _burn(
    config: BurnInConfig, encoding: Encoding, facts: VideoFacts, shown: Overlays
) -> tuple[int, float]:
    """Write both videos; returns the number of frames and the share of holes in all pixels."""
    holes, frames = 0, 0
    with ExitStack() as stack:
        out: Writer
        if config.out.suffix:
            out = VideoWriter(config.out, facts, encoding, audio=config.audio)
        else:
            out = PictureWriter(config.out, facts)
        stack.enter_context(out)
        masks = mask_writer(config.masks, facts)
        stack.enter_context(masks)
        print_not_kept(out)
        bar = stack.enter_context(progress(f"burn into {facts.path.name}", facts.frames, "frames"))
        for number, timed in enumerate(video.read_timed(facts.path)):
            frame, mask = timed.frame.copy(), np.zeros(timed.frame.shape[:2], np.uint8)
            for overlay in shown(number):
                overlay.lay(frame, mask)
            out.write(Timed(frame, timed.pts, _deep(frame, mask, timed)))
            masks.write(picture_of(mask, timed.pts))
            holes += int(np.count_nonzero(mask))
            frames += 1
            bar.advance()
    return frames, holes / (frames * facts.width * facts.height)


def _shown(config: BurnInConfig, facts: VideoFacts) -> Overlays:
    """Draw the overlays of each frame; texts are drawn once.

    Raises:
        UserError: a text does not fit, or the font has no letter for a part of it.
    """
    texts = _subtitles(config, facts)
    drift = partial(
        overlays.logo,
        fps=float(facts.fps),
        width=facts.width,
        height=facts.height,
        opacity=config.logo_opacity,
    )

    def shown(number: int) -> list[Overlay]:
        at = number // config.frames_per_text
        text = [texts[at % len(texts)]] if texts else []
        return [*text, drift(number)] if config.logo else text

    return shown


def _subtitles(config: BurnInConfig, facts: VideoFacts) -> list[Overlay]:
    font_of_size = _font(config.font)
    name = config.font or "Pillow's own font"
    drawn = []
    for text in config.subtitle:
        if unknown := overlays.missing(text, font_of_size(overlays.MIN_SIDE)):
            raise UserError(
                f"{name} has no letter for {unknown!r} of {text!r}: give another --font"
            )
        overlay = overlays.subtitle(text, facts.width, facts.height, font_of_size)
        if overlay is None:
            raise UserError(
                f"{text!r} does not fit into two lines of {facts.width} pixels: give a shorter TEXT"
            )
        drawn.append(overlay)
    return drawn


def _font(file: Path | None) -> FontOfSize:
    """The font of a file, or the one that Pillow carries.

    Raises:
        UserError: the file is no font.
    """
    if file is None:
        return ImageFont.load_default
    try:
        ImageFont.truetype(file, overlays.MIN_SIDE)
    except OSError as error:
        raise UserError(f"--font {file} cannot be read: {error}: give a .ttf or .otf") from error
    return partial(ImageFont.truetype, file)


def _check_size(facts: VideoFacts, config: BurnInConfig) -> None:
    size = f"VIDEO is {facts.width}x{facts.height}"
    if min(facts.width, facts.height) < overlays.MIN_SIDE:
        least = overlays.MIN_SIDE
        raise UserError(f"{size}, too small for letters and a logo: give {least}x{least} or more")
    if not config.lossless and config.out.suffix and (facts.width % 2 or facts.height % 2):
        raise UserError(f"{size}: --no-lossless needs an even width and height, leave it out")


def _deep(frame: video.Frame, mask: NDArray[np.uint8], timed: Timed) -> NDArray[np.uint16] | None:
    """Combine overlays of 8 bits with a source of more; None for a source of 8 bits."""
    if timed.deep is None:
        return None
    return np.where(mask[..., np.newaxis] != 0, deepened(frame), timed.deep)
