"""Evaluates versions as they come: any number of watchers, one recorded result for each version.

A version asks by the tag `evaluation` = `pending`. Whoever has its lease evaluates it; one that is
killed in the middle loses the lease, and the next one takes the work up. What cannot be evaluated
is tagged `failed`, with the reason, and stays so until somebody sets the tag again.
"""

import time
from collections.abc import Callable

from data_pipeline.door import Refused, UserError, say
from data_pipeline.lease import Held, LeaseLost
from data_pipeline.session import RayLost
from data_pipeline.store import DiskFull, TransientError
from mlops import claims, names, registry
from mlops.registry import Version

_LOOK_S = 5.0

Work = Callable[[Version, Callable[[], None]], object]
"""Evaluates a version; calls its second argument right before it records a result."""


def watch(tracking_uri: str, model: str, leases: str, work: Work, *, until_idle: bool) -> int:
    """Evaluate what waits, and what comes.

    Args:
        tracking_uri: of the registry.
        model: name of the registered model.
        leases: folder, `claims.folder_of`.
        work: does it; a `UserError` or `Refused` of it concerns that version alone.
        until_idle: end when nothing waits any more; else never.

    Returns:
        How many versions this watcher has evaluated.

    Raises:
        RayLost, TransientError, DiskFull: while a version was evaluated, which still waits.
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
    """Whether it was ours to evaluate."""
    try:
        with claims.evaluating(leases, version) as held:
            now = registry.resolve(tracking_uri, version.uri)
            if now.tags.get(names.EVALUATION) != names.EVALUATION_PENDING:
                return False
            try:
                work(now, held.check)
            except (LeaseLost, RayLost, TransientError, DiskFull):
                raise  # it says nothing about the version, which waits for the next who looks
            except (UserError, Refused) as error:
                _failed(tracking_uri, now, str(error))
    except Held:
        return False
    except LeaseLost as error:
        say(f"{version.uri}: {error}")
        return False
    return True


def _failed(tracking_uri: str, version: Version, why: str) -> None:
    say(f"{version.uri} could not be evaluated: {why}")
    tags = {names.EVALUATION: names.EVALUATION_FAILED, names.EVALUATION_PROBLEM: why}
    registry.set_tags(tracking_uri, version, tags)
