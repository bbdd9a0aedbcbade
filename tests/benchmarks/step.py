"""One whole training iteration of both networks against the official arithmetic; needs torch only.

python tests/benchmarks/step.py [--device cpu|cuda] [--json] [--rounds 3]
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # `tests` is no installed package

from tests.benchmarks.figures import Figure, show
from tests.benchmarks.official_step import OfficialStep
from training.adversary import Adversary
from training.batch import Batch
from training.flops import training_flops
from training.model.discriminator import Discriminator, initialise_vectors
from training.model.generator import Generator, initialise
from training.model.official import discriminator_to_official, generator_to_official

_SAME = 2e-3  # the losses of both, relative; the weights are those of the start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=int, help="of a batch; default 1 on a CPU, 8 on a GPU")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    clips = asked.clips or (1 if asked.device == "cpu" else 8)
    shape = clips, asked.frames, 240, 432  # the official patches fit no other size
    show(figures(asked.device, shape, asked.rounds), json_lines=asked.json)


def figures(device: str, shape: tuple[int, int, int, int], rounds: int) -> Iterator[Figure]:
    """The same work, in turns: a shared machine is not equally fast for long."""
    clips, frames, height, width = shape
    batch = _batch(shape, device)
    adversary, official = _both(device, clips)
    _agree(adversary, official, batch)
    ways: dict[str, Callable[[], object]] = {
        "official": lambda: official(batch.frames, batch.masks),
        "ours": lambda: adversary.learn(batch, 0),
        "bfloat16": lambda: _in_bfloat16(adversary, batch, device),
        "convolution": _convolution(device, clips * frames, height // 4, width // 4),
    }
    if device == "cuda":
        ways["official, TF32"] = lambda: _with_tf32(ways["official"])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            taken = seconds_of(work, device)
            if number:  # the first round warms up
                seconds[name].append(taken)
    took = {name: statistics.median(values) for name, values in seconds.items()}
    against = f"official arithmetic, float32: {took['official']:.3g} s"
    flops = clips * training_flops(adversary.generator, adversary.discriminator, *shape[1:])
    ceiling = _CONVOLUTION_FLOPS * clips * frames * (height // 4) * (width // 4)
    ceiling /= took["convolution"]
    yield Figure("training step", took["ours"], "s", against, _ratio(seconds, "ours", "official"))
    yield Figure(
        "training step, bfloat16",
        took["bfloat16"],
        "s",
        against,
        _ratio(seconds, "bfloat16", "official"),
    )
    yield Figure(
        "clips per second, bfloat16", clips / took["bfloat16"], "clips/s",
        f"official arithmetic, float32: {clips / took['official']:.3g} clips/s",
        _ratio(seconds, "official", "bfloat16"),
    )  # fmt: skip
    if device == "cuda":
        yield Figure(
            "clips per second, bfloat16, against TF32", clips / took["bfloat16"], "clips/s",
            f"official arithmetic, TF32: {clips / took['official, TF32']:.3g} clips/s",
            _ratio(seconds, "official, TF32", "bfloat16"),
        )  # fmt: skip
        peak = _matmul_flops()
        yield Figure(
            "model FLOP utilisation, bfloat16", flops / took["bfloat16"] / 1e12, "TFLOP/s",
            f"a large bfloat16 matmul: {peak / 1e12:.4g} TFLOP/s", flops / took["bfloat16"] / peak,
        )  # fmt: skip
    yield Figure(
        "FLOPs per second, float32", flops / took["ours"] / 1e9, "GFLOP/s",
        f"a 3x3 convolution, forward and backward: {ceiling / 1e9:.4g} GFLOP/s",
        flops / took["ours"] / ceiling,
    )  # fmt: skip
    kept, again = (_peak_bytes(device, shape, recompute) / clips for recompute in (False, True))
    yield Figure(
        "peak memory per clip, blocks computed again", again / 2**30, "GiB",
        f"all activations kept: {kept / 2**30:.3g} GiB", again / kept,
    )  # fmt: skip
    error = _error_of_bfloat16(adversary, batch, device)
    yield Figure(
        "error of bfloat16 in what is predicted", error, "of its root mean square", "float32", error
    )


def _both(device: str, clips: int) -> tuple[Adversary, OfficialStep]:
    """Ours and the transcription, of the same weights."""
    random = torch.Generator().manual_seed(0)
    generator, discriminator = Generator(), Discriminator(clips_apart=clips == 1)
    initialise(generator, 0.02, random)
    initialise(discriminator, 0.02, random)
    initialise_vectors(discriminator, random)
    official = OfficialStep(
        generator_to_official(generator), discriminator_to_official(discriminator), device
    )
    adversary = Adversary(
        generator.to(device),
        discriminator.to(device),
        loss_weights=(1.0, 1.0, 0.01),
        learning_rates=(1e-4, 1e-4),
        betas=(0.0, 0.99),
        decay_every_clips=0,
        decays=0,
        ema_half_life_clips=10_000,
        batch_clips=clips,
        micro_batch_clips=clips,
    )
    return adversary, official


def _agree(adversary: Adversary, official: OfficialStep, batch: Batch) -> None:
    """The two must compute the same thing, or there is nothing to compare."""
    found = {name.split("/")[-1]: float(x) for name, x in adversary.learn(batch, 0).items()}
    wanted = official(batch.frames, batch.masks)
    wanted["adversarial"] /= 0.01  # logged with its weight
    for theirs, ours in (
        ("real", "discriminator_real"),
        ("fake", "discriminator_fake"),
        ("hole", "hole"),
        ("valid", "valid"),
        ("adversarial", "generator_adversarial"),
    ):
        difference = abs(found[ours] - wanted[theirs])
        if difference > _SAME * max(1.0, abs(wanted[theirs])):
            raise SystemExit(
                f"{ours} is {found[ours]}, the official arithmetic has {wanted[theirs]}"
            )


def _batch(shape: tuple[int, int, int, int], device: str) -> Batch:
    clips, frames, height, width = shape
    random = torch.Generator().manual_seed(1)
    pixels = torch.rand(clips, frames, 3, height, width, generator=random) * 2 - 1
    masks = torch.zeros(clips, frames, 1, height, width)
    masks[..., height // 4 : height // 2, width // 4 : width // 2] = 1
    return Batch(pixels, masks, torch.ones(clips)).to(torch.device(device))


def _peak_bytes(device: str, shape: tuple[int, int, int, int], recompute: bool) -> int:
    """What an iteration holds at most beyond networks, optimisers and batch; a process of its own.

    On a CPU the most that the process ever held counts, on a GPU what was allocated.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_here, device, shape, recompute).result()


def _peak_here(device: str, shape: tuple[int, int, int, int], recompute: bool) -> int:
    batch = _batch(shape, device)
    adversary, _ = _both(device, shape[0])
    adversary.generator.recompute_blocks = recompute
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        adversary.learn(batch, 0)
        return torch.cuda.max_memory_allocated() - before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    adversary.learn(batch, 0)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def _in_bfloat16(adversary: Adversary, batch: Batch, device: str) -> None:
    with torch.autocast(device, dtype=torch.bfloat16):
        adversary.learn(batch, 0)


@torch.no_grad()
def _error_of_bfloat16(adversary: Adversary, batch: Batch, device: str) -> float:
    given = batch.frames * (1 - batch.masks), batch.masks
    exact = adversary.generator(*given)
    with torch.autocast(device, dtype=torch.bfloat16):
        rough = adversary.generator(*given)
    return float((rough.float() - exact).norm() / exact.norm())


_WIDTH = 256
_CONVOLUTION_FLOPS = 3 * 2 * 9 * _WIDTH * _WIDTH  # a pixel, forward and backward


def _convolution(device: str, frames: int, height: int, width: int) -> Callable[[], object]:
    """The network's commonest layer alone: what its convolutions can reach on this machine."""
    layer = torch.nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, device=device)
    x = torch.randn(frames, _WIDTH, height, width, device=device)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def work() -> None:
        y = layer(x)
        torch.autograd.grad(y, [x, layer.weight], torch.ones_like(y))

    return work


def _matmul_flops(size: int = 8192, times: int = 20) -> float:
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds_of(lambda: a @ b, "cuda")
    return times * 2 * size**3 / seconds_of(lambda: [a @ b for _ in range(times)], "cuda")


def _with_tf32(work: Callable[[], object]) -> None:
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        work()
    finally:
        torch.set_float32_matmul_precision("highest")


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Of one call, the device idle before and after."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))


if __name__ == "__main__":
    sys.exit(main())
