"""Distributed workers train the same weights as one process, with any sharding: gloo on the CPU."""

import contextlib
import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed as dist
from torch import multiprocessing
from torch.distributed.tensor import DTensor

from data_pipeline.storage import lake
from tests.training.small import SIDE, furthest, random_batch, small_adversary
from training.checkpoints import checkpoint
from training.checkpoints.checkpoint import NotWritten, weights_sha256
from training.checkpoints.saver import Saver
from training.config.presets import PRESETS
from training.learn import parallel
from training.learn.batch import Batch
from training.learn.loader import share
from training.learn.networks import build_adversary

pytestmark = [pytest.mark.waits, pytest.mark.distributed]


@dataclasses.dataclass(frozen=True)
class Case:
    """A configuration to train."""

    batch_clips: int = 4
    micro_batch_clips: int = 1
    iterations: int = 3
    recomputed: bool = False
    smoke: bool = False
    """The networks of the preset, on the smallest frame that they take; else smaller ones."""
    dtype: torch.dtype = torch.float64
    fill: str = "none"
    error: str = "l1"
    adversarial: float = 0.01


# Three clips are uneven over two ranks; four over three leave nothing but padding to the third. A
# share computed at once keeps its graph.
CASES = {
    "four": Case(iterations=6),
    "four, at once": Case(micro_batch_clips=4),
    "three": Case(batch_clips=3),
    "four, recomputed": Case(micro_batch_clips=4, recomputed=True),
    "three, propagated": Case(batch_clips=3, fill="propagate"),
    "three, alone": Case(batch_clips=3, fill="propagate", error="rmse", adversarial=0.0),
    "smoke": Case(smoke=True, iterations=6),
    "smoke, float32": Case(smoke=True, iterations=6, dtype=torch.float32),
}
FLOAT32_NOISE = 1e-7  # of losses around 1, over six iterations
SMOKE_SIDE = 48  # pixels; a feature map of 12x12


@dataclasses.dataclass(frozen=True)
class Group:
    """Processes that train together."""

    world: int
    sharding: str
    node_ranks: tuple[int, ...] = ()
    """Ranks of each rank's node."""

    def __str__(self):
        return f"{self.sharding} {self.world}"


# Some parameters have two rows: the third rank holds nothing of them. The last has nodes of one
# rank and of two, and so shards over one.
GROUPS = (
    Group(2, "fsdp"),
    Group(2, "ddp"),
    Group(3, "fsdp"),
    Group(4, "fsdp"),
    Group(4, "hsdp", (2, 2, 2, 2)),
    Group(4, "ddp"),
    Group(3, "hsdp", (1, 2, 2)),
)


def cases_of(group):
    """All cases in the first groups; a few are enough to check the sharding of the others."""
    if group.sharding == "fsdp" and group.world < 4:
        return CASES
    return ["four", "smoke", "smoke, float32"] if group.world % 2 == 0 else ["four"]


def initial(case, group=None, rank=0):
    case = CASES[case]
    ranks = group.node_ranks[rank] if group is not None and group.node_ranks else 0
    if case.smoke:
        # Of one process too: `shard` leaves that alone.
        sharding = group.sharding if group is not None else "fsdp"
        fields = {"micro_batch_clips": case.micro_batch_clips, "sharding": sharding}
        config = dataclasses.replace(PRESETS["smoke"], **fields)
        with default_dtype(case.dtype):
            return build_adversary(config, torch.device("cpu"), ranks)

    def spread(generator, discriminator):
        if group is not None:
            cpu = torch.device("cpu")
            parallel.shard(generator, discriminator, cpu, group.sharding, ranks)

    adversary = small_adversary(
        micro_batch_clips=case.micro_batch_clips,
        batch_clips=case.batch_clips,
        spread=spread,
        fill=case.fill,
        error=case.error,
        adversarial=case.adversarial,
    )
    adversary.generator.activation_checkpointing = case.recomputed
    return adversary


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


def share_of(case, iteration, rank, world):
    """This rank's clips and weights, padded as the loader pads them."""
    case = CASES[case]
    side = SMOKE_SIDE if case.smoke else SIDE
    shape = {"clips": case.batch_clips, "dtype": case.dtype, "side": side, "fill": case.fill}
    whole = random_batch(iteration, **shape)
    picked, weights = zip(*share(0, case.batch_clips, rank, world), strict=True)
    picked = list(picked)
    parts = (whole.filled, whole.belief, whole.alone) if case.fill != "none" else ()
    return Batch(
        whole.frames[picked],
        whole.masks[picked],
        torch.tensor(weights, dtype=case.dtype),
        *(one[picked] for one in parts),
    )


def trained(adversary, case, rank, world):
    """Train; returns the losses of every iteration, summed over ranks: [iterations, losses]."""
    losses = []
    for i in range(CASES[case].iterations):
        batch = share_of(case, i, rank, world)
        shares = adversary.learn(batch, i * CASES[case].batch_clips)
        added = torch.stack([shares[name] for name in sorted(shares)]).detach().clone()
        losses.append(parallel.sum_over_ranks(added))
    return torch.stack(losses)


def whole(tensors):
    """Unsharded copies; collective."""
    return {name: parallel.whole(value).detach().clone() for name, value in tensors.items()}


def run_rank(rank, port, root):
    """Work of one process, in one group after another."""
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    for group in GROUPS:
        if rank < group.world:
            own = dist.PrefixStore(str(group), store)
            dist.init_process_group("gloo", store=own, rank=rank, world_size=group.world)
            run_in_group(rank, group, root)
            dist.barrier()
            dist.destroy_process_group()


def run_in_group(rank, group, root):
    """Rank 0 leaves whole tensors in `<root>/<group>`."""
    folder = root / str(group)
    found = parallel.gathered(None if rank else "found")
    assert found == ["found", *[None] * (group.world - 1)]

    def keep(name, tensors):
        if rank == 0:
            save_file(tensors, folder / f"{name}.safetensors")

    for case in cases_of(group):
        adversary = initial(case, group, rank)
        assert all(isinstance(one, DTensor) for one in adversary.generator.parameters())
        assert all(isinstance(one, DTensor) for one in adversary.ema.values())
        losses = trained(adversary, case, rank, group.world)
        keep(case, {**whole(adversary.tensors()), "losses": losses})
        if case == "four":
            save_while_learning(adversary, rank, group, folder)
    if rank == 1:
        adversary.ema["decoder.6.weight"].to_local().fill_(torch.inf)
    assert parallel.not_finite(adversary.tensors()) == ["ema.decoder.6.weight"]
    resumed = initial("four", group, rank)
    by_one = checkpoint.checkpoint_uri(str(root / "by one"), 12)
    checkpoint.opened(by_one).load(resumed.tensors())
    keep("resumed", whole(resumed.tensors()))
    if rank == 0:  # the others do not take part, and are not waited for
        alone = initial("four").tensors()
        checkpoint.opened(by_one).load(alone, alone=True)
        keep("alone", whole(alone))


def save_while_learning(adversary, rank, group, folder):
    """A checkpoint of the current state, while training continues; then one that fails."""
    state, batch = {"world": group.world}, share_of("four", 0, rank, group.world)
    run = str(folder / "by several")
    with Saver(run, newest=9, every=0, leader=rank == 0) as saver:
        saver.save(12, adversary.tensors(), state)
        adversary.learn(batch, 12)
        saver.finish()
        with pytest.MonkeyPatch.context() as patch:
            if rank == 1:
                patch.setattr(lake, "upload", no_room)
            saver.save(16, adversary.tensors(), state)
            adversary.learn(batch, 16)
            with pytest.raises(NotWritten, match=r"rank 1: OSError: .*No space left"):
                saver.finish()


def no_room(*_args):
    raise OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def alone():
    """Case -> whole tensors and losses after learning in one process."""
    results = {}
    for case in CASES:
        adversary = initial(case)
        losses = trained(adversary, case, 0, 1)
        results[case] = {**whole(adversary.tensors()), "losses": losses}
    return results


@pytest.fixture(scope="module")
def root(tmp_path_factory, alone):
    """The folder where the processes saved their results."""
    root = tmp_path_factory.mktemp("parallel")
    tensors = {name: value for name, value in alone["four"].items() if name != "losses"}
    checkpoint.save(str(root / "by one"), 12, tensors, {"world": 1})
    for group in GROUPS:
        (root / str(group)).mkdir()
    # The store chooses a free port itself and keeps it: no other process can take it in between.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        multiprocessing.spawn(
            run_rank, (store.port, root), nprocs=max(group.world for group in GROUPS)
        )
    return root


@pytest.mark.parametrize(
    ("group", "case"), [(group, case) for group in GROUPS for case in cases_of(group)], ids=str
)
def test_distributed_training_equals_single_process_training(root, alone, case, group):
    found = load_file(root / str(group) / f"{case}.safetensors")
    assert found["losses"].shape == (CASES[case].iterations, 5)
    difference, name = furthest(found, alone[case])
    if CASES[case].dtype == torch.float64:
        assert difference < 1e-12, name
        return
    # Adam amplifies the rounding of a gradient that is exactly zero to whole steps; the outputs
    # do not depend on those weights.
    assert float((found["losses"] - alone[case]["losses"]).abs().max()) < FLOAT32_NOISE
    assert difference < 2 * CASES[case].iterations * 1e-4, name  # a step each way


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_a_distributed_checkpoint_loads_in_one_process(root, group):
    written = load_file(root / str(group) / "four.safetensors")
    del written["losses"]
    found, passed_over = checkpoint.newest(str(root / str(group) / "by several"))
    assert [line for line in passed_over if "clips-000000016 is no checkpoint" not in line] == []
    assert found.state()["world"] == group.world
    if group.sharding == "fsdp":  # the others hold copies
        assert len(list(Path(found.uri).glob("*.safetensors"))) == group.world
    resumed = initial("four").tensors()
    found.load(resumed)
    assert furthest(resumed, written)[0] == 0
    assert weights_sha256(resumed) == weights_sha256(written)


@pytest.mark.parametrize("by", ["resumed", "alone"])
@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_a_single_process_checkpoint_loads_in_all_ranks_or_in_one(root, alone, group, by):
    resumed = load_file(root / str(group) / f"{by}.safetensors")
    written = {name: value for name, value in alone["four"].items() if name != "losses"}
    assert furthest(resumed, written)[0] == 0
    assert weights_sha256(resumed) == weights_sha256(written)


@pytest.mark.parametrize(
    ("sharding", "ranks", "says"),
    [
        ("hsdp", [2, 2, 1], "is --sharding ddp here: nodes have 1 and 2 workers"),
        ("hsdp", [8] * 8 + [7] * 7, "is --sharding ddp here: nodes have 7 and 8 workers"),
        ("hsdp", [8] * 8 + [4] * 4, "among 4: nodes have 4 and 8 workers, and no more divide"),
        ("hsdp", [2, 2, 2, 2], ""),
        ("hsdp", [1, 1], ""),
        ("hsdp", [4] * 4, ""),
        ("fsdp", [2, 2, 1], ""),
        ("ddp", [2, 2, 1], ""),
    ],
)
def test_hsdp_on_unequal_nodes_is_reported(sharding, ranks, says):
    said = parallel.uneven_nodes(sharding, ranks)
    assert says in said
    assert bool(said) == bool(says)


def test_gathered_in_one_process_returns_its_value():
    assert parallel.gathered(None) == [None]
    assert parallel.gathered(0) == [0]
