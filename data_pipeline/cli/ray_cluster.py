"""Checks within seconds that Ray can be used as the environment says, before work begins.

Ray itself waits silently, for minutes, for a cluster that does not answer.
"""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import grpc
from ray._common.usage.usage_lib import get_cluster_metadata
from ray._common.utils import get_default_ray_temp_dir
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray._private.utils import compute_version_info
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # it is written in C++
from ray.exceptions import AuthenticationError

from data_pipeline.cli.command import UserError

ADDRESS = "RAY_ADDRESS"
ANSWER_S = 10.0
_MAX_SOCKET = 107  # bytes of a path: what Linux has room for
_ASK = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:\s\[\]]+):\d{1,5}")
_HIGHEST_PORT = 65535
_TOKEN = (
    "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as they were for `ray "
    "start` there"
)
_CURE = f"correct {ADDRESS}, or unset it to work on this machine alone"


class Unusable(UserError):  # noqa: N818 (the environment is, nothing was done)
    """Ray cannot be used as the environment says; the work itself may be fine."""


def is_named(environment: Mapping[str, str]) -> bool:
    """Say whether RAY_ADDRESS names a cluster; else Ray is started on this machine."""
    return environment.get(ADDRESS, "") not in ("", "local")


def check() -> None:
    """Check within seconds that Ray can be used.

    Raises:
        Unusable: RAY_ADDRESS is wrong, nothing answers there, or it refuses this client; or the
            path of the temporary folder is too long.
    """
    if is_named(os.environ):
        _check_cluster(os.environ[ADDRESS])
    else:
        _check_sockets()


def _check_cluster(value: str) -> None:
    said = f"{ADDRESS} is {value!r}"
    if value.startswith(("http://", "https://")):
        raise Unusable(
            f"{said}, which is where jobs are submitted to (RAY_API_SERVER_ADDRESS): give the "
            "host:port of the head itself, 6379 by default, or unset it"
        )
    if "://" in value:
        raise Unusable(
            f"{said}: give host:port of the head and work on a node of the cluster, or submit a "
            "job from here (ray job submit)"
        )
    if value != "auto" and (not _HOST_PORT.fullmatch(value) or _port(value) > _HIGHEST_PORT):
        raise Unusable(f"{said}, which is not host:port: {_CURE}")
    try:
        address = canonicalize_bootstrap_address(value)
    except ConnectionError as error:
        raise Unusable(f"{said} and no Ray runs on this machine: {_CURE}") from error
    assert address is not None
    try:
        channel = init_grpc_channel(address, options=(("grpc.enable_http_proxy", 0),))
        with channel:
            channel.unary_unary(_ASK)(b"", timeout=ANSWER_S)
    except AuthenticationError as error:
        raise Unusable(f"{said} and RAY_AUTH_MODE is token, but there is none: {_TOKEN}") from error
    except grpc.RpcError as error:
        raise Unusable(f"{said}, and {_refusal(error)}") from error
    _check_versions(said, address)


def _refusal(error: grpc.RpcError) -> str:
    code, details = error.code(), _line(error.details())
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return f"it wants its token: {_TOKEN}"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"what answers there is not the head of a Ray cluster: {_CURE}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"nobody answers there within {ANSWER_S:.0f} s: {_CURE}"
    return f"nobody answers there as a Ray cluster does ({details}): {_CURE}"


def _check_versions(said: str, address: str) -> None:
    theirs = get_cluster_metadata(GcsClient(address=address))
    if not theirs:
        return  # a cluster that has just been started has not written it yet
    ray, python, *_ = compute_version_info()  # type: ignore[no-untyped-call]
    found = theirs["ray_version"], theirs["python_version"]
    if found != (ray, python):
        raise Unusable(
            f"{said}, a cluster of Ray {found[0]} on Python {found[1]}; here is Ray {ray} on "
            f"Python {python}: use the same on both sides"
        )


def _check_sockets() -> None:
    session = f"session_{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{os.getpid()}"
    base: str = get_default_ray_temp_dir()  # type: ignore[no-untyped-call]
    longest = Path(base, session, "sockets", "plasma_store")
    if len(os.fsencode(longest)) > _MAX_SOCKET:
        variable = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
        folder = os.environ.get(variable, "")
        room = _MAX_SOCKET - len(os.fsencode(longest)) + len(os.fsencode(folder))
        raise Unusable(
            f"{variable} is {folder}, and Ray's sockets below it would have paths of more than "
            f"{_MAX_SOCKET} bytes: set RAY_TMPDIR to a folder of at most {room} bytes, /tmp say"
        )


def _port(value: str) -> int:
    return int(value.rpartition(":")[2])


def _line(said: object) -> str:
    return " ".join(str(said).split())[:300].rstrip(" .")
