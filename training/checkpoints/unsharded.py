"""The networks of a checkpoint, whole, in one process."""

import torch
from torch import Tensor

from training.checkpoints.checkpoint import Checkpoint, weights_sha256
from training.config.train_config import TrainConfig
from training.learn.networks import build_discriminator, build_generator


def whole_networks(checkpoint: Checkpoint, config: TrainConfig) -> dict[str, Tensor]:
    """Both networks and the averaged generator of a checkpoint, unsharded, in one process."""
    with torch.device("meta"):
        generator = build_generator(config.generator)
        discriminator = build_discriminator(config.discriminator)
    shapes = {
        **{f"generator.{name}": value for name, value in generator.state_dict().items()},
        **{f"discriminator.{name}": value for name, value in discriminator.state_dict().items()},
        **{f"ema.{name}": value for name, value in generator.state_dict().items()},
    }
    tensors = {name: torch.empty_like(value, device="cpu") for name, value in shapes.items()}
    checkpoint.load(tensors, alone=True)
    return tensors


def networks_sha256(tensors: dict[str, Tensor]) -> str:
    """sha256 over the generator and the discriminator, without the EMA that follows from them."""
    return weights_sha256(
        {name: tensor for name, tensor in tensors.items() if not name.startswith("ema.")}
    )
