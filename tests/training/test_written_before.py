"""Files that earlier versions wrote stay readable: `written/` holds them unchanged.

`first/` is a whole run of the first version: smoke's config with the least widths, one iteration.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from data_pipeline.cli.command import UserError
from tests.training.small import random_batch
from training.checkpoints import checkpoint, record
from training.checkpoints.checkpoint import weights_sha256
from training.checkpoints.unsharded import whole_networks
from training.config.serialisation import config_digest, from_json
from training.config.train_config import (
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimiserConfig,
    TrainConfig,
)
from training.learn.networks import build_adversary

WRITTEN = Path(__file__).parent / "written"
RUN = WRITTEN / "first"
WEIGHTS = "a88e57511d70b97feb1334b6cebdfc5a1dcecbf23e3f359cfbacd593c4ac4a1b"


@pytest.fixture
def first():
    """The checkpoint of the first version, and its config."""
    found, passed_over = checkpoint.newest(str(RUN))
    assert passed_over == []
    return found, from_json(found.state()["config"])


def test_a_checkpoint_of_the_first_version_loads_and_trains_on(first):
    found, config = first
    assert found.clips == 4
    assert found.score is None
    adversary = build_adversary(config, torch.device("cpu"))
    found.load(adversary.tensors())
    assert weights_sha256(adversary.tensors()) == WEIGHTS
    adversary.set_iterations(1)
    losses = adversary.learn(random_batch(1, dtype=torch.float32), found.clips)
    assert all(torch.isfinite(value) for value in losses.values())


def test_a_checkpoint_of_the_first_version_can_be_registered(first):
    found, config = first
    tensors = whole_networks(found, config)
    assert {name.split(".")[0] for name in tensors} == {"ema", "generator", "discriminator"}


def test_a_run_of_the_first_version_resumes_only_with_its_config(first):
    _, config = first
    recorded = record.read(str(RUN))
    record.refuse_another(recorded, config, "0" * 64)
    with pytest.raises(UserError, match="precision was float32, is bfloat16"):
        record.refuse_another(recorded, dataclasses.replace(config, precision="bfloat16"), "0" * 64)


def test_a_config_of_the_second_schema_keeps_its_meaning():
    written = json.loads((WRITTEN / "config-2.json").read_text())
    assert written["schema"] == 2
    assert from_json(written) == TrainConfig(
        name="second",
        data="/lake/v1",
        storage="/runs",
        tracking_uri="sqlite:////mlflow.db",
        activation_checkpointing=True,  # recompute_blocks then
        validate_every_clips=80_000,  # picture_every_clips then
        loss=LossConfig(normalisation="local"),
        precision="float32",  # nothing was left to the hardware then
        device="cuda",
        workers=8,
        worker_threads=1,
        micro_batch_clips=1,
        compile="off",  # compile_blocks: false then
    )


FIFTH = TrainConfig(
    name="fifth",
    data="/lake/v1",
    storage="/runs",
    tracking_uri="sqlite:////mlflow.db",
    clips=8,
    batch_clips=4,
    clip_frames=3,
    window_shards=2,
    precision="float32",
    generator=GeneratorConfig(channels=16, blocks=1),
    discriminator=DiscriminatorConfig(channels=4),
    optimiser=OptimiserConfig(ema_half_life_clips=4.0, betas=(0.0, 0.9)),
    device="cpu",
    workers=2,
    worker_threads=1,
    micro_batch_clips=2,
    prefetch_clips=4,
    log_every_clips=4,
    validate_every_clips=8,
    validation_clips=2,
    checkpoint_every_clips=4,
    activation_checkpointing=True,  # recompute_blocks then
    compile="off",  # compile_blocks: false then
    max_restarts=7,  # worker_failures then
    watchdog_timeout_s=60,  # hang_after_s then
)


def test_a_config_of_the_fifth_schema_reads_with_new_names_and_its_old_digest():
    written = json.loads((WRITTEN / "config-5.json").read_text())
    assert (written["schema"], written["hang_after_s"]) == (5, 60)
    assert from_json(written) == FIFTH
    # As that version printed it: the same run is trained.
    digest = "e4b917acdef3603799ed844c026f0efe0af246a74ae2af56bc0da1b140b9257f"
    assert config_digest(FIFTH) == config_digest(from_json(written)) == digest


def test_a_run_of_the_fifth_schema_resumes_only_with_its_config():
    recorded = record.read(str(WRITTEN / "fifth"))
    record.refuse_another(recorded, FIFTH, "0" * 64)
    with pytest.raises(UserError, match="seed was 0, is 1"):
        record.refuse_another(recorded, dataclasses.replace(FIFTH, seed=1), "0" * 64)
