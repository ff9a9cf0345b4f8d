"""Whether Ray failed, and not the code that ran on it."""

from __future__ import annotations

from collections.abc import Sequence

import ray
from ray.exceptions import RayError


def by_ray(error: BaseException) -> bool:
    """Return whether Ray, and not the code, failed somewhere in the chain of causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RayError) and not isinstance(seen, ray.exceptions.RayTaskError):
            return True
        if "WorkerGroup" in type(seen).__name__ or "WorkerHealth" in type(seen).__name__:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def dead(nodes: Sequence[str]) -> list[str]:
    """Return those of these nodes that Ray does not count as alive."""
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return sorted(set(nodes) - alive)
