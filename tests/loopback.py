"""An S3 server on loopback in this process, and the variables that lead to it."""

from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from data_pipeline.storage.s3 import client


@contextmanager
def bucket_on_s3(name):
    """An empty bucket; gives its URI."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # Clients are kept by fsspec, and they keep the endpoint they were made for.
        client().clear_instance_cache()
        # moto keeps the buckets of all servers of a process together.
        reset = Request(f"http://{host}:{port}/moto-api/reset", method="POST")
        urlopen(reset, timeout=10).close()
        client().mkdir(name)
        yield f"s3://{name}"
        client().clear_instance_cache()
    server.stop()
