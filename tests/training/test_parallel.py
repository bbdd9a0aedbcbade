"""Several processes learn what one learns: sharded by FSDP2, over gloo, in float64."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed as dist
from torch import multiprocessing
from torch.distributed.tensor import DTensor

from tests.training.small import furthest, random_batch, small_adversary
from training import checkpoint, parallel
from training.batch import Batch
from training.checkpoint import weights_sha256
from training.loader import share

pytestmark = pytest.mark.distributed

ITERATIONS = 3
# Global batch, clips computed at a time. Three clips are uneven over two ranks; four over three
# leave nothing but padding to the third. A share that is computed at once keeps its graph.
CASES = {"four": (4, 1), "four, at once": (4, 4), "three": (3, 1), "four, recomputed": (4, 4)}
# Some parameters have two rows: the third rank holds nothing of them.
WORLDS = (2, 3)


def begun(case, *, sharded):
    batch_clips, micro_batch_clips = CASES[case]
    device = torch.device("cpu")
    adversary = small_adversary(
        micro_batch_clips=micro_batch_clips,
        batch_clips=batch_clips,
        spread=lambda *both: parallel.shard(*both, device) if sharded else None,
    )
    adversary.generator.recompute_blocks = case.endswith("recomputed")
    return adversary


def share_of(case, iteration, rank, world):
    """This rank's clips and weights, padded as the loader pads them."""
    batch_clips, _ = CASES[case]
    whole = random_batch(iteration, clips=batch_clips)
    picked, weights = zip(*share(0, batch_clips, rank, world), strict=True)
    picked = list(picked)
    weights = torch.tensor(weights, dtype=torch.float64)
    return Batch(whole.frames[picked], whole.masks[picked], weights)


def learnt(adversary, case, rank, world):
    """The losses of every iteration, summed over ranks: [iterations, losses]."""
    batch_clips, _ = CASES[case]
    losses = []
    for i in range(ITERATIONS):
        shares = adversary.learn(share_of(case, i, rank, world), i * batch_clips)
        added = torch.stack([shares[name] for name in sorted(shares)]).detach().clone()
        losses.append(parallel.sum_over_ranks(added))
    return torch.stack(losses)


def whole(tensors):
    """Unsharded copies; collective."""
    return {name: parallel.whole(value).detach().clone() for name, value in tensors.items()}


def run_rank(rank, port, root):
    """What one of the processes does, in a group of two, then of three."""
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    for world in WORLDS:
        if rank < world:
            group = dist.PrefixStore(f"world {world}", store)
            dist.init_process_group("gloo", store=group, rank=rank, world_size=world)
            run_in_group(rank, world, root)
            dist.barrier()
            dist.destroy_process_group()


def run_in_group(rank, world, root):
    """Rank 0 leaves whole tensors in `<root>/<world>`."""
    folder = root / str(world)

    def keep(name, tensors):
        if rank == 0:
            save_file(tensors, folder / f"{name}.safetensors")

    for case in CASES:
        adversary = begun(case, sharded=True)
        assert all(isinstance(one, DTensor) for one in adversary.generator.parameters())
        assert all(isinstance(one, DTensor) for one in adversary.ema.values())
        losses = learnt(adversary, case, rank, world)
        keep(case, {**whole(adversary.tensors()), "losses": losses})
        if case == "four":
            checkpoint.save(str(folder / "by several"), 12, adversary.tensors(), {"world": world})
    if rank == world - 1:
        adversary.ema["decoder.6.weight"].to_local().fill_(torch.inf)
    assert parallel.not_finite(adversary.tensors()) == ["ema.decoder.6.weight"]
    resumed = begun("four", sharded=True)
    by_one = checkpoint.checkpoint_uri(str(root / "by one"), 12)
    checkpoint.opened(by_one).load(resumed.tensors())
    keep("resumed", whole(resumed.tensors()))


@pytest.fixture(scope="module")
def alone():
    """Case -> whole tensors and losses after learning in one process."""
    results = {}
    for case in CASES:
        adversary = begun(case, sharded=False)
        losses = learnt(adversary, case, 0, 1)
        results[case] = {**whole(adversary.tensors()), "losses": losses}
    return results


@pytest.fixture(scope="module")
def root(tmp_path_factory, alone):
    """The folder where the processes left what they learnt."""
    root = tmp_path_factory.mktemp("parallel")
    tensors = {name: value for name, value in alone["four"].items() if name != "losses"}
    checkpoint.save(str(root / "by one"), 12, tensors, {"world": 1})
    for world in WORLDS:
        (root / str(world)).mkdir()
    # The store chooses a free port itself and keeps it: nobody can take it in between.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        multiprocessing.spawn(run_rank, (store.port, root), nprocs=max(WORLDS))
    return root


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", CASES)
def test_several_processes_learn_what_one_learns(root, alone, case, world):
    found = load_file(root / str(world) / f"{case}.safetensors")
    assert found["losses"].shape == (ITERATIONS, 5)
    difference, name = furthest(found, alone[case])
    assert difference < 1e-12, name


@pytest.mark.parametrize("world", WORLDS)
def test_a_checkpoint_of_several_processes_is_whole_in_one(root, world):
    written = load_file(root / str(world) / "four.safetensors")
    del written["losses"]
    found, passed_over = checkpoint.newest(str(root / str(world) / "by several"))
    assert passed_over == []
    assert found.state()["world"] == world
    assert len(list(Path(found.uri).glob("*.safetensors"))) == world
    resumed = begun("four", sharded=False).tensors()
    found.load(resumed)
    assert furthest(resumed, written)[0] == 0
    assert weights_sha256(resumed) == weights_sha256(written)


@pytest.mark.parametrize("world", WORLDS)
def test_a_checkpoint_of_one_process_is_whole_in_several(root, alone, world):
    resumed = load_file(root / str(world) / "resumed.safetensors")
    written = {name: value for name, value in alone["four"].items() if name != "losses"}
    assert furthest(resumed, written)[0] == 0
    assert weights_sha256(resumed) == weights_sha256(written)
