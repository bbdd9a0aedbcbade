"""One whole training iteration of both networks against the official arithmetic; needs torch only.

python tests/benchmarks/step.py [--device cpu|cuda] [--json] [--rounds 3]
"""

import argparse
import multiprocessing
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
from tests.parity.official import to_official
from training.config.train_config import OptimiserConfig, TrainConfig
from training.learn import parallel
from training.learn.adversary import Adversary
from training.learn.batch import Batch
from training.model.discriminator import Discriminator, initialise_vectors
from training.model.generator import Generator, initialise
from training.planning.flops import matmul_flops, training_flops

_OFFICIAL, _TF32 = "official arithmetic, float32", "official arithmetic, TF32"
_OURS = "training step"
_BFLOAT16, _COMPILED = "training step, bfloat16", "training step, bfloat16, compiled"
_CONVOLUTION = "convolution"
_SAME = 2e-3  # the losses of both, relative; the weights are those of the start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=int, help="of a batch; default 1 on a CPU, 8 on a GPU")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    clips = arguments.clips or (1 if arguments.device == "cpu" else 8)
    shape = clips, arguments.frames, 240, 432  # the official patches fit no other size
    show(figures(arguments.device, shape, arguments.rounds), json_lines=arguments.json)


def figures(device: str, shape: tuple[int, int, int, int], rounds: int) -> Iterator[Figure]:
    """The same work, in turns: a shared machine is not equally fast for long."""
    clips = shape[0]
    batch = _batch(shape, device)
    adversary, official = _both(device, clips)
    _agree(adversary, official, batch)
    yield from _speeds(device, shape, _timed(_ways(adversary, official, batch), device, rounds))
    kept, again = (_peak_bytes(device, shape, recompute) / clips for recompute in (False, True))
    yield Figure(
        "peak memory per clip, blocks computed again", again / 2**30, "GiB",
        f"all activations kept: {kept / 2**30:.3g} GiB", again / kept,
    )  # fmt: skip
    error = _error_of_bfloat16(adversary.generator, batch)
    yield Figure(
        "error of bfloat16 in what is predicted", error, "of its root mean square", "float32", error
    )


def _ways(
    adversary: Adversary, official: OfficialStep, batch: Batch
) -> dict[str, Callable[[], object]]:
    """Everything that is timed: the official iteration, ours, and a convolution alone."""
    device = batch.frames.device.type
    clips = len(batch.frames)
    rounded, _ = _both(device, clips, torch.bfloat16)
    ways: dict[str, Callable[[], object]] = {
        _OFFICIAL: lambda: official(batch.frames, batch.masks),
        _OURS: lambda: adversary.learn(batch, 0),
        _BFLOAT16: lambda: rounded.learn(batch, 0),
        _CONVOLUTION: _convolution(batch),
    }
    if device == "cuda":  # on a CPU compiling does not pay
        compiled, _ = _both(device, clips, torch.bfloat16)
        parallel.compile_blocks(compiled.generator)
        ways |= {
            _TF32: lambda: _with_tf32(ways[_OFFICIAL]),
            _COMPILED: lambda: compiled.learn(batch, 0),
        }
    return ways


def _timed(
    ways: dict[str, Callable[[], object]], device: str, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each way, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            taken = seconds_of(work, device)
            if number:  # the first round warms up
                seconds[name].append(taken)
    return seconds


def _speeds(
    device: str, shape: tuple[int, int, int, int], seconds: dict[str, list[float]]
) -> Iterator[Figure]:
    clips, frames, height, width = shape
    took = {name: statistics.median(values) for name, values in seconds.items()}
    with torch.device("meta"):
        flops = clips * training_flops(Generator(), Discriminator(), *shape[1:])
    against = f"official arithmetic, float32: {took[_OFFICIAL]:.3g} s"
    fastest = _COMPILED if device == "cuda" else _BFLOAT16
    for name in (_OURS, _BFLOAT16, _COMPILED):
        if name in took:
            yield Figure(name, took[name], "s", against, _ratio(seconds, name, _OFFICIAL))
    for name in (_OFFICIAL, _TF32):
        if name in took:
            yield Figure(
                f"clips per second of the {fastest}", clips / took[fastest], "clips/s",
                f"{name}: {clips / took[name]:.3g} clips/s", _ratio(seconds, name, fastest),
            )  # fmt: skip
    if device == "cuda":
        peak = matmul_flops(torch.device(device), torch.bfloat16)
        reached = flops / took[fastest]
        yield Figure(
            "model FLOP utilisation, bfloat16", reached / 1e12, "TFLOP/s",
            f"a large bfloat16 matmul: {peak / 1e12:.4g} TFLOP/s", reached / peak,
        )  # fmt: skip
    ceiling = _CONVOLUTION_FLOPS * clips * frames * (height // 4) * (width // 4)
    ceiling /= took[_CONVOLUTION]
    yield Figure(
        "FLOPs per second, float32", flops / took[_OURS] / 1e9, "GFLOP/s",
        f"a 3x3 convolution, forward and backward: {ceiling / 1e9:.4g} GFLOP/s",
        flops / took[_OURS] / ceiling,
    )  # fmt: skip


def _both(
    device: str, clips: int, autocast: torch.dtype | None = None
) -> tuple[Adversary, OfficialStep]:
    """Ours and the transcription, of the same weights."""
    random = torch.Generator().manual_seed(0)
    generator, discriminator = Generator(), Discriminator(clips_apart=clips == 1)
    initialise(generator, 0.02, random)
    initialise(discriminator, 0.02, random)
    initialise_vectors(discriminator, random)
    official = OfficialStep(
        to_official("generator", generator.state_dict()),
        to_official("discriminator", discriminator.state_dict()),
        device,
    )
    config = TrainConfig(
        clips=clips,
        batch_clips=clips,
        micro_batch_clips=clips,
        workers=1,
        optimiser=OptimiserConfig(decay_every_clips=0),
    )
    ours = Adversary(generator.to(device), discriminator.to(device), config, autocast)
    return ours, official


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
    """Peak bytes of an iteration beyond networks, optimisers and batch; in a separate process.

    On a CPU the peak resident memory of the process counts, on a GPU the allocated memory.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_here, device, shape, recompute).result()


def _peak_here(device: str, shape: tuple[int, int, int, int], recompute: bool) -> int:
    batch = _batch(shape, device)
    adversary, _ = _both(device, shape[0])
    adversary.generator.activation_checkpointing = recompute
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        adversary.learn(batch, 0)
        return torch.cuda.max_memory_allocated() - before
    before = _most_resident()
    adversary.learn(batch, 0)
    return _most_resident() - before


def _most_resident() -> int:
    """Bytes; `getrusage` would count what the process was before it became this program."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in one)
    return int(line.split()[1]) * 1024


@torch.no_grad()
def _error_of_bfloat16(generator: Generator, batch: Batch) -> float:
    given = batch.frames * (1 - batch.masks), batch.masks
    exact = generator(*given)
    with torch.autocast(batch.frames.device.type, dtype=torch.bfloat16):
        rough = generator(*given)
    return float((rough.float() - exact).norm() / exact.norm())


_WIDTH = 256
_CONVOLUTION_FLOPS = 3 * 2 * 9 * _WIDTH * _WIDTH  # a pixel, forward and backward


def _convolution(batch: Batch) -> Callable[[], object]:
    """The network's commonest layer alone: what its convolutions can reach on this machine."""
    clips, frames, _, height, width = batch.frames.shape
    layer = torch.nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1).to(batch.frames.device)
    x = batch.frames.new_empty(clips * frames, _WIDTH, height // 4, width // 4).normal_()
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def work() -> None:
        y = layer(x)
        torch.autograd.grad(y, [x, layer.weight], torch.ones_like(y))

    return work


def _with_tf32(work: Callable[[], object]) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    parallel.set_precision("tf32")
    try:
        work()
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


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
