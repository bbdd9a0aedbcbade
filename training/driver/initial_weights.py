"""Initial weights of a run (`--init`): a registered version, a checkpoint or the starter model.

A checkpoint gives the averaged generator and the discriminator, the others a generator. The
optimisers start from zero either way.
"""

from collections.abc import Mapping
from pathlib import Path

import mlflow
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from data_pipeline.cli.command import UserError, first_few
from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.storage.lake import absolute
from mlops.starter import files as starter
from mlops.tracking import connection, names, registry
from mlops.tracking.loaded_model import files_of
from training import served
from training.checkpoints.checkpoint import opened
from training.checkpoints.unsharded import whole_networks
from training.config.serialisation import from_json
from training.config.train_config import TrainConfig
from training.learn.networks import build_discriminator, build_generator

_VERSION = "models:/"
_STARTER = f"{starter.STARTER}:"  # and the hash of its weights

Weights = dict[str, dict[str, Tensor]]
"""By network, "generator" and perhaps "discriminator": name -> whole tensor on the CPU."""


def pinned(uri: str, tracking_uri: str) -> str:
    """The URI that `--init` means now: an alias may move, and the starter model be replaced.

    Raises:
        UserError: there is no such version or checkpoint.
    """
    if uri == starter.STARTER:
        return f"{_STARTER}{starter.tags()[names.WEIGHTS_SHA256]}"
    if uri.startswith(_VERSION):
        return registry.resolve(tracking_uri, uri).uri
    return opened(absolute(uri)).uri


def weights_of(uri: str, tracking_uri: str) -> Weights:
    """The weights behind a pinned URI.

    Raises:
        UserError: it is damaged, or a version that is none of ours.
    """
    if uri.startswith(_STARTER):
        if uri != pinned(starter.STARTER, tracking_uri):
            raise UserError(
                f"--init {uri}: the starter model of this version of the program is another one: "
                "go on with the version that the run was begun with, or give another --name"
            )
        return {"generator": load_file(starter.WEIGHTS)}
    if uri.startswith(_VERSION):
        return {"generator": _of_version(uri, tracking_uri)}
    try:
        with opened(uri).checked() as here:
            whole = whole_networks(here, from_json(here.state()["config"]))
    except UserError as error:
        raise UserError(f"--init {error}") from error
    return {"generator": _named(whole, "ema."), "discriminator": _named(whole, "discriminator.")}


def refuse_unfit(uri: str, weights: Weights, config: TrainConfig) -> None:
    """Refuse weights without the names and shapes of the networks that a config describes.

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
            flags = f"--{which}.channels and the like"
            if which == "generator":
                flags = f"--{which}.channels, --{which}.fill and the like"
            raise UserError(
                f"--init {uri} has a {which} of another shape; {len(unfit)} tensors differ "
                f"({first_few(unfit)}): give {flags} as it was trained with"
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
    connection.client(tracking_uri)
    with scratch_folder("init") as scratch:
        with files_of(tracking_uri, uri):
            folder = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(scratch))
        file = Path(folder) / "artifacts" / f"{served.WEIGHTS}.safetensors"
        if not file.is_file():
            raise UserError(f"--init {uri} is no version of this project: it has no {file.name}")
        return load_file(file)
