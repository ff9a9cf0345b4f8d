"""The process that keeps an embedded cluster: starts its nodes, reaps what ends, takes all of it down on SIGTERM."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from aios.adapters.embedded import EmbeddedShape, Keeper, ray_arguments
from aios.adapters.processes import adopt_orphans, descendants, kill_descendants, reap, signal_all, started_at
from aios.adapters.ray_nodes import NODE_NAME_LABEL

TRIES = 4
GCS = "gcs_server"
STORE_BYTES = 100 * 2**20
HEALTH = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 5,
}
"""A crashed node is noticed in 5 s and a hung one in 20 s; Ray's own settings take 15 s and 65 s."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--tmp", required=True)
    parser.add_argument("--shape", required=True)
    args = parser.parse_args()
    adopt_orphans()
    asked = threading.Event()
    cluster = Cluster(shutdown_at_exit=True)
    try:
        began_s = time.monotonic()
        keeper = _start(cluster, EmbeddedShape.model_validate_json(args.shape), args.tmp)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # in place of Ray's own, which drains first
            signal.signal(number, lambda *_: asked.set())
        keeper.write(args.home)
        print(f"cluster at {keeper.address}, started in {time.monotonic() - began_s:.1f} s", flush=True)
        while not asked.wait(0.5) and _goes_on(cluster):
            reap()  # a killed raylet that nobody reaps would keep its workers
    finally:
        _stop(cluster)


def _start(cluster: Cluster, shape: EmbeddedShape, tmp: str) -> Keeper:
    _add(cluster, {"num_cpus": 0, "include_dashboard": True, "dashboard_host": "127.0.0.1", "_system_config": HEALTH})
    for node in shape.nodes:
        arguments = ray_arguments(node)
        arguments["labels"] = {**arguments["labels"], NODE_NAME_LABEL: node.name}
        _add(cluster, arguments)
    cluster.wait_for_nodes()
    pid = os.getpid()
    return Keeper(pid, started_at(pid) or 0, tmp, cluster.address, f"http://{cluster.webui_url}")


def _goes_on(cluster: Cluster) -> bool:
    """Return whether the head lives; a GCS that died is started again, with all that it knew on its disk."""
    head = cluster.head_node
    dead = [name for name, _ in head.dead_processes()]
    if dead == [GCS]:
        print("the GCS ended and is started again", flush=True)
        head.kill_gcs_server(check_alive=False)
        head._gcs_address = None  # or it waits for the old one
        head.start_gcs_server()
        return True
    return not dead


def _add(cluster: Cluster, arguments: dict[str, Any]) -> None:
    """Add a node; on a busy machine Ray's own time limits make that fail now and then."""
    for attempt in range(1, TRIES + 1):
        before = descendants(os.getpid())
        ports = {"dashboard_port": _free_port()} if cluster.head_node is None else {}
        try:
            cluster.add_node(object_store_memory=STORE_BYTES, wait=False, **arguments, **ports)
            return
        except Exception as error:  # whatever Ray raises: time-outs, dead agents, taken ports
            print(f"node did not start (attempt {attempt} of {TRIES}): {error}", flush=True)
            signal_all(descendants(os.getpid()) - before, signal.SIGKILL)
            if attempt == TRIES:
                raise


def _stop(cluster: Cluster) -> None:
    for node in [*cluster.worker_nodes, cluster.head_node]:
        if node is not None:
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    kill_descendants(os.getpid())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
