"""Weights that a run begins from instead of drawing them: a registered version or a checkpoint.

Of a checkpoint the averaged generator and the discriminator are taken, of a version the generator
that is all it has. Optimisers begin anew either way.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow
import torch
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file
from torch import Tensor, nn

from data_pipeline.door import UserError, first_few
from data_pipeline.lake import absolute
from mlops import registry, tracking
from training import served
from training.checkpoint import opened
from training.config import TrainConfig
from training.config_json import from_json
from training.export import whole_networks
from training.networks import build_discriminator, build_generator

_VERSION = "models:/"

Weights = dict[str, dict[str, Tensor]]
"""By network, "generator" and perhaps "discriminator": name -> whole tensor on the CPU."""


def pinned(uri: str, tracking_uri: str) -> str:
    """What `--init` means now: an alias may move, a number and a path do not.

    Raises:
        UserError: there is no such version or checkpoint.
    """
    if uri.startswith(_VERSION):
        return registry.resolve(tracking_uri, uri).uri
    return opened(absolute(uri)).uri


def weights_of(uri: str, tracking_uri: str) -> Weights:
    """The weights behind a pinned URI.

    Raises:
        UserError: it is damaged, or a version that is none of ours.
    """
    if uri.startswith(_VERSION):
        return {"generator": _of_version(uri, tracking_uri)}
    found = opened(uri)
    problem = found.problem()
    if problem is not None:
        raise UserError(f"--init {uri}: {problem}")
    whole = whole_networks(found, from_json(found.state()["config"]))
    return {"generator": _named(whole, "ema."), "discriminator": _named(whole, "discriminator.")}


def refuse_unfit(uri: str, weights: Weights, config: TrainConfig) -> None:
    """Weights must have the names and shapes of the networks that a config describes.

    Raises:
        UserError: names the tensors that do not.
    """
    with torch.device("meta"):
        networks: dict[str, nn.Module] = {
            "generator": build_generator(config.generator),
            "discriminator": build_discriminator(config.discriminator),
        }
    for which, tensors in weights.items():
        wanted, found = _shapes(networks[which].state_dict()), _shapes(tensors)
        unfit = [
            name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
        ]
        if unfit:
            raise UserError(
                f"--init {uri} has a {which} of another shape; {len(unfit)} tensors differ "
                f"({first_few(unfit)}): give --{which}.channels and the like as it was learnt with"
            )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _of_version(uri: str, tracking_uri: str) -> dict[str, Tensor]:
    tracking.client(tracking_uri)
    with tempfile.TemporaryDirectory(prefix="sttn-init-") as scratch:
        try:
            folder = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch)
        except MlflowException as error:
            raise UserError(f"--init {uri} cannot be fetched: {error.message}") from error
        file = Path(folder) / "artifacts" / f"{served.WEIGHTS}.safetensors"
        if not file.is_file():
            raise UserError(f"--init {uri} is no version of this project: it has no {file.name}")
        return load_file(file)
