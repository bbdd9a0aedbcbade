"""Use the project as a library: read a data set, load a registered version, fill a clip.

After `make demo`:

    python examples/library.py demo/lake/curated/demo/v1 sqlite:///demo/mlflow.db filled.png

Writes a picture of three rows: true frames, the same with holes, what the version made of them.

Legend: T frames, H rows, W columns; frames uint8 RGB [T,H,W,3]; masks uint8 [T,H,W], 1 = hole.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.cli.command import say
from data_pipeline.read.reader import DataSet

Frames = NDArray[np.uint8]

SPLIT = "test"
CLIP_FRAMES = 20
GREY = 128  # shown, and given to the model, in the holes


def held_out_clip(uri: str) -> tuple[Frames, Frames]:
    """Frames from the middle of the first held-out video, and a mask that moves over them."""
    data_set = DataSet.open(uri)
    video = data_set.videos(SPLIT)[0]
    frames = min(CLIP_FRAMES, video.frames)
    first = (video.frames - frames) // 2
    numbers = range(first, first + frames)
    variant = video.mask_kinds.index("moving")
    return data_set.read_frames(video, numbers), data_set.read_masks(video, variant, numbers)


def hidden(frames: Frames, masks: Frames) -> Frames:
    """Frames whose holes are grey: the model must not see what it is to find."""
    return np.where(masks[..., np.newaxis] != 0, np.uint8(GREY), frames)


def hole_psnr_db(truth: Frames, result: Frames, masks: Frames) -> float:
    """Peak signal-to-noise ratio over the pixels of all holes, dB."""
    difference = truth[masks != 0].astype(float) - result[masks != 0]
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def main(argv: Sequence[str] | None = None) -> int:
    """Fill one clip; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="URI of a data set with a held-out video")
    parser.add_argument("tracking_uri", help="MLflow that holds the version")
    parser.add_argument("out", type=Path, help="picture to write, .png")
    parser.add_argument("--model", default="models:/sttn@champion", help="version to use")
    asked = parser.parse_args(argv)

    frames, masks = held_out_clip(asked.data)
    mlflow.set_tracking_uri(asked.tracking_uri)
    model = mlflow.pyfunc.load_model(asked.model)
    given = hidden(frames, masks)
    filled = model.predict({"frames": given, "masks": masks})

    rows = [
        np.concatenate(row[:: max(1, len(row) // 4)], axis=1) for row in (frames, given, filled)
    ]
    Image.fromarray(np.concatenate(rows)).save(asked.out)
    level = hole_psnr_db(frames, filled, masks)
    say(f"{asked.out}: {len(frames)} frames, {level:.2f} dB in the hole")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
