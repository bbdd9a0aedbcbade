"""SAM 2 (Ravi et al. 2024) as a tracker, with weights and a package that the user has.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W].
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from data_pipeline.cli.scratch import scratch_folder
from mlops.masking.on_disk import FramesOnDisk, MasksOnDisk
from mlops.masking.tracking import Tracker

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_OBJECT = 1


def sam2(weights: Path, config: str) -> Tracker:
    """Make a tracker of SAM 2's video predictor, on the GPU where there is one.

    It reads all frames into memory at its own size, 12 MB each, and holds what it remembers of
    them: for shots, not for films.

    Args:
        weights: checkpoint file of SAM 2.
        config: name of the configuration inside the package that fits it.

    Raises:
        UserError: the package or the file is not there, or they do not fit.
    """
    predictor = _predictor(weights, config)

    def tracked(frames: Sequence[Frame], anchors: Mapping[int, Mask], /) -> Iterator[Mask]:
        with ExitStack() as stack:
            if not isinstance(frames, FramesOnDisk):
                folder = stack.enter_context(scratch_folder("sam2"))
                frames = FramesOnDisk.written(folder, frames)
            masks = stack.enter_context(MasksOnDisk())
            for number, mask in _propagated(predictor, frames, anchors):
                masks[number] = mask
            yield from (masks[number] for number in range(len(frames)))

    return tracked


def _predictor(weights: Path, config: str) -> Any:
    try:
        build = importlib.import_module("sam2.build_sam").build_sam2_video_predictor
    except ImportError as error:
        raise UserError(
            f"--sam2-weights needs the package sam2 ({error}): install it as its makers say "
            "(github.com/facebookresearch/sam2), or leave the flag out to track without weights"
        ) from error
    if not weights.is_file():
        raise UserError(f"--sam2-weights {weights} is not there: give the checkpoint of SAM 2")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return build(config, str(weights), device=device)
    except Exception as error:  # of hydra, of pickle, of torch: whatever does not fit
        raise UserError(
            f"--sam2-weights {weights} cannot be loaded as {config} "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): give the "
            "--sam2-config that fits"
        ) from error


def _propagated(
    predictor: Any, frames: FramesOnDisk, anchors: Mapping[int, Mask]
) -> Iterator[tuple[int, Mask]]:
    """Masks of all frames by their number, backwards from the first anchor, then forwards."""
    first = min(number for number, mask in anchors.items() if mask.any())
    with torch.inference_mode():
        state = predictor.init_state(str(frames.folder), offload_video_to_cpu=True)
        for number, mask in anchors.items():
            predictor.add_new_mask(state, frame_idx=number, obj_id=_OBJECT, mask=mask)
        for reverse in (True, False):
            found = predictor.propagate_in_video(state, start_frame_idx=first, reverse=reverse)
            for number, _, logits in found:
                yield number, (logits[0, 0] > 0).cpu().numpy()
