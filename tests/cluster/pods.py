"""Pods of the tests' own, and waiting for what a cluster does in its time."""

import time

from k8s.pod_problems import find_problems

USER, GROUP = 1000, 100  # of the image


def until(what, seconds, why=lambda: "it did not come"):
    """Wait for something, and give it; else fail with `why()`."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, why()
        time.sleep(0.5)
    return found


def serving(place, name, image, command, port, env=()):
    """A pod that serves, and its service; it takes connections."""
    pod = pod_of(name, image, command, env)
    (container,) = pod["spec"]["containers"]
    container["ports"] = [{"containerPort": port}]
    container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    place.make("api/v1 pods", pod)
    ports = {"selector": pod["metadata"]["labels"], "ports": [{"port": port}]}
    place.make("api/v1 services", {"metadata": {"name": name}, "spec": ports})
    until(
        lambda: is_ready(place.api.call("GET", f"{place.path('api/v1 pods')}/{name}")),
        180,
        lambda: find_problems(place.api, f"sttn-test={name}"),
    )


def pod_of(name, image, command, env=()):
    """A pod of one small container, by the restricted standard."""
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": list(env),
        "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "50m"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {
        "containers": [container],
        "securityContext": security,
        "automountServiceAccountToken": False,
    }
    return {"metadata": {"name": name, "labels": {"sttn-test": name}}, "spec": spec}


def is_ready(pod):
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
