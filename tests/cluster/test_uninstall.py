"""The last of the files here: what an upgrade keeps, and what is left of a release."""

import pytest

from tests.cluster.pods import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def test_an_upgrade_keeps_the_registry_and_uninstalling_keeps_the_volumes(place, values, release):
    place.command("cluster", "up", "--values", values)
    with place.forwarded("sttn-mlflow", 5000) as uri:
        assert "champion none -> 1" in place.mlops("promote", "--history", tracking=uri)
    place.command("submit", "train", "smoke", "--detach", "--", "--name", "busy")
    assert "refused: at work: sttn-train-busy" in place.command("cluster", "down", code=1)
    place.command("cluster", "down", "--stop-jobs")
    for kind in (
        "apis/ray.io/v1 rayjobs",
        "apis/ray.io/v1 rayclusters",
        "apis/apps/v1 deployments",
    ):
        until(lambda kind=kind: place.all(kind) == [], 60, lambda kind=kind: place.all(kind))
    until(lambda: services(place) <= {"store", "database"}, 60, lambda: services(place))
    (claim,) = place.all("api/v1 persistentvolumeclaims")
    assert claim["metadata"]["name"] == "mlflow"
    with place.store() as store:
        assert store.exists("lake/curated/tiny/v1/manifest.json")


def services(place):
    return {one["metadata"]["name"] for one in place.all("api/v1 services")}
