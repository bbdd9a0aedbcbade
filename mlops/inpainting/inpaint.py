"""Inpaints a video file or a folder of pictures: what can be refused, the version, the result."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from data_pipeline.cli.canonical import sha256_of_json
from data_pipeline.cli.command import UserError, say
from data_pipeline.storage import disk
from mlops.config import Filling, InpaintConfig
from mlops.evaluation.truth import Truth
from mlops.inpainting.footage_files import stamp_of
from mlops.inpainting.pipeline import run
from mlops.inpainting.segments import Place
from mlops.media import video
from mlops.media.encoders import Encoding
from mlops.media.files import check_outputs, local_footage, real
from mlops.media.holes import Extent
from mlops.media.mask_reading import Masks, masks_for
from mlops.media.tracks import refuse_sound
from mlops.media.video import VideoFacts
from mlops.tracking import names, registry
from mlops.tracking.loaded_model import LoadedModel, load
from mlops.tracking.registry import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Inpainted:
    """Result of the command."""

    config: InpaintConfig
    version: Version
    facts: VideoFacts
    """Facts of VIDEO."""
    extent: Extent
    """How much was hole."""
    seconds: float
    stages: dict[str, float]
    """Stage of the work -> its seconds."""
    truth: Truth | None

    def in_words(self) -> str:
        """In lines, for people."""
        config, facts, frames = self.config, self.facts, self.extent.frames
        lines = [
            f"{config.out}: {frames} frames at {facts.fps} fps, filled by {self.version.uri} "
            f"in {self.seconds:.1f} s ({frames / self.seconds:.1f} frames/s)",
            self.extent.in_words(),
        ]
        declared = max(facts.declared, facts.frames)
        if frames < declared:
            lines.append(f"only {frames} frames of VIDEO decode, it declares {declared}")
        lines.append("; ".join(f"{stage} {took:.1f} s" for stage, took in self.stages.items()))
        if facts.audio:
            kept = "kept" if config.filling.audio and not config.pictures else "left out"
            count = len(facts.audio)
            lines.append(f"{count} audio track{'s' if count > 1 else ''} {kept}")
        return "\n".join([*lines, *([self.truth.in_words()] if self.truth else [])])

    def as_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        extent = self.extent
        return {
            "out": str(self.config.out.absolute()),
            "model": self.version.uri,
            "fps": str(self.facts.fps),
            "frames": extent.frames,
            "seconds": self.seconds,
            "stages": self.stages,
            "hole": {"share": extent.share, "frames": extent.with_hole, "whole": extent.whole},
            **(self.truth.as_json() if self.truth else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A video that can be filled: it was looked at, and fits its masks, output and options."""

    config: InpaintConfig
    encoding: Encoding
    facts: VideoFacts
    masks: Masks
    truth: Truth | None


def inpaint(config: InpaintConfig, uri: str) -> Inpainted:
    """Inpaint a video; every refusal comes before the model is loaded, where it can.

    Args:
        config: of the command.
        uri: tracking URI, absolute.

    Raises:
        UserError: footage, masks, output, version and options do not fit each other.
    """
    with prepared(config) as ready:
        version = registry.resolve(uri, config.version)
        model = load(uri, version)
        check_model(model, config.filling, flows=bool(config.flows))
        with _resumed(place_of(config, version), config) as place:
            return fill(ready, version, model, place)


@contextmanager
def _resumed(place: Place, config: InpaintConfig) -> Iterator[Place]:
    """Say how much of an interrupted run is taken up, and what is kept of this one if it ends."""
    frames = config.filling.segment_frames
    if kept := place.count():
        say(f"goes on after {kept * frames} frames that an interrupted run of this command filled")
    try:
        yield place
    except BaseException:
        if kept := place.count():
            say(f"{kept * frames} frames are kept in {place.uri}: the same command goes on there")
        raise


def place_of(config: InpaintConfig, version: Version) -> Place:
    """Return where the segments of a long video are kept: beside OUT.

    Raises:
        UserError: an input is not there any more.
    """
    out = real(config.out)
    given = [stamp_of(name) for name in (config.video, config.mask, config.flows)]
    weights = version.tags.get(names.WEIGHTS_SHA256, "")
    model = [version.uri, version.source, weights]
    return Place(
        uri=str(disk.hidden_beside(out, "segments")),
        identity=sha256_of_json([*given, *model, asdict(config.filling)])[:32],
    )


@contextmanager
def prepared(config: InpaintConfig) -> Iterator[Prepared]:
    """Look at a video, its masks and its output, without a model.

    What comes from a store is on disk until the end.

    Raises:
        UserError: footage, masks, output and options do not fit each other.
    """
    filling = config.filling
    with ExitStack() as stack:
        source = stack.enter_context(local_footage(config.video))
        encoding = encoding_of(filling)
        read: dict[str, str | Path] = {
            "VIDEO": source,
            "MASK": config.mask,
            "--flows": config.flows,
        }
        check_outputs(_outputs(config), read)
        _check_forms(config, encoding)
        facts = video.facts_of(source, Fraction(filling.fps).limit_denominator(1001))
        _check_kept(config, encoding, facts)
        beside = {"MASK": config.mask, "--truth": config.truth}
        for line in video.about_numbers(source, beside):
            say(line)
        masks = masks_for(config.mask, facts, filling.mask_threshold)
        truth = _truth(config, facts, stack)
        yield Prepared(config=config, encoding=encoding, facts=facts, masks=masks, truth=truth)


def fill(
    ready: Prepared, version: Version, model: LoadedModel, place: Place | None = None
) -> Inpainted:
    """Fill a video and write it.

    Args:
        ready: what `prepared` gave; its masks are read once.
        version: what `model` was loaded from.
        model: one that passed `check_model`.
        place: where segments of a long video are kept until it is written; None = nowhere.

    Raises:
        UserError: video or masks end before their time, or the output cannot be written.
        Refused: the model does not answer as it should, or the disk is full.
    """
    extent, seconds, stages = run(
        ready.config, ready.encoding, ready.facts, ready.masks, model, ready.truth, place
    )
    return Inpainted(
        config=ready.config,
        version=version,
        facts=ready.facts,
        extent=extent,
        seconds=seconds,
        stages=stages,
        truth=ready.truth,
    )


def encoding_of(filling: Filling) -> Encoding:
    """Return how the result is to be encoded."""
    return Encoding(codec=filling.codec, crf=filling.crf, lossless=filling.lossless)


def check_model(model: LoadedModel, filling: Filling, *, flows: bool) -> None:
    """Refuse options that the version does not have.

    Raises:
        UserError: it lacks one.
    """
    if filling.native and not (model.crops and model.size):
        raise UserError(f"{model.uri} cannot work on parts of frames: leave --native out")
    if (filling.propagate or flows) and not model.propagates:
        raise UserError(
            f"{model.uri} cannot be given propagated frames: leave --propagate and --flows "
            "out, or export its checkpoint anew"
        )


def _truth(config: InpaintConfig, facts: VideoFacts, stack: ExitStack) -> Truth | None:
    """Open the ground truth, where it is given."""
    if not config.truth:
        return None
    path = stack.enter_context(local_footage(config.truth))
    check_outputs(_outputs(config), {"--truth": path})
    return Truth(path, facts)


def _check_forms(config: InpaintConfig, encoding: Encoding) -> None:
    """Refuse what cannot be written of any video."""
    for what, out in _outputs(config).items():
        if out.suffix or out is config.compare:
            encoding.check(out.suffix.lower(), what)


def _check_kept(config: InpaintConfig, encoding: Encoding, facts: VideoFacts) -> None:
    """Refuse an output that cannot hold the depth or the audio of the source."""
    for what, out in _outputs(config).items():
        if out.suffix:
            encoding.check_depth(out.suffix.lower(), facts, what)
    if facts.audio and config.filling.audio and not config.pictures:
        refuse_sound(facts.audio, config.out.suffix.lower())


def _outputs(config: InpaintConfig) -> dict[str, Path]:
    """Files to write, by their names on the command line."""
    return {"OUT": config.out} | ({"--compare": config.compare} if config.compare else {})
