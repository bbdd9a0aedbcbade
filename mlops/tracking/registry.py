"""The registered model: versions, aliases, tags.

Aliases are read with `get_model_version_by_alias` only: a search does not return them on SQL
stores. MLflow overwrites an alias without compare-and-set and keeps no history of it; `promote`
writes that.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from data_pipeline.cli.command import UserError, nearest
from mlops.starter import files as starter
from mlops.tracking import names
from mlops.tracking.connection import absolute_uri, client, local_store_ready, store_exists
from mlops.tracking.model_uri import parse_model_uri

_VERSIONS_A_PAGE = 1000
_LOGGED = "models:/m-"  # begin of the source of a version that was registered from a logged model
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the latter: alias not found


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version; `tags` as they were when it was read."""

    name: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """`models:/NAME/VERSION`, which always means this version; or `starter`."""
        return f"models:/{self.name}/{self.version}" if self.version else self.name


def resolve(tracking_uri: str, model_uri: str) -> Version:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/N` means now; or `starter`, always.

    Raises:
        UserError: not such a URI, or not in the registry; says what is.
    """
    if model_uri == starter.STARTER:
        return Version(starter.STARTER, "", "", str(starter.FOLDER), starter.tags())
    name, alias, number = parse_model_uri(model_uri)
    if not store_exists(tracking_uri):
        raise UserError(
            f"{model_uri}: there is no registry at {absolute_uri(tracking_uri)}; "
            "train first, or give the --tracking-uri that training used"
        )
    known = client(tracking_uri)
    try:
        if alias:
            return _version(known.get_model_version_by_alias(name, alias))
        return _version(known.get_model_version(name, number))
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
    raise UserError(f"{model_uri} is not in the registry: {_what_exists(known, name)}")


def alias_or_none(tracking_uri: str, name: str, alias: str) -> Version | None:
    """The version an alias points at, None when nothing carries it."""
    if not store_exists(tracking_uri):
        return None
    try:
        return _version(client(tracking_uri).get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        return None


def find(tracking_uri: str, name: str, tags: Mapping[str, str]) -> Version | None:
    """The newest version that carries all these tags."""
    terms = [f"name = '{name}'", *(f"tags.`{key}` = '{value}'" for key, value in tags.items())]
    found = _search(tracking_uri, " and ".join(terms))
    return max(map(_version, found), key=lambda one: int(one.version), default=None)


def set_alias(tracking_uri: str, version: Version, alias: str) -> None:
    """Point an alias at a version; it leaves the one that carried it."""
    client(tracking_uri).set_registered_model_alias(version.name, alias, version.version)


def remove_alias(tracking_uri: str, version: Version, alias: str) -> None:
    """Take an alias of a model away, whatever version carries it; nothing when none does."""
    client(tracking_uri).delete_registered_model_alias(version.name, alias)


def megabytes(tracking_uri: str, version: Version) -> float:
    """Size of the files of a version, 1e6 bytes; nan when the store does not say."""
    known = client(tracking_uri)
    model_id = version.source.removeprefix("models:/")
    folders, total = [""], 0
    try:
        while folders:
            for file in known.list_logged_model_artifacts(model_id, folders.pop() or None):
                if file.is_dir:
                    folders.append(file.path)
                else:
                    total += file.file_size or 0
    except MlflowException:
        return math.nan
    return total / 1e6


def versions(tracking_uri: str, name: str) -> list[Version]:
    """All versions of a model, the oldest first.

    Raises:
        UserError: there is no such model; says what is.
    """
    found = by_number(tracking_uri, name)
    if not found:
        known = client(tracking_uri)
        raise UserError(f"models:/{name} is not in the registry: {_what_exists(known, name)}")
    return list(found.values())


def by_number(tracking_uri: str, name: str) -> dict[str, Version]:
    """Number -> version, of all versions of a model, the oldest first."""
    found = map(_version, _search(tracking_uri, f"name = '{name}'"))
    return {one.version: one for one in sorted(found, key=lambda one: int(one.version))}


def aliases(tracking_uri: str, name: str) -> dict[str, str]:
    """Alias -> number of the version that carries it."""
    model = client(tracking_uri).get_registered_model(name)
    return {alias: str(number) for alias, number in model.aliases.items()}


def sharers(tracking_uri: str, version: Version) -> list[str]:
    """URIs of the other versions, of any model, whose files are those of this version.

    `copy_model_version` copies no file: the copy's source is the version it was made of.
    """
    found: list[str] = []
    sources = [version.source, version.uri]
    while sources:
        query = f"source_path = '{sources.pop()}'"
        for other in map(_version, _search(tracking_uri, query)):
            if other.uri != version.uri and other.uri not in found:
                found.append(other.uri)
                sources.append(other.uri)  # of a copy there may be copies
    return sorted(found)


def delete(tracking_uri: str, version: Version) -> str:
    """Delete a version, and the logged model behind it with its files.

    The version is marked first and goes last: `half_deleted` tells one whose process was killed in
    between. MLflow marks the logged model as deleted; `mlflow gc` takes its files away. Nobody else
    may need them: `sharers`.

    Returns:
        Why the files stay, "" when they go: who may delete a version may not be allowed to delete
        a logged model.
    """
    known = client(tracking_uri)
    why = ""
    if version.source.startswith(_LOGGED):
        set_tags(tracking_uri, version, {names.DELETING: "true"})
        try:
            known.delete_logged_model(version.source.removeprefix("models:/"))
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                why = f"MLflow does not let go of {version.source} ({str(error).splitlines()[0]})"
    known.delete_model_version(version.name, version.version)
    return why


def half_deleted(version: Version) -> bool:
    """Return True when a process was killed while it deleted this version: files may be gone."""
    return names.DELETING in version.tags


def pending(tracking_uri: str, name: str) -> list[Version]:
    """The versions of a model that wait for their evaluation, the oldest first."""
    query = f"name = '{name}' and tags.`{names.EVALUATION}` = '{names.EVALUATION_PENDING}'"
    found = map(_version, _search(tracking_uri, query))
    return sorted(found, key=lambda one: int(one.version))


def offer(tracking_uri: str, version: Version) -> None:
    """Make a version the candidate, unless a newer one is: an old run may be gone over again."""
    candidate = alias_or_none(tracking_uri, version.name, names.CANDIDATE)
    if candidate is None or int(candidate.version) < int(version.version):
        set_alias(tracking_uri, version, names.CANDIDATE)


def set_tags(tracking_uri: str, version: Version, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    known = client(tracking_uri)
    for key, value in tags.items():
        known.set_model_version_tag(version.name, version.version, key, str(value))


def register(
    tracking_uri: str,
    *,
    name: str,
    run_id: str,
    clips: int,
    model_dir: Path,
    tags: Mapping[str, str],
) -> Version:
    """Store a model folder and register it as the next version of `name`, once for (run, clips).

    The folder becomes a logged model (MLflow's `models:/m-…`) of the run, and the version points
    at that: the way `mlflow.register_model` takes, without importing or pickling the model.

    Args:
        tracking_uri: where.
        name: registered model, made when it is new.
        run_id: the run that made the weights, or took them in.
        clips: clips seen by the generator; with `run_id` it is the identity of the version.
        model_dir: complete MLflow model folder, as `mlflow.pyfunc.save_model` writes it.
        tags: further tags of the version.

    Returns:
        The new version, or the one registered before for this run and number of clips.
    """
    if not (model_dir / "MLmodel").is_file():
        raise UserError(f"{model_dir} is no MLflow model folder: it has no file MLmodel")
    local_store_ready(tracking_uri)
    known = client(tracking_uri)
    identity = {names.RUN_ID: run_id, names.CLIPS: str(clips)}
    _ensure_registered_model(known, name)
    before = find(tracking_uri, name, identity)
    if before is not None:
        return before
    experiment = known.get_run(run_id).info.experiment_id
    logged = known.create_logged_model(
        experiment, name=f"{name}-{clips}", source_run_id=run_id, tags=identity
    )
    known.log_model_artifacts(logged.model_id, str(model_dir))
    known.finalize_logged_model(logged.model_id, "READY")
    known.log_outputs(run_id, [LoggedModelOutput(logged.model_id, clips)])
    made = known.create_model_version(
        name,
        logged.model_uri,
        run_id=run_id,
        tags={names.EVALUATION: names.EVALUATION_PENDING, **tags, **identity},
        model_id=logged.model_id,
    )
    return _version(made)


def _search(tracking_uri: str, query: str) -> list[ModelVersion]:
    """All versions that a query finds, however many pages they fill."""
    known = client(tracking_uri)
    found: list[ModelVersion] = []
    page = None
    while True:
        some = known.search_model_versions(query, max_results=_VERSIONS_A_PAGE, page_token=page)
        found += some
        page = some.token
        if not page:
            return found


def _ensure_registered_model(known: MlflowClient, name: str) -> None:
    try:
        known.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _what_exists(known: MlflowClient, name: str) -> str:
    try:
        model = known.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        others = sorted(one.name for one in known.search_registered_models(max_results=100))
        hint = nearest(name, others)
        return f"no model {name!r}{hint}; registered models: {', '.join(others) or 'none'}"
    number = len(known.search_model_versions(f"name = '{name}'", max_results=_VERSIONS_A_PAGE))
    aliases = ", ".join(f"{key} = version {value}" for key, value in sorted(model.aliases.items()))
    return f"{name} has {number} version(s), aliases: {aliases or 'none'}"


def _version(found: ModelVersion) -> Version:
    return Version(
        name=found.name,
        version=str(found.version),
        run_id=found.run_id or "",
        source=found.source or "",
        tags=dict(found.tags),
    )
