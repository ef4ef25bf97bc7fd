"""Joining a Ray cluster, or starting one for a single run, and what each worker gets of it."""

import logging
import os
import socket
from typing import Any

from vgeo.errors import MissingModelError, ServerError, first_line

log = logging.getLogger(__name__)

CPUS_A_WORKER = 4  # of a cluster without GPUs: an encoder gains little from more, and each worker holds the model
CONNECT_S = 5.0
LOCAL = "local"
_ADVICE = "start one with 'ray start --head', or use --ray local"


def connect(address: str, temporary: str) -> Any:
    """Join a cluster, or start one. Raises MissingModelError, ServerError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU workers keep seeing what they saw
    try:
        import ray
        import ray._private.worker as driver
        import ray.exceptions
    except ImportError as error:
        raise MissingModelError("--ray: Ray is not installed; pip install 'vgeo[ray]'") from error
    _check_answers(address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray prints the cluster's errors on stdout, which is ours for data, and offers no switch: they go to our log.
    driver.print_to_stdstream = lambda data, **_: log.debug("ray: %s", " ".join(data["lines"]))
    own: dict[str, Any] = {"include_dashboard": False, "_temp_dir": temporary} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError, AssertionError) as error:
        raise ServerError(f"--ray {address}: no Ray cluster answers ({first_line(error)}); {_ADVICE}") from error
    return ray


def _check_answers(address: str) -> None:
    """Raise ServerError where nothing listens at host:port; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ServerError(f"--ray {address}: nothing answers there ({first_line(error)}); {_ADVICE}") from error


def shares(ray: Any, gpus: bool) -> tuple[int, int, int]:
    """How many GPUs and CPUs a worker gets, and how many workers there may be."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    if gpus and with_gpu:
        count = sum(int(node["GPU"]) for node in with_gpu)
        return 1, max(1, min(int(node.get("CPU", 1) // node["GPU"]) for node in with_gpu)), count
    cpus = max(1, min([CPUS_A_WORKER, *(int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1)]))
    return 0, cpus, max(1, sum(int(node.get("CPU", 0)) // cpus for node in nodes))
