"""The service as KubeRay's RayService starts it: `serveConfigV2` of the chart names `application`.

The gateway runs in the head pod, which has the resource `gateway`, so that a Service finds it.
"""

from dataclasses import replace
from typing import Any

from ray import serve

from data_pipeline.cli.command import parse
from data_pipeline.tracking import client_timeouts
from mlops.config import ServeConfig
from mlops.inpainting.chosen import registry_of
from mlops.serving import serving

_GATEWAY = {"gateway": 0.001}


def application(args: dict[str, Any]) -> serve.Application:
    """Return the service as an application.

    Args:
        args: `flags`: words of the command line of `mlops/serve.py`.

    Raises:
        UserError: what the command would refuse.
    """
    client_timeouts.shorten()
    config = parse(ServeConfig, args["flags"], prog="serve", description="")
    config = replace(config, folder=config.folder.absolute(), cpus=config.cpus or 1)
    return serving.application(config, registry_of(config), resources=_GATEWAY)
