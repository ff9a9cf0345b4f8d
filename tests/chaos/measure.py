"""How long recovery takes, fault by fault, without load: ``python -m tests.chaos --measure 5``."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from typing import Any

from aios.client import Client
from aios.views import WorkloadView
from tests.chaos.world import HOME, World
from tests.support.polling import eventually

LONG = 100_000


def report(world: World, n: int) -> int:
    """Measure each recovery ``n`` times and print a table."""
    with world.client() as client:
        for what, one in MEASURES:
            times = []
            for i in range(n):
                times.append(one(world, client, i))
                for view in client.workloads():
                    client.stop(view.id)
                eventually(lambda: not client.workloads(), timeout_s=120, what="an empty cluster")
            shown = ", ".join(f"{seconds:.1f}" for seconds in times)
            print(f"{what}: median {statistics.median(times):.1f} s, max {max(times):.1f} s ({shown})", flush=True)
    return 0


def plane_back(world: World, client: Client, i: int) -> float:
    return world.kill_plane()


def node_lost(world: World, client: Client, i: int) -> float:
    """From the death of a raylet under a gang of two until the gang runs whole elsewhere."""
    gang = _run(client, f"lost-{i}", n=2)
    began_s = time.monotonic()
    world.kill_node(gang.planned_nodes[1])
    _runs_again(client, gang, 2)
    seconds = time.monotonic() - began_s
    world.join()
    _all_nodes(world, client)
    return seconds


def node_stopped(world: World, client: Client, i: int) -> float:
    """From the stop of a node (raylet and workers) until its gang runs whole elsewhere."""
    gang = _run(client, f"frozen-{i}", n=2)
    began_s = time.monotonic()
    frozen = world.freeze_node(gang.planned_nodes[1])
    _runs_again(client, gang, 2)
    seconds = time.monotonic() - began_s
    world.thaw(frozen)
    world.join()
    _all_nodes(world, client)
    return seconds


def worker_stopped(world: World, client: Client, i: int) -> float:
    """From the stop of one worker, which Ray never notices, until its attempt is given up."""
    return _stopped(world, client, f"worker-{i}", "worker")


def supervisor_stopped(world: World, client: Client, i: int) -> float:
    return _stopped(world, client, f"supervisor-{i}", "supervisor")


def drained(world: World, client: Client, i: int) -> float:
    """From Ray's own notice for a node until nothing of ours is there."""
    work = _run(client, f"drained-{i}", n=1, grace=20)
    (node,) = work.planned_nodes
    began_s = time.monotonic()
    world.drain(node, 20.0)
    eventually(lambda: client.get(work.id).attempts[0].outcome == "preempted", timeout_s=60, every_s=0.05)
    seconds = time.monotonic() - began_s
    _runs_again(client, work, 1)
    world.kill_node(node)
    world.join()
    _all_nodes(world, client)
    return seconds


def yielded(world: World, client: Client, i: int) -> float:
    """From the notice until the resources are free, of work that saves at once (its grace is 10 s)."""
    return _preempted(world, client, _run(client, f"yields-{i}", n=1, grace=10))


def deaf(world: World, client: Client, i: int) -> float:
    """From the end of a grace of 3 s until the resources of work that does not heed the notice are free."""
    return _preempted(world, client, _run(client, f"deaf-{i}", n=1, grace=3, deaf=True)) - 3.0


MEASURES: tuple[tuple[str, Callable[[World, Client, int], float]], ...] = (
    ("control plane killed, until one acts", plane_back),
    ("preemption notice, until the resources are free (saves at once)", yielded),
    ("end of the grace, until the resources are free (heeds nothing)", deaf),
    ("Ray's notice for a node, until it is empty", drained),
    ("raylet killed, until its gang runs whole elsewhere", node_lost),
    ("worker stopped, until its attempt is given up", worker_stopped),
    ("supervisor stopped, until its attempt is given up", supervisor_stopped),
    ("node stopped, until its gang runs whole elsewhere", node_stopped),
)


def _run(client: Client, name: str, n: int, **others: Any) -> WorkloadView:
    workers = {"num_workers": n, "resources_per_worker": {"CPU": 1}, "placement_strategy": "STRICT_SPREAD"}
    document = {"kind": "tick", "name": name, "effects": str(HOME / "effects"), "ticks": LONG, "gang": True}
    id = client.submit({**document, "workers": workers, **others}).workloads[0].id
    eventually(lambda: client.get(id).status == "RUNNING", timeout_s=90)
    return client.get(id)


def _runs_again(client: Client, gang: WorkloadView, n: int) -> None:
    def look() -> bool:
        view = client.get(gang.id)
        return len(view.attempts) > 1 and view.status == "RUNNING" and len(view.actual_nodes or ()) == n

    eventually(look, timeout_s=120, every_s=0.05, what="the gang's next attempt")


def _stopped(world: World, client: Client, name: str, role: str) -> float:
    work = _run(client, name, n=2)
    pid = next(one.pid for one in world.living() if one.role == role)
    began_s = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: client.get(work.id).attempts[0].outcome == "lost", timeout_s=90, every_s=0.05)
    return time.monotonic() - began_s


def _preempted(world: World, client: Client, work: WorkloadView) -> float:
    import ray

    (node,) = work.planned_nodes
    node_id = world.nodes[node].node_id
    client.suspend(work.id)
    began_s = time.monotonic()

    def free() -> bool:
        left = ray._private.state.available_resources_per_node()
        return bool(left[node_id].get("CPU", 0) == 4)

    eventually(free, timeout_s=60, every_s=0.05, what="free resources")
    return time.monotonic() - began_s


def _all_nodes(world: World, client: Client) -> None:
    def look() -> bool:
        return sum(node.state == "ready" for node in client.nodes()) >= len(world.nodes)

    eventually(look, timeout_s=60, what="all nodes")
