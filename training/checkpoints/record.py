"""The record of a run, `run.json` beside its checkpoints: written when it begins, never changed.

It holds the MLflow run, the trained fields of the config and the digest of the data set: the same
command resumes the run, another one is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_pipeline.cli.canonical import canonical_json
from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from training.config.serialisation import SCHEMA, migrated, trained_fields
from training.config.train_config import TrainConfig

FILE = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The beginning of a run."""

    run_id: str
    """Id of the MLflow run."""
    trained: Mapping[str, Any]
    """Trained fields of its config."""
    data_digest: str
    """Digest of the data set it began with."""
    init: str | None = None
    """URI of the weights it began with, an alias resolved; None = drawn from the seed."""


def read(run_uri: str) -> Record | None:
    """The record of a run; None when it has not begun.

    Raises:
        UserError: it is damaged, or of a newer schema.
    """
    file = lake.join(run_uri, FILE)
    if not lake.exists(file):
        return None
    try:
        document = json.loads(lake.read_bytes(file))
        key = "trained" if "trained" in document else "learnt"  # until schema 5
        return Record(
            run_id=document["run_id"],
            trained=migrated(document[key], document["schema"]),
            data_digest=document["data_digest"],
            init=document.get("init"),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read ({error}): give another --name") from error


def create(run_uri: str, record: Record) -> None:
    """Write the record of a run that begins.

    Raises:
        FileExistsError: it has begun already.
    """
    document = {
        "schema": SCHEMA,
        "run_id": record.run_id,
        "trained": record.trained,
        "data_digest": record.data_digest,
        "init": record.init,
    }
    lake.create_bytes(lake.join(run_uri, FILE), canonical_json(document))


def refuse_another(record: Record, config: TrainConfig, data_digest: str) -> None:
    """Refuse to resume a run with other trained fields, or other data unless that is allowed.

    Raises:
        UserError: shows every difference.
    """
    before, now = flat(record.trained), flat(trained_fields(config))
    changed = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    cure = "give the values it was begun with, or another --name"
    if record.data_digest != data_digest and not config.allow_new_data:
        changed.append(f"data digest was {record.data_digest[:12]}, is {data_digest[:12]}")
        cure += "; --allow-new-data resumes with another data set"
    if changed:
        raise UserError(
            f"run {config.name!r} was begun with another config ({'; '.join(changed)}): {cure}"
        )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return found
