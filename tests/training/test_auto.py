"""What a run does with the hardware that is there: clusters that are made up, and this machine."""

import dataclasses

import pytest
import ray

from data_pipeline.cli.ray_session import ray_session
from training.config.machines import Machines
from training.config.presets import PRESETS
from training.config.train_config import is_open
from training.driver.seen import seen
from training.planning.auto import resolved
from training.planning.hardware import Hardware, Node, planned

PAPER = PRESETS["youtube-vos"]
SIZE = 240, 432
V100 = {"gpu": "V100", "bfloat16": False}
LAPTOP = Node(cpus=8, memory_gib=16.0)


def cluster(nodes, gpus, gib=80.0, **of_each):
    kind = {"gpu": "H100", "gpu_gib": gib, "bfloat16": True, **of_each}
    return Hardware((Node(cpus=16, memory_gib=128.0, gpus=gpus, **kind),) * nodes)


# device, workers, threads, precision, clips at a time, activation checkpointing, compile
@pytest.mark.parametrize(
    ("hardware", "filled"),
    [
        (Hardware((LAPTOP,)), ("cpu", 1, 8, "float32", 3, False, "off")),
        (
            Hardware((Node(cpus=2, memory_gib=32.0, cpu_bfloat16=True),)),
            ("cpu", 1, 2, "bfloat16", 8, False, "off"),
        ),
        (Hardware((LAPTOP,) * 3), ("cpu", 3, 8, "float32", 3, False, "off")),
        (cluster(1, 1), ("cuda", 1, 1, "bfloat16", 8, False, "on")),
        (cluster(1, 1, gib=40.0), ("cuda", 1, 1, "bfloat16", 8, False, "on")),
        (cluster(1, 1, gib=16.0), ("cuda", 1, 1, "bfloat16", 4, False, "on")),
        (cluster(1, 1, gib=2.0), ("cuda", 1, 1, "bfloat16", 1, True, "on")),
        (cluster(1, 2), ("cuda", 2, 1, "bfloat16", 4, False, "on")),
        (cluster(1, 8), ("cuda", 8, 1, "bfloat16", 1, False, "on")),
        (cluster(8, 8), ("cuda", 8, 1, "bfloat16", 1, False, "on")),
        (cluster(1, 6), ("cuda", 4, 1, "bfloat16", 2, False, "on")),
        (cluster(1, 1, 16.0, **V100), ("cuda", 1, 1, "float32", 3, False, "on")),
        (cluster(1, 1, compiler=False), ("cuda", 1, 1, "bfloat16", 8, False, "off")),
        (
            Hardware((*cluster(1, 1).nodes, *cluster(1, 1, 16.0, **V100).nodes)),
            ("cuda", 2, 1, "float32", 2, False, "on"),
        ),
    ],
)  # fmt: skip
def test_the_papers_run_on_made_up_clusters(hardware, filled):
    config, choices = resolved(PAPER, hardware, SIZE)
    assert filled == (
        config.device, config.workers, config.worker_threads, config.precision,
        config.micro_batch_clips, config.activation_checkpointing, config.compile,
    )  # fmt: skip
    assert not is_open(config)
    assert all(choice.reason for choice in choices)
    untouched = {
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) == getattr(PAPER, field.name)
    }
    assert untouched | {choice.field for choice in choices} == {
        field.name for field in dataclasses.fields(config)
    }


def test_what_a_user_gives_stays():
    given = dataclasses.replace(
        PAPER, device="cpu", workers=2, worker_threads=3, precision="tf32", micro_batch_clips=3,
        compile="on",
    )  # fmt: skip
    assert resolved(given, cluster(1, 8), SIZE) == (given, ())


def test_on_gpus_that_are_not_there_yet_nothing_is_guessed_of_them():
    config, _ = resolved(dataclasses.replace(PAPER, device="cuda", workers=8), Hardware(()), SIZE)
    assert (config.precision, config.micro_batch_clips) == ("float32", 1)
    assert not config.activation_checkpointing


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_filled_on_a_laptop_and_on_planned_machines(preset):
    for hardware in (Hardware((LAPTOP,)), planned(Machines())):
        config, _ = resolved(PRESETS[preset], hardware, SIZE)
        assert not is_open(config)
        assert 1 <= config.workers <= config.batch_clips


def test_this_machine_and_a_ray_cluster_on_it_are_seen(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    (here,) = seen().nodes
    assert here.cpus >= 1
    assert here.memory_gib > 0
    monkeypatch.undo()
    with ray_session(2):
        (node,) = seen().nodes
        assert node.cpus == int(ray.cluster_resources()["CPU"])
        assert (node.gpus, node.cpu_bfloat16) == (here.gpus, here.cpu_bfloat16)
