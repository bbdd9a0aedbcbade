"""Masks of whole videos: tracking against annotations, overlays against what was burnt in.

python tests/benchmarks/video_masks.py --data FOLDER [--json]

FOLDER has object-masks/<video>/00000.png … (one a frame), their frames below
youtube-vos-mini/train/JPEGImages/<video>/, and videos/*.mp4. J is intersection over union, mean
over all frames. `box`: one box drawn around the annotation of the first frame, nothing more.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))  # `tests` is no installed package

from data_pipeline.cli.command import UserError
from mlops import burn_in
from mlops.fills.flow import dis
from mlops.masking.evidence import overlap
from mlops.masking.scene import Scene
from mlops.masking.selecting import from_box
from mlops.masking.still import find_still, still_masks
from mlops.masking.tracking import track
from mlops.media import video
from tests.benchmarks.figures import Figure, show

WANTED_J = 0.7
CORRECTED_EVERY = 20  # frames, by the annotation

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.data / "object-masks").is_dir():
        sys.exit(f"{arguments.data}/object-masks is not there: nothing to measure with")
    show(_figures(arguments.data), json_lines=arguments.json)


def _figures(data: Path) -> Iterator[Figure]:
    frames_of = data / "youtube-vos-mini" / "train" / "JPEGImages"
    annotated = sorted((data / "object-masks").iterdir())
    for folder in annotated:
        frames = [video.read_picture(file) for file in video.pictures_of(frames_of / folder.name)]
        truth = [np.asarray(Image.open(file)) > 0 for file in video.pictures_of(folder)]
        yield from _tracking(folder.name, frames, truth)
    still = [frames_of / folder.name for folder in annotated]
    for source in (*still, *sorted((data / "videos").glob("*.mp4"))):
        yield from _overlays(source)


def _tracking(name: str, frames: Sequence[Frame], truth: Sequence[Mask]) -> Iterator[Figure]:
    box = _box(truth[0])
    for what, masks in (
        ("first mask held", [truth[0]] * len(frames)),
        ("GrabCut in each frame's true box", map(_grab_cut, frames, truth)),
        ("GrabCut in the box, along flow", _along_flow(frames, from_box(frames[0], box))),
        ("first mask along flow", _along_flow(frames, truth[0])),
    ):
        yield _j(f"{name}, plain: {what}", _mean_j(masks, truth))
    start = time.perf_counter()
    from_the_box = from_box(frames[0], box, Scene(frames).moved(0))
    score = _mean_j(track(frames, {0: from_the_box}), truth)
    seconds = (time.perf_counter() - start) / len(frames)
    yield _j(f"{name}, box: first frame", overlap(from_the_box, truth[0]))
    yield _j(f"{name}, box", score)
    yield Figure(f"{name}, box: time", seconds, "s/frame", "a frame of 25 a second", 25 * seconds)
    corrections = {at: truth[at] for at in range(CORRECTED_EVERY, len(frames), CORRECTED_EVERY)}
    score = _mean_j(track(frames, {0: from_the_box, **corrections}), truth)
    yield _j(f"{name}, box and {len(corrections)} corrected frames", score)
    yield _j(f"{name}, first mask", _mean_j(track(frames, {0: truth[0]}), truth))


def _j(what: str, score: float) -> Figure:
    return Figure(what, score, "J", f"wanted, {WANTED_J}", score / WANTED_J)


def _mean_j(masks: Iterator[Mask] | Sequence[Mask], truth: Sequence[Mask]) -> float:
    return float(np.mean([overlap(one, other) for one, other in zip(masks, truth, strict=True)]))


def _box(mask: Mask) -> tuple[int, int, int, int]:
    y, x = np.nonzero(mask)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


def _grab_cut(frame: Frame, truth: Mask) -> Mask:
    return from_box(frame, _box(truth)) if truth.any() else truth


def _along_flow(frames: Sequence[Frame], mask: Mask) -> Iterator[Mask]:
    flow = dis()
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    yield mask
    for one, other in pairwise(frames):
        _, back = flow(0, one, other)
        places = x + back[..., 0], y + back[..., 1]
        mask = cv2.remap(mask.astype(np.float32), *places, cv2.INTER_LINEAR) > 0.5
        yield mask


def _overlays(source: Path) -> Iterator[Figure]:
    """Overlays that `burn_in` made, found again."""
    with tempfile.TemporaryDirectory() as folder:
        burnt, masks = Path(folder) / "burnt.mp4", Path(folder) / "masks.mkv"
        with contextlib.redirect_stdout(sys.stderr):
            assert burn_in.main([str(source), str(burnt), str(masks), "--no-audio"]) == 0
        truth = [frame[..., 0] > 0 for frame in video.read(masks)]
        try:
            found = list(still_masks(video.read(burnt), find_still(video.read(burnt))))
        except UserError as error:
            print(f"{source.name}, subtitles: {error}", file=sys.stderr)
            return
    both = sum(np.count_nonzero(a & b) for a, b in zip(found, truth, strict=True))
    for what, masks_ in (("recall", truth), ("precision", found)):
        share = both / max(1, sum(map(np.count_nonzero, masks_)))
        yield Figure(f"{source.stem}, subtitles found: {what}", share, "", "all of them", share)


if __name__ == "__main__":
    main()
