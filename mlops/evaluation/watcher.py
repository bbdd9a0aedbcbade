"""Evaluates versions as they come: any number of watchers, one recorded result for each version.

A version waits with the tag `evaluation` = `pending`. The watcher that holds its lease evaluates
it; one that is killed loses the lease, and the next resumes the work. A version that cannot be
evaluated is tagged `failed`, with the reason, and stays so until somebody sets the tag again.
"""

import time
from collections.abc import Callable

from data_pipeline.cli.command import Refused, UserError, say
from data_pipeline.cli.ray_cluster import Unusable
from data_pipeline.cli.ray_session import RayLost
from data_pipeline.format.manifest import NoDataSet
from data_pipeline.read.cache import CorruptData
from data_pipeline.storage.lease import Held, LeaseLost
from data_pipeline.storage.store import DiskFull, TransientError
from data_pipeline.tracking.store_errors import Denied, Incapable
from mlops.tracking import locks, names, registry
from mlops.tracking.registry import Version

_LOOK_S = 5.0

_NOT_OF_THE_VERSION = (
    CorruptData,
    Denied,
    DiskFull,
    Held,
    Incapable,
    LeaseLost,
    NoDataSet,
    RayLost,
    TransientError,
    Unusable,
)

Work = Callable[[Version, Callable[[], None]], object]
"""Evaluates a version; calls its second argument right before it records a result."""


def watch(tracking_uri: str, model: str, leases: str, work: Work, *, until_idle: bool) -> int:
    """Evaluate what waits, and what comes.

    Args:
        tracking_uri: of the registry.
        model: name of the registered model.
        leases: folder, `locks.folder_of`.
        work: does it; a `UserError` or `Refused` of it concerns that version alone, but for
            `Held`: another process holds a lease that it needs.
        until_idle: end when nothing waits any more; else never.

    Returns:
        How many versions this watcher has evaluated.

    Raises:
        RayLost, TransientError, ...: while a version was evaluated, which still waits.
    """
    done = 0
    while True:
        waiting = registry.pending(tracking_uri, model)
        tried = sum(_tried(tracking_uri, version, leases, work) for version in waiting)
        done += tried
        if until_idle and not waiting:
            return done
        if not tried:
            time.sleep(_LOOK_S if not until_idle else 1.0)


def _tried(tracking_uri: str, version: Version, leases: str, work: Work) -> bool:
    """Evaluate a version unless another watcher does; returns True when it was ours."""
    try:
        with locks.evaluating(leases, version) as held:
            now = registry.by_number(tracking_uri, version.name).get(version.version)
            if now is None or now.tags.get(names.EVALUATION) != names.EVALUATION_PENDING:
                return False
            try:
                work(now, held.check)
            except _NOT_OF_THE_VERSION:
                raise  # it waits for the next watcher
            except (UserError, Refused) as error:
                _failed(tracking_uri, now, str(error))
    except Held:
        return False
    except LeaseLost as error:
        say(f"{version.uri}: {error}")
        return False
    return True


def _failed(tracking_uri: str, version: Version, why: str) -> None:
    if version.version not in registry.by_number(tracking_uri, version.name):
        say(f"{version.uri} was deleted while it was evaluated")
        return
    say(f"{version.uri} could not be evaluated: {why}")
    tags = {names.EVALUATION: names.EVALUATION_FAILED, names.EVALUATION_PROBLEM: why}
    registry.set_tags(tracking_uri, version, tags)
