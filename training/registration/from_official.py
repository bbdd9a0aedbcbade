"""A file of official weights becomes a registered version, once."""

from hashlib import file_digest
from pathlib import Path

from torch import Tensor

from data_pipeline.cli.command import UserError
from data_pipeline.format.provenance import commit
from mlops.tracking import connection, names, registry, runs
from mlops.tracking.registry import Version
from training.checkpoints.checkpoint import weights_sha256
from training.config.train_config import GeneratorConfig
from training.model.official import (
    DISCRIMINATOR,
    GENERATOR,
    discriminator_from_official,
    generator_from_official,
    read_official,
)
from training.registration.model_folder import model_folder

_WIDTH, _HEIGHT = 432, 240  # of the frames that official weights were trained on, pixels


def import_weights(
    file: Path, *, model: str, origin: str, licence: str, masked_attention: bool, tracking_uri: str
) -> tuple[Version, bool]:
    """Register a file once; returns the version, and whether it was there already.

    Args:
        file: of the official code (.pth), with the generator; a discriminator in it is checked.
        model: name of the registered model.
        origin: where the file came from, in words or as an address.
        licence: of the weights.
        masked_attention: see `GeneratorConfig`.
        tracking_uri: MLflow's, absolute.

    Raises:
        UserError: the file is not there, or does not hold the official networks.
    """
    weights, sha256 = _checked(file)
    connection.usable(tracking_uri)
    run_name = f"import-{file.stem}"
    identity = {
        names.ORIGIN_SHA256: sha256,
        names.MASKED_ATTENTION: str(masked_attention).lower(),
    }
    found = registry.find(tracking_uri, model, identity)
    if found is not None:
        return found, True
    shape = GeneratorConfig(masked_attention=masked_attention)
    run_id = runs.ensure(
        tracking_uri,
        run_name=run_name,
        kind=names.KIND_IMPORT,
        tags={names.ORIGIN: origin, **identity},
    )
    with model_folder(weights, shape, _WIDTH, _HEIGHT, licence) as (folder, code):
        version = registry.register(
            tracking_uri,
            name=model,
            run_id=run_id,
            clips=0,
            model_dir=folder,
            tags={
                names.ORIGIN: origin,
                **identity,
                names.RUN_NAME: run_name,
                names.COMMIT: commit(),
                names.CODE_DIGEST: code,
                names.WEIGHTS_SHA256: weights_sha256(weights),
            },
        )
    runs.finish(tracking_uri, run_id)
    registry.offer(tracking_uri, version)
    return version, False


def _checked(path: Path) -> tuple[dict[str, Tensor], str]:
    """The generator's weights in a file, every name and shape compared; and the file's sha256."""
    try:
        networks = read_official(path)
        with path.open("rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # names the file
        raise UserError(str(error)) from error
    if GENERATOR not in networks:
        raise UserError(
            f"{path}: holds a discriminator only, which fills no hole: give the file with "
            f"{GENERATOR!r}"
        )
    try:
        if DISCRIMINATOR in networks:
            discriminator_from_official(networks[DISCRIMINATOR])
        return dict(generator_from_official(networks[GENERATOR]).state_dict()), sha256
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
