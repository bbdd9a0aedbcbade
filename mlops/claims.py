"""One at a time: who evaluates a version, and who moves an alias.

The registry has no compare-and-set, so both take a lease of the lake, in a folder that all who work
with the registry have in common.
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from data_pipeline import lake
from data_pipeline.door import UserError
from data_pipeline.lease import Held, Lease, lease
from mlops.registry import Version
from mlops.tracking import sqlite_file

_LEASE_S = 60.0
_WAIT_S = 120.0  # for who moves an alias: that takes seconds
_LOOK_S = 0.2


def folder_of(tracking_uri: str, given: str = "") -> str:
    """Where the leases of a registry lie: as given, or beside its database, or in STTN_STORAGE.

    Raises:
        UserError: nobody says.
    """
    if given:
        return lake.absolute(given)
    database = sqlite_file(tracking_uri)
    if database is not None:
        return str(database.parent / "leases")
    storage = os.environ.get("STTN_STORAGE")
    if not storage:
        raise UserError(
            "--leases is missing: give a folder that everybody who works with "
            f"{tracking_uri} has in common (a path or s3://…), or set STTN_STORAGE"
        )
    return lake.join(lake.absolute(storage), "leases")


def evaluating(folder: str, version: Version) -> AbstractContextManager[Lease]:
    """Have a version to evaluate, for the time of the block.

    Raises:
        Held: somebody else has it.
    """
    uri = lake.join(folder, f"evaluate-{version.name}-{version.version}")
    return lease(uri, what=f"the evaluation of {version.uri}", seconds=_LEASE_S)


@contextmanager
def deciding(folder: str, model: str) -> Iterator[Lease]:
    """Be the only one who moves the aliases of a model; waits for its turn.

    Raises:
        Held: somebody else did not come to an end.
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
