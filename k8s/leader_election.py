"""Leader election: one active replica of several, by a Lease of Kubernetes (coordination.k8s.io).

The algorithm is that of client-go. Times in a Lease are of its holder's clock, and are never
compared with another: a Lease has expired when nothing in it changed for its duration on the
observer's own monotonic clock.

`kubernetes.leaderelection` of the Python client does not do it: it runs the leader's work in a
thread that keeps running after the Lease is lost, measures expiry by the wall clock, which can be
set back, and takes over at once a Lease that lacks a field.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import final

from k8s.api import Api, ConflictError, Object


@final
class Leader:
    """A lease that one replica holds and renews; another takes it over when it has expired.

    Args:
        api: the cluster.
        name: name of the lease.
        identity: name of this replica.
        seconds: time without renewal after which the lease expires.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        identity: str,
        seconds: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._all = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
        self._name = name
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._seen: Object | None = None
        self._seen_at = 0.0

    def leads(self) -> bool:
        """Take or renew the lease if possible; return whether this replica holds it."""
        lease = self._api.call("GET", f"{self._all}/{self._name}")
        try:
            if lease is None:
                self._api.call("POST", self._all, self._written({"metadata": {"name": self._name}}))
            elif self._is_free(lease.get("spec") or {}):
                # With the resource version that was read: a concurrent writer wins.
                self._api.call("PUT", f"{self._all}/{self._name}", self._written(lease))
            else:
                return False
        except ConflictError:
            return False
        return True

    def _is_free(self, spec: Object) -> bool:
        """Return whether the lease has no holder, is ours, or has expired under our watch."""
        if spec.get("holderIdentity") in ("", None, self._identity):
            return True
        now = self._clock()
        if spec != self._seen:
            self._seen, self._seen_at = spec, now
        # The holder's duration counts, where it wrote one.
        return now >= self._seen_at + (spec.get("leaseDurationSeconds") or self._seconds)

    def _written(self, lease: Object) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = lease.get("spec") or {}
        mine = before.get("holderIdentity") == self._identity
        acquired = before.get("acquireTime") if mine else None
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": lease["metadata"],
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._seconds,
                "acquireTime": acquired or now,
                "renewTime": now,
                "leaseTransitions": (before.get("leaseTransitions") or 0) + (0 if mine else 1),
            },
        }
