"""The config of a run as strict JSON with a schema version, and its digest.

A file of an earlier schema is read with the meaning that it had then. Loads no heavy library.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from data_pipeline.cli.canonical import sha256_of_json
from data_pipeline.cli.command import UserError
from training.config.strict import build
from training.config.train_config import TrainConfig

SCHEMA = 8


def to_json(config: TrainConfig) -> dict[str, Any]:
    """The resolved config as plain JSON values, with its schema version."""
    return {"schema": SCHEMA, **dataclasses.asdict(config)}


def from_json(document: Mapping[str, Any]) -> TrainConfig:
    """Read back what `to_json` wrote, now or in an earlier schema.

    Raises:
        UserError: a newer schema, or a key too many or too few.
    """
    values = dict(document)
    schema = values.pop("schema", None)
    filled = migrated(values, schema)
    for since, added in _OPERATIONAL_SINCE.items():
        if schema < since:
            filled = {**added, **filled}
    for since, renamed in _RENAMED.items():
        if schema < since:
            filled = {renamed.get(name, name): value for name, value in filled.items()}
    if schema < _COMPILE_IN_WORDS and type(filled.get("compile")) is bool:
        filled["compile"] = "on" if filled["compile"] else "off"
    return build(TrainConfig, filled, "config")


def migrated(values: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    """Fields of an earlier schema, with the trained ones that it lacked as they were then.

    Args:
        values: fields, nested as in the config; all of them, or the trained ones alone.
        schema: that they were written in.

    Raises:
        UserError: there is no such schema, or it is newer than this version.
    """
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise UserError(f"the config has schema {schema}; this version reads schemas 1 to {SCHEMA}")
    filled = dict(values)
    for since, added in _TRAINED_SINCE.items():
        if schema < since:
            filled = _with(filled, added)
    return filled


def _with(values: dict[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Values with those that they lack, group by group."""
    filled = {**added, **values}
    for name, fields_ in added.items():
        # A group that is no mapping is refused for what it is.
        if isinstance(fields_, Mapping) and isinstance(values.get(name), Mapping):
            filled[name] = {**fields_, **values[name]}
    return filled


# What runs did before there was a name for it, by the schema that first has the name.
_TRAINED_SINCE: dict[int, dict[str, Any]] = {
    2: {
        "generator": {"patch_sizes": []},
        "discriminator": {"clips_apart": True},
        "loss": {"normalisation": "global"},
    },
    3: {"init": None, "precision": "float32"},
    5: {
        "generator": {"fill": "none"},
        "clip_references": 0,
        "clip_reach": 10,
        "flows": None,
    },
    8: {"loss": {"error": "l1"}},
}
_OPERATIONAL_SINCE: dict[int, dict[str, Any]] = {
    2: {"activation_checkpointing": False},
    3: {
        "allow_new_data": False,
        "compile_blocks": False,
        "keep_every_clips": 0,
        "min_workers": 0,
        "register_every_clips": 0,
        "require_tracking": False,
        "sharding": "fsdp",
    },
    4: {"watchdog_timeout_s": 600, "profile_iterations": 0, "validation_clips": 16},
}
# Operational fields only: a new name for a trained one would change the digest of every run.
_RENAMED = {
    4: {"picture_every_clips": "validate_every_clips"},
    6: {
        "hang_after_s": "watchdog_timeout_s",
        "recompute_blocks": "activation_checkpointing",
        "worker_failures": "max_restarts",
    },
    7: {"compile_blocks": "compile"},
}
_COMPILE_IN_WORDS = 7
# The digest changes with what is trained, not with every schema.
_TRAINED_SCHEMA = max(_TRAINED_SINCE)
_TRAINED_SCHEMA_BEFORE = 5


def config_digest(config: TrainConfig) -> str:
    """sha256 over the trained fields: with equal data, equal digests train the same weights.

    Taken of what JSON brings back, so that 4 and 4.0 clips of half-life have one digest. What
    trains as in schema 5 keeps its digest of then; a generator with a fill has other layers since.
    """
    values = trained_fields(from_json(to_json(config)))
    if values["generator"]["fill"] == "none" and values["loss"]["error"] == "l1":
        del values["loss"]["error"]
        return sha256_of_json({"schema": _TRAINED_SCHEMA_BEFORE, **values})
    return sha256_of_json({"schema": _TRAINED_SCHEMA, **values})


def trained_fields(config: Any) -> dict[str, Any]:
    """The trained fields alone, nested as in the config."""
    chosen: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            chosen[item.name] = trained_fields(value)
        elif item.metadata["trained"]:
            chosen[item.name] = _plain(value)
    return chosen


def _plain(value: Any) -> Any:
    """A value as JSON brings it back."""
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
