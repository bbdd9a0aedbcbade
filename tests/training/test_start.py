"""Initial weights that a run accepts; with real runs and registries: `test_launch.py`."""

import pytest

from data_pipeline.cli.command import UserError
from training.config.train_config import GeneratorConfig, TrainConfig
from training.driver.initial_weights import refuse_unfit
from training.learn.networks import build_generator

SHAPE = {"channels": 8, "blocks": 1, "grids": (1, 2)}


def refused(trained_with, config):
    weights = {"generator": build_generator(GeneratorConfig(**SHAPE, **trained_with)).state_dict()}
    run = TrainConfig(generator=GeneratorConfig(**SHAPE, **config))
    refuse_unfit("models:/sttn/3", weights, run)


@pytest.mark.parametrize(
    ("trained_with", "config"), [({}, {"fill": "propagate"}), ({"fill": "diffuse"}, {})]
)
def test_weights_trained_with_another_fill_are_refused(trained_with, config):
    said = (
        r"--init models:/sttn/3 has a generator of another shape; 3 tensors differ "
        r"\(.*encoder.0.weight.*\): give --generator.channels, --generator.fill and the like"
    )
    with pytest.raises(UserError, match=said):
        refused(trained_with, config)


@pytest.mark.parametrize("fill", ["none", "diffuse", "propagate"])
def test_weights_trained_with_the_same_fill_are_accepted(fill):
    refused({"fill": fill}, {"fill": fill})
