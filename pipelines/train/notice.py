"""Passes the notice of a preemption on to the workers of Ray Train, who hear it in Ray Train's own words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2.api.preemption import PreemptionInfo

LOOK_S = 0.25


class TellWorkers(WorkerGroupCallback):  # type: ignore[misc]  # Ray ships no types for it
    """Has ``ray.train.get_preemption_info()`` answer in every worker once the stop file is there.

    It runs in Ray Train's controller and does what Ray's own watcher does when a node drains, which knows nothing of
    preemption by a planner. All nodes of the gang are named: the whole gang yields.
    """

    def __init__(self, stop_file: Path) -> None:
        self._stop_file = stop_file

    def after_worker_group_start(self, worker_group: Any) -> None:
        workers = list(worker_group.get_workers())
        ranks: dict[str, list[int]] = {}
        for worker in workers:
            ranks.setdefault(worker.metadata.node_id, []).append(worker.distributed_context.world_rank)
        actors = [worker.actor for worker in workers]
        threading.Thread(target=self._tell, args=(actors, ranks), name="aios-notice", daemon=True).start()

    def _tell(self, actors: list[Any], ranks: dict[str, list[int]]) -> None:
        for _ in _every(LOOK_S):
            if self._stop_file.exists():
                break
        info = PreemptionInfo(deadline_ms=deadline_ms(self._stop_file), preempted_node_to_ranks=ranks)
        for actor in actors:
            try:
                actor.mark_preempt.remote(info)
            except RayError:  # that worker is gone already
                continue


def deadline_ms(stop_file: Path) -> int | None:
    """Return until when the attempt may save its progress (UNIX time in milliseconds); None where that is not said."""
    words = stop_file.read_text(encoding="utf-8").split()
    ends_s = float(words[1]) if len(words) > 1 else 0.0
    return int(ends_s * 1000) or None


def _every(seconds: float) -> Iterator[None]:
    pause = threading.Event()
    while not pause.wait(seconds):
        yield
