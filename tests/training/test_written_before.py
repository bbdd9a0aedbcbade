"""Files that earlier versions wrote are read for ever: `written/` holds them as they were.

`first/` is a whole run of the first version: smoke's config with the least widths, one iteration.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from data_pipeline.door import UserError
from tests.training.small import random_batch
from training import checkpoint, record
from training.checkpoint import weights_sha256
from training.config import LossConfig, TrainConfig
from training.config_json import from_json
from training.export import whole_networks
from training.networks import build_adversary

WRITTEN = Path(__file__).parent / "written"
RUN = WRITTEN / "first"
WEIGHTS = "a88e57511d70b97feb1334b6cebdfc5a1dcecbf23e3f359cfbacd593c4ac4a1b"


@pytest.fixture
def first():
    """The checkpoint of the first version, and its config."""
    found, passed_over = checkpoint.newest(str(RUN))
    assert passed_over == []
    return found, from_json(found.state()["config"])


def test_a_checkpoint_of_the_first_version_is_whole_and_learns_on(first):
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


def test_a_run_of_the_first_version_is_gone_on_with_and_no_other(first):
    _, config = first
    begun = record.read(str(RUN))
    record.refuse_another(begun, config, "0" * 64)
    with pytest.raises(UserError, match="precision was float32, is bfloat16"):
        record.refuse_another(begun, dataclasses.replace(config, precision="bfloat16"), "0" * 64)


def test_a_config_of_the_second_schema_reads_as_what_it_meant():
    written = json.loads((WRITTEN / "config-2.json").read_text())
    assert written["schema"] == 2
    assert from_json(written) == TrainConfig(
        name="second",
        data="/lake/v1",
        storage="/runs",
        tracking_uri="sqlite:////mlflow.db",
        recompute_blocks=True,
        validate_every_clips=80_000,  # picture_every_clips then
        loss=LossConfig(normalisation="local"),
    )
