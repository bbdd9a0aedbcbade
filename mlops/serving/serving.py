"""What the command does: checks, a Ray session, the gateway, and waiting until it is ended."""

import logging
import os
import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray import serve as ray_serve
from ray.serve.schema import ApplicationStatus

from data_pipeline.cli import ray_cluster
from data_pipeline.cli.command import Refused, UserError, say
from data_pipeline.cli.ray_session import NODE_ID, ray_session
from mlops.config import ServeConfig
from mlops.serving.access import token_of
from mlops.serving.gateway import Gateway
from mlops.serving.serve_models import PREFIX
from mlops.serving.store import Store
from mlops.tracking import registry

GATEWAY = f"{PREFIX}gateway"
_LOOK_S = 2.0
_DOWN_S = 120.0  # without a healthy gateway; Serve starts it again meanwhile


def serve(config: ServeConfig, uri: str) -> None:
    """Serve until the command is ended.

    Args:
        config: of the command.
        uri: tracking URI, absolute.

    Raises:
        UserError: no such version, the address is taken, the folder is in use, a bad token.
        Refused: the gateway ended again and again.
    """
    config = replace(
        config,
        cpus=config.cpus or _cpus(config.max_replicas),
        folder=config.folder.expanduser().absolute(),
        token_file=config.token_file and config.token_file.expanduser().absolute(),
    )
    token = token_of(config)
    _refuse_taken(config)
    Store(config.folder, 0.0).close()
    version = registry.resolve(uri, config.version)
    # Twice as many as are used, so that a new version is loaded beside the one in use.
    with ray_session(2 * config.max_replicas * (config.cpus or 1)):
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        ray_serve.start(proxy_location="Disabled")
        try:
            _start_gateway(config, uri)
            address = f"[{config.host}]" if ":" in config.host else config.host
            say(
                f"http://{address}:{config.port}: the page; the API at /docs; "
                f"{version.uri}, {'with' if token else 'without'} a token; Ctrl-C ends it"
            )
            _wait()
        finally:
            _end()


def application(config: ServeConfig, uri: str, **options: Any) -> ray_serve.Application:
    """Return the gateway as an application of Serve; it deploys the versions itself."""
    gateway = ray_serve.deployment(
        name="Gateway",
        num_replicas=1,
        health_check_period_s=10,
        graceful_shutdown_timeout_s=20,
        ray_actor_options={"num_cpus": 0, **options},
    )
    return gateway(Gateway).bind(config, uri)


def _cpus(replicas: int) -> int:
    """Return how many cores each replica has."""
    if ray_cluster.is_named(os.environ):
        return 1
    return max(1, len(os.sched_getaffinity(0)) // replicas)


def _start_gateway(config: ServeConfig, uri: str) -> None:
    here = {NODE_ID: ray.get_runtime_context().get_node_id()}
    app = application(config, uri, label_selector=here)
    try:
        ray_serve.run(app, name=GATEWAY, route_prefix=None)
    except RuntimeError as error:  # what Serve raises where a replica does not come up
        raise Refused(f"the service did not start: {' '.join(str(error).split())[:500]}") from error


def _wait() -> None:
    """Wait for ever, or until the gateway is down for too long."""
    well = time.monotonic()
    while time.monotonic() - well < _DOWN_S:
        time.sleep(_LOOK_S)
        if ray_serve.status().applications[GATEWAY].status == ApplicationStatus.RUNNING:
            well = time.monotonic()
    raise Refused("the gateway ended again and again: Ray's logs say why")


def _end() -> None:
    """End what was started here, and nothing else of the cluster."""
    with suppress(Exception):  # Ray may be gone already
        for name in ray_serve.status().applications:
            if name.startswith(PREFIX):
                ray_serve.delete(name, _blocking=name == GATEWAY)


def _refuse_taken(config: ServeConfig) -> None:
    """Refuse an address that cannot be listened on.

    Raises:
        UserError: it cannot.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        socket.create_server((config.host, config.port), family=family).close()
    except OSError as error:
        raise UserError(
            f"--host {config.host} --port {config.port} cannot be listened on "
            f"({os.strerror(error.errno or 0)}): give another one"
        ) from error
