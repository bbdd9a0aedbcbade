import pytest
from moto.server import ThreadedMotoServer

from data_pipeline import lake


@pytest.fixture(scope="session")
def s3_endpoint():
    """An S3 server on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def s3_bucket(s3_endpoint, request):
    """A bucket of the module's own, with the variables that lead to it."""
    bucket = request.module.__name__.rsplit(".", 1)[-1].replace("_", "-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # Clients are kept by fsspec, and they keep the endpoint they were made for.
        lake._s3().clear_instance_cache()
        lake._s3().mkdir(bucket)
        yield f"s3://{bucket}"
        lake._s3().clear_instance_cache()
