"""The starter model becomes a registered version, once."""

from data_pipeline.cli.command import UserError
from mlops.starter import files as starter
from mlops.tracking import connection, names, registry, runs
from mlops.tracking.registry import Version


def import_starter(*, model: str, tracking_uri: str) -> tuple[Version, bool]:
    """Register the starter model once; returns the version, and whether it was there already.

    Args:
        model: name of the registered model.
        tracking_uri: MLflow's, absolute.

    Raises:
        UserError: the program has none.
    """
    if not starter.WEIGHTS.is_file():
        raise UserError(f"{starter.FOLDER} holds no starter model: install the project again")
    connection.usable(tracking_uri)
    tags = starter.tags()
    identity = {
        names.ORIGIN: starter.STARTER,
        names.WEIGHTS_SHA256: tags[names.WEIGHTS_SHA256],
    }
    found = registry.find(tracking_uri, model, identity)
    if found is not None:
        return found, True
    run_name = f"import-{starter.STARTER}"
    run_id = runs.ensure(tracking_uri, run_name=run_name, kind=names.KIND_IMPORT, tags=identity)
    version = registry.register(
        tracking_uri,
        name=model,
        run_id=run_id,
        clips=int(tags.pop(names.CLIPS)),
        model_dir=starter.FOLDER,
        tags={**tags, **identity, names.RUN_NAME: run_name},
    )
    runs.finish(tracking_uri, run_id)
    registry.offer(tracking_uri, version)
    return version, False
