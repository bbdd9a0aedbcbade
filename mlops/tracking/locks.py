"""Leases: one process at a time evaluates a version, or moves an alias.

The registry has no compare-and-set, so both take a lease of the lake, in a folder that all who work
with the registry have in common.
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from data_pipeline.storage.lease import Held, Lease, lease
from mlops.tracking.connection import sqlite_file
from mlops.tracking.registry import Version

_LEASE_S = 60.0
_WAIT_S = 120.0  # for who moves an alias: that takes seconds
_LOOK_S = 0.2


def folder_of(tracking_uri: str, given: str = "") -> str:
    """Where the leases of a registry lie: as given, or beside its database, or in STTN_STORAGE.

    Raises:
        UserError: none of them is set.
    """
    if given:
        return lake.absolute(given)
    database = sqlite_file(tracking_uri)
    if database is not None:
        return str(database.parent / "leases")
    storage = os.environ.get("STTN_STORAGE")
    if not storage:
        raise UserError(
            "--leases is missing: give a folder that all who work with "
            f"{tracking_uri} share (a path or s3://…), or set STTN_STORAGE"
        )
    return lake.join(lake.absolute(storage), "leases")


def evaluating(folder: str, version: Version) -> AbstractContextManager[Lease]:
    """Hold the lease for evaluating a version, for the time of the block.

    Raises:
        Held: another process has it.
    """
    uri = lake.join(folder, f"evaluate-{version.name}-{version.version}")
    return lease(uri, what=f"the evaluation of {version.uri}", seconds=_LEASE_S)


@contextmanager
def deciding(folder: str, model: str) -> Iterator[Lease]:
    """Hold the lease for moving the aliases of a model; waits for its turn.

    Raises:
        Held: another process kept it for too long.
    """
    uri = lake.join(folder, f"decide-{model}")
    end = time.monotonic() + _WAIT_S
    with ExitStack() as stack:
        while True:
            try:
                held = stack.enter_context(
                    lease(uri, what=f"the champion of {model}", seconds=_LEASE_S)
                )
                break
            except Held:
                if time.monotonic() > end:
                    raise
                time.sleep(_LOOK_S)
        yield held
