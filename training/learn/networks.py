"""The two networks of a config, the same on every rank."""

from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from training.config.train_config import DiscriminatorConfig, GeneratorConfig, TrainConfig
from training.learn import parallel
from training.learn.adversary import Adversary
from training.model.discriminator import Discriminator, initialise_vectors
from training.model.generator import Generator, initialise


def build_generator(config: GeneratorConfig) -> Generator:
    """The generator that a config describes, not initialised."""
    return Generator(**asdict(config))


def build_discriminator(config: DiscriminatorConfig) -> Discriminator:
    """The discriminator that a config describes, not initialised."""
    return Discriminator(**asdict(config))


def build_adversary(
    config: TrainConfig,
    device: torch.device,
    node_ranks: int = 0,
    weights: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> Adversary:
    """Both networks from the seed, spread over the ranks, with their optimisers.

    The initial weights are drawn whole, on the CPU, from the seed alone: they do not depend on how
    processes share them.

    Args:
        config: the run.
        device: of this rank.
        node_ranks: ranks of this node, read for "hsdp" only.
        weights: initial ones, unsharded, by "generator" and perhaps "discriminator"; they fit.
    """
    random = torch.Generator().manual_seed(config.seed)
    generator = build_generator(config.generator)
    generator.activation_checkpointing = config.activation_checkpointing
    discriminator = build_discriminator(config.discriminator)
    initialise(generator, config.optimiser.init_std, random)
    initialise(discriminator, config.optimiser.init_std, random)
    initialise_vectors(discriminator, random)
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        if weights and name in weights:
            network.load_state_dict(weights[name])
    generator.to(device)
    discriminator.to(device)
    if config.compile == "on":
        parallel.compile_blocks(generator)
    parallel.shard(generator, discriminator, device, config.sharding, node_ranks)
    return Adversary(generator, discriminator, config, parallel.set_precision(config.precision))
