"""The one Ray Serve instance of a cluster, shared by all endpoints and never shut down by one of them.

Serve's HTTP does not ask for Ray's token, so it listens on the head's loopback address alone.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import serve

T = TypeVar("T")

HOST = "127.0.0.1"
PORT = 8000
TRIES = 50
HEAD = "node:__internal_head__"


def ensure(storage: Path) -> str:
    """Start Serve where it does not run yet; return the URL of its proxy, as seen on the head."""
    with (storage / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        controller = _controller()
        if controller is None:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": HOST, "port": on_head(free_port)},
                logging_config={"log_level": "WARNING", "enable_access_log": False},
            )
            controller = _controller()
        assert controller is not None, "Serve was started and has no controller"
        options = ray.get(controller.get_http_config.remote())
    return f"http://{HOST}:{options.port}"


def on_head(function: Callable[..., T], *args: Any) -> T:
    """Call a function where the head's loopback address is: here, where this is the head's machine."""
    heads = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"] and HEAD in node["Resources"]}
    if ray.util.get_node_ip_address() in heads:
        return function(*args)
    task = ray.remote(num_cpus=0, resources={HEAD: 0.001}, scheduling_strategy="DEFAULT")(function)
    return ray.get(task.remote(*args))


def free_port() -> int:
    """Return ``AIOS_SERVE_PORT``, or the first free port from 8000 on."""
    if port := os.environ.get("AIOS_SERVE_PORT"):
        return int(port)
    for port_ in range(PORT, PORT + TRIES):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port_))
            except OSError:
                continue
            return port_
    raise RuntimeError(f"no free port from {PORT} to {PORT + TRIES - 1} on the head: set AIOS_SERVE_PORT")


def _controller() -> ray.actor.ActorHandle | None:
    try:
        return ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    except ValueError:
        return None


def app_name(workload: str, attempt: int) -> str:
    """Return the name of an attempt's Serve application."""
    return f"aios-{workload}-{attempt}"


def delete_earlier(workload: str, attempt: int) -> None:
    """Remove what earlier attempts of a workload left: a supervisor that was lost could not."""
    for name in serve.status().applications:
        stem, _, number = name.rpartition("-")
        if stem == f"aios-{workload}" and number.isdigit() and int(number) < attempt:
            serve.delete(name)
