"""Plans against the measured memory and communication of one and two processes."""

import dataclasses
import json
from collections import Counter

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from data_pipeline.cli.command import UserError
from tests.training.counting import plain, second_iteration
from training import run
from training.config.machines import Machines
from training.config.presets import PRESETS
from training.config.train_config import DiscriminatorConfig, GeneratorConfig, TrainConfig
from training.learn.networks import build_adversary
from training.planning.flops import training_flops
from training.planning.plan import Collective, plan

HEIGHT, WIDTH = 96, 192
CONFIG = TrainConfig(
    clips=4,
    batch_clips=4,
    workers=2,
    clip_frames=3,
    precision="float32",
    micro_batch_clips=2,
    generator=GeneratorConfig(channels=64, blocks=4),
    discriminator=DiscriminatorConfig(channels=16),
)
# Of several micro-batches the generator predicts twice, and nothing is kept between its turns.
CASES = {
    "fsdp": CONFIG,
    "fsdp, two micro-batches": dataclasses.replace(CONFIG, micro_batch_clips=1),
    "fsdp, recomputed": dataclasses.replace(CONFIG, activation_checkpointing=True),
    "fsdp, uneven rows": dataclasses.replace(
        CONFIG,
        generator=GeneratorConfig(channels=12, blocks=2, grids=(1, 3)),
        discriminator=DiscriminatorConfig(channels=3),
    ),
    "ddp": dataclasses.replace(CONFIG, sharding="ddp"),
    # One node has all ranks: HSDP is then FSDP.
    "hsdp": dataclasses.replace(CONFIG, sharding="hsdp"),
}


def planned(config, workers):
    machines = Machines(gpus_per_node=workers, frame_height=HEIGHT, frame_width=WIDTH)
    return plan(config, machines)


def really(config, world):
    """What this rank holds and exchanges."""
    clips = config.batch_clips // world
    adversary, held, exchanged = second_iteration(config, clips, (HEIGHT, WIDTH), world)
    kept = Counter()
    for name, tensor in adversary.tensors().items():
        which = name.split(".")[0]
        part = "average" if which == "ema" else "moments" if "_adam" in which else "weights"
        kept[part] += plain(tensor).nbytes
    return {
        "kept": dict(kept),
        "iteration": held.most,
        "times": dict(exchanged.times),
        "payload": dict(exchanged.payload),
    }


def run_rank(rank, port, folder):
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    found = {name: really(config, 2) for name, config in CASES.items()}
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Case -> what rank 0 of two processes held and exchanged."""
    folder = tmp_path_factory.mktemp("plan")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        multiprocessing.spawn(run_rank, (store.port, folder), nprocs=2)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.distributed
@pytest.mark.parametrize("case", CASES)
def test_communication_of_two_processes_matches_the_plan(two, case):
    times, payload = Counter(), Counter()
    for one in planned(CASES[case], 2).collectives:
        assert one.ranks == 2
        times[one.kind] += one.times
        payload[one.kind] += one.payload
    assert dict(times) == two[case]["times"]
    assert dict(payload) == two[case]["payload"]


@pytest.mark.distributed
@pytest.mark.parametrize("case", CASES)
def test_memory_of_two_processes_matches_the_plan(two, case):
    memory = planned(CASES[case], 2).memory
    assert {name: getattr(memory, name) for name in two[case]["kept"]} == two[case]["kept"]
    if case != "fsdp, uneven rows":  # too narrow for the factors to hold
        assert memory.iteration == pytest.approx(two[case]["iteration"], rel=0.15)


@pytest.mark.parametrize("fill", ["none", "propagate"])
def test_one_process_communicates_nothing_and_its_memory_matches_the_plan(fill):
    generator = dataclasses.replace(CONFIG.generator, fill=fill)
    config = dataclasses.replace(CONFIG, batch_clips=2, workers=1, generator=generator)
    found, expected = really(config, 1), planned(config, 1)
    assert found["times"] == {}
    assert expected.collectives == ()
    assert {name: getattr(expected.memory, name) for name in found["kept"]} == found["kept"]
    assert expected.memory.iteration == pytest.approx(found["iteration"], rel=0.15)


def test_ring_collectives_send_the_share_each_rank_lacks():
    one = Collective("all-gather", "", 1, 800, 4, 1)
    assert one.sent == 600
    assert dataclasses.replace(one, kind="all-reduce").sent == 1200


def test_time_is_flops_over_speed_and_bytes_over_links():
    machines = Machines(
        nodes=2, gpus_per_node=4, peak_teraflops=100, utilisation=0.5, latency_us=0,
        link_gb_per_s=400, network_gb_per_s=10,
    )  # fmt: skip
    config = PRESETS["youtube-vos"]
    found = plan(config, machines)
    adversary = build_adversary(config, torch.device("meta"))
    flops = training_flops(adversary.generator, adversary.discriminator, 5, 240, 432)
    assert found.compute_s == pytest.approx(flops / 50e12)  # a clip for each GPU
    assert found.exchange_s == pytest.approx(sum(one.sent for one in found.collectives) / 10e9)
    assert found.step_s == (
        max(found.compute_s, found.exchange_s),
        found.compute_s + found.exchange_s,
    )
    best, worst = found.efficiency
    assert worst == pytest.approx(found.compute_s / (found.compute_s + found.exchange_s))
    assert best == pytest.approx(min(1, found.compute_s / found.exchange_s))
    # Shards within a node go over its links; only gradients among copies leave it.
    hybrid = plan(dataclasses.replace(config, sharding="hsdp"), machines)
    inside = sum(one.sent for one in hybrid.collectives if one.ranks == 4)
    across = sum(one.sent for one in hybrid.collectives if "copies" in one.what)
    assert 0 < across < inside
    counts = 2 * 24 * 7 // 8
    assert hybrid.exchange_s == pytest.approx(inside / 400e9 + (across + counts) / 10e9)


def test_uneven_shares_cost_as_much_as_the_largest():
    machines = Machines(nodes=1, gpus_per_node=3, latency_us=0, link_gb_per_s=1e9)
    found = plan(PRESETS["youtube-vos"], machines)
    assert found.clips == 3
    assert found.efficiency[0] == pytest.approx(8 / 9)


def test_plan_prints_its_assumptions_and_writes_nothing(capsys, monkeypatch):
    for name in ("STTN_DATA", "STTN_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    assert (
        run.main(["youtube-vos", "--plan", "--nodes", "2", "--gpus-per-node", "4", "--json"]) == 0
    )
    out = capsys.readouterr().out
    assert "PLANNED, not measured: youtube-vos, 8 clips a step on 2 x 4 GPUs, fsdp" in out
    assert "precision bfloat16: all GPUs have it" in out
    assert "22% (measured on one H100) of 989 TFLOP/s (stated)" in out
    document = json.loads(out.splitlines()[-1])
    assert document["workers"] == 8
    assert document["assumed"]["network_gb_per_s"] == 50
    assert document["memory"]["total"] == sum(
        size for name, size in document["memory"].items() if name != "total"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--nodes", "0"], "--nodes is 0: give 1 to 100,000"),
        (["--utilisation", "1.5"], "--utilisation is 1.5"),
        (["--frame-width", "433"], "--frame-width 433, --frame-height 240"),
    ],
)
def test_an_impossible_plan_is_refused(flags, words, capsys):
    assert run.main(["youtube-vos", "--plan", *flags]) == 2
    assert words in capsys.readouterr().err


def test_an_invalid_machine_is_refused():
    with pytest.raises(UserError, match="--link-gb-per-s is 0"):
        Machines(link_gb_per_s=0)
