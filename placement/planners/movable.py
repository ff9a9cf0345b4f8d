"""What may be moved, and what a move costs: the work that is done again."""

from __future__ import annotations

from dataclasses import replace

from placement.model import Running

RECENT_S = 60.0
"""Work that started less than this ago is left where it is, so that nothing is moved time and again."""
RESTART_S = 60.0
"""What stopping and starting again takes, besides the work that is lost."""


def movable(run: Running, now_s: float) -> bool:
    """Return whether work may be moved; a start at 0, or in the future, says that nobody knows when it started."""
    recent = 0 < run.started_s <= now_s and now_s - run.started_s < RECENT_S
    return run.demand.preemptible and bool(run.nodes) and not recent


def again_s(run: Running, now_s: float) -> float:
    """Return the seconds that a restart throws it back: since its last checkpoint or its start, and the restart."""
    since_s = run.started_s if run.checkpointed_s is None else max(run.started_s, run.checkpointed_s)
    return max(0.0, now_s - since_s) + RESTART_S


def cost_s(run: Running, now_s: float) -> float:
    """Return the cost of moving it, in seconds times bundles: the whole gang starts again."""
    return again_s(run, now_s) * len(run.nodes)


def restarted(run: Running, now_s: float) -> Running:
    """Return the work as the future sees it once it has moved: it ends that much later."""
    runtime_s = run.demand.runtime_s
    if runtime_s is None:
        return run
    return replace(run, demand=replace(run.demand, runtime_s=runtime_s + again_s(run, now_s)))
