"""Fills one video of the service with a loaded version, as `inpaint.py` does."""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.cli.command import UserError
from data_pipeline.cli.progress import progress_told_to
from mlops.config import Filling, InpaintConfig
from mlops.inpainting.inpaint import check_model, fill, place_of, prepared
from mlops.serving.children import named
from mlops.tracking.loaded_model import LoadedModel
from mlops.tracking.registry import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A video to fill: what a process that holds a version is sent."""

    video: Path
    mask: str
    """Boxes, or the path of a picture, a folder or a video."""
    out: Path
    """Written whole, or not at all."""
    filling: Filling


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of an order."""

    frames: int
    result_bytes: int
    hole_share: float
    """Mean share of a frame that was hole, over the frames with one."""
    remarks: tuple[str, ...]
    """What of the video is not kept."""
    seconds: float


def fill_order(
    order: Order, version: Version, model: LoadedModel, at: Callable[[int, int], object]
) -> Done:
    """Fill a video and write the result.

    What is printed meanwhile becomes the remarks, so that only one order at a time can be filled
    in a process. An order that was interrupted goes on where it was.

    Args:
        order: what to fill.
        version: what `model` was loaded from.
        model: the only version in this process.
        at: is told the frames that are done, and how many there are; what it raises ends the work.

    Raises:
        UserError: the video cannot be filled; in words that name no path.
        Refused: the model does not answer as it should, or the disk is full.
    """
    config = InpaintConfig(
        video=str(order.video),
        mask=order.mask,
        out=order.out,
        model=version.uri,
        tracking_uri="-",
        filling=order.filling,
    )
    began = time.monotonic()
    try:
        check_model(model, order.filling, flows=False)
        with (
            redirect_stdout(io.StringIO()) as said,
            progress_told_to(at),
            prepared(config) as ready,
        ):
            done = fill(ready, version, model, place_of(config, version))
    except UserError as error:
        raise UserError(named(str(error), order.video, order.mask)) from error
    return Done(
        frames=done.extent.frames,
        result_bytes=order.out.stat().st_size,
        hole_share=done.extent.share,
        remarks=tuple(named(said.getvalue(), order.video, order.mask).splitlines()),
        seconds=time.monotonic() - began,
    )
