"""What a run may begin from; with real runs and registries: `test_launch.py`."""

import pytest

from data_pipeline.cli.command import UserError
from training.config.train_config import GeneratorConfig, TrainConfig
from training.driver.initial_weights import refuse_unfit
from training.learn.networks import build_generator

SHAPE = {"channels": 8, "blocks": 1, "grids": (1, 2)}


def refused(learnt_with, config):
    weights = {"generator": build_generator(GeneratorConfig(**SHAPE, **learnt_with)).state_dict()}
    run = TrainConfig(generator=GeneratorConfig(**SHAPE, **config))
    refuse_unfit("models:/sttn/3", weights, run)


@pytest.mark.parametrize(
    ("learnt_with", "config"), [({}, {"fill": "propagate"}), ({"fill": "diffuse"}, {})]
)
def test_weights_that_learnt_without_a_fill_are_none_for_a_run_with_one(learnt_with, config):
    said = (
        r"--init models:/sttn/3 has a generator of another shape; 1 tensors differ "
        r"\(encoder.0.weight\): give --generator.channels, --generator.fill and the like"
    )
    with pytest.raises(UserError, match=said):
        refused(learnt_with, config)


@pytest.mark.parametrize("fill", ["none", "diffuse", "propagate"])
def test_weights_of_the_same_fill_fit(fill):
    refused({"fill": fill}, {"fill": fill})
