"""A window of inpainting against the official arithmetic; needs torch only.

python tests/benchmarks/inpainting.py [--device cpu|cuda] [--json] [--rounds 3]
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))  # `tests` is no installed package

from tests.benchmarks import official_step
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.step import seconds_of
from tests.parity.official import to_official
from training.model.generator import Generator, initialise
from training.model.inpaint import Schedule, stream

_SIZE = 240, 432
_SAME = 1e-4  # of what is predicted, in -1..1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    show(figures(arguments.device, arguments.rounds), json_lines=arguments.json)


@torch.no_grad()
def figures(device: str, rounds: int) -> Iterator[Figure]:
    """The same features through both, in turns."""
    generator = Generator()
    initialise(generator, 0.02, torch.Generator().manual_seed(0))
    weights = to_official("generator", generator.state_dict())
    weights = {name: value.to(device) for name, value in weights.items()}
    generator = generator.to(device).eval()

    def official(features: Tensor, masks: Tensor, decoded: int) -> Tensor:
        mixed = official_step.transform(weights, features, masks, 1)
        return official_step.decode(weights, mixed[:decoded])

    def ours(features: Tensor, masks: Tensor, decoded: int) -> Tensor:
        mixed = generator.transform(features, masks, clips=1, wanted=decoded)
        return generator.decode(mixed)

    # A window in the middle of 50 frames has 3 references; of 120, 11, or 8 by default.
    known = _window(50, 25, Schedule(reference=True), weights, device)
    long = _window(120, 60, Schedule(reference=True), weights, device)
    capped = _window(120, 60, Schedule(), weights, device)
    error = float((ours(*known) - official(*known)).abs().max())
    if error > _SAME:
        raise SystemExit(f"ours differs from the official arithmetic by {error}")
    yield _figure(
        "the same window, frames decoded per second", known, known, official, ours, rounds
    )
    yield _figure("default window of a long video", long, capped, official, ours, rounds)
    yield _rounded(generator, device, rounds)


def _rounded(generator: Generator, device: str, rounds: int) -> Figure:
    """A whole short video, decoding and encoding aside, in bfloat16 against float32."""
    random = torch.Generator().manual_seed(1)
    frames = torch.randint(256, (30, *_SIZE, 3), dtype=torch.uint8, generator=random)
    mask = torch.zeros(_SIZE, dtype=torch.uint8)
    mask[_SIZE[0] // 4 : _SIZE[0] // 2, _SIZE[1] // 4 : _SIZE[1] // 2] = 1
    pairs = [(frame, mask) for frame in frames]
    took: dict[bool, list[float]] = {True: [], False: []}
    found: dict[bool, Tensor] = {}

    def fill(rough: bool) -> None:
        found[rough] = torch.stack(list(stream(generator, pairs, Schedule(bfloat16=rough))))

    for number in range(rounds + 1):
        for rough, seconds in took.items():
            taken = seconds_of(partial(fill, rough), device)
            if number:  # the first round warms up
                seconds.append(taken)
    apart = (found[True].int() - found[False].int()).abs()[:, mask.bool()].float()
    return Figure(
        f"30 frames in bfloat16, {apart.mean():.2f} grey levels off in the hole, {apart.max():.0f} "
        "at most",
        len(frames) / statistics.median(took[True]),
        "frames/s",
        f"float32: {len(frames) / statistics.median(took[False]):.3g} frames/s",
        statistics.median(a / b for a, b in zip(took[False], took[True], strict=True)),
    )


def _figure(
    name: str,
    theirs: tuple[Tensor, Tensor, int],
    own: tuple[Tensor, Tensor, int],
    official: Callable[[Tensor, Tensor, int], Tensor],
    ours: Callable[[Tensor, Tensor, int], Tensor],
    rounds: int,
) -> Figure:
    device = str(own[0].device.type)
    took: list[tuple[float, float]] = [
        (seconds_of(lambda: official(*theirs), device), seconds_of(lambda: ours(*own), device))
        for _ in range(rounds + 1)
    ][1:]
    slow, fast = (statistics.median(one) for one in zip(*took, strict=True))
    return Figure(
        f"{name} ({len(own[0])} frames seen)",
        own[2] / fast,
        "frames/s",
        f"official arithmetic, {len(theirs[0])} frames seen: {theirs[2] / slow:.3g} frames/s",
        statistics.median(a / b for a, b in took),
    )


def _window(
    frames: int, centre: int, schedule: Schedule, weights: dict[str, Tensor], device: str
) -> tuple[Tensor, Tensor, int]:
    """Features [T, C, h, w] and masks [T, 1, H, W] of a window, and how many are decoded."""
    decoded = len(schedule.neighbours(centre, frames))
    seen = decoded + len(schedule.references(centre, frames))
    random = torch.Generator().manual_seed(1)
    pixels = torch.rand(seen, 3, *_SIZE, generator=random).to(device) * 2 - 1
    masks = torch.zeros(seen, 1, *_SIZE, device=device)
    masks[..., _SIZE[0] // 4 : _SIZE[0] // 2, _SIZE[1] // 4 : _SIZE[1] // 2] = 1
    return official_step.encode(weights, pixels * (1 - masks)), masks, decoded


if __name__ == "__main__":
    sys.exit(main())
