"""One of several replicas at a time: a Lease of Kubernetes (coordination.k8s.io)."""

from datetime import UTC, datetime, timedelta
from typing import final

from k8s.api import Api, ConflictError, Object


@final
class Leader:
    """A lease that one replica holds and renews; another takes it when it has run out.

    Args:
        api: the cluster.
        name: of the lease.
        identity: of this replica.
        seconds: without renewal, after which it has run out.
    """

    def __init__(self, api: Api, name: str, identity: str, seconds: int) -> None:
        self._api = api
        self._all = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
        self._name = name
        self._identity = identity
        self._seconds = seconds

    def leads(self) -> bool:
        """Whether this replica has the lease now; takes or renews it where that can be."""
        lease = self._api.call("GET", f"{self._all}/{self._name}")
        try:
            if lease is None:
                self._api.call("POST", self._all, self._written({"metadata": {"name": self._name}}))
            elif self._is_free(lease["spec"]):
                # With the version that was read: who wrote meanwhile wins.
                self._api.call("PUT", f"{self._all}/{self._name}", self._written(lease))
            else:
                return False
        except ConflictError:
            return False
        return True

    def _is_free(self, spec: Object) -> bool:
        if spec.get("holderIdentity") in ("", None, self._identity):
            return True
        renewed = datetime.fromisoformat(spec["renewTime"])
        return datetime.now(UTC) > renewed + timedelta(seconds=spec["leaseDurationSeconds"])

    def _written(self, lease: Object) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = lease.get("spec", {})
        mine = before.get("holderIdentity") == self._identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": lease["metadata"],
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._seconds,
                "acquireTime": before["acquireTime"] if mine else now,
                "renewTime": now,
                "leaseTransitions": before.get("leaseTransitions", 0) + (0 if mine else 1),
            },
        }
