"""What ended long ago leaves the state, so that it stays as large as what lives and ended lately.

An ended workload is *retired*: a short record of it stays (``Tombstone``), so that its id, its name and its idempotency
key stand for it for ever and those that need it still find it; everything else is read from the log when it is asked
for. A node that has been DOWN for long, with nothing on it, is *forgotten*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aios.kernel.events import NodeForgotten, Retired, WorkloadId
from aios.kernel.evolve import Fold
from aios.kernel.quarantine import WINDOW_S
from aios.kernel.queue import kept_nodes_of, live
from aios.kernel.state import State, Workload
from placement.model import NodeId

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is over stays in the state.

    Attributes
    ----------
    ended_s : float
        Workloads that ended longer ago are retired.
    ended_most : int
        Of those that ended, so many stay: the oldest are retired before their time ...
    least_s : float
        ... but none sooner than this after its end: who follows it shall see it.
    down_s : float
        Nodes that are DOWN for longer are forgotten.
    """

    ended_s: float = 7 * DAY_S
    ended_most: int = 10_000
    least_s: float = 60.0
    down_s: float = DAY_S

    def __post_init__(self) -> None:
        if min(self.ended_s, self.ended_most, self.least_s, self.down_s) < 0:
            raise ValueError(f"{self} has a number below 0; write how long, or how many, are kept")


def retirable(state: State, now_s: float, keep: Keep) -> tuple[WorkloadId, ...]:
    """Return the workloads that need not be in the state any more, those that ended first first.

    It walks all that ended: ask now and then, and take from the answer turn by turn.
    """
    over = sorted((w.finished_s, id) for id, w in state.workloads.items() if w.finished_s is not None)
    too_many = len(over) - keep.ended_most
    return tuple(
        id
        for nth, (finished_s, id) in enumerate(over)
        if (nth < too_many or finished_s < now_s - keep.ended_s)
        and may_retire(state.workloads[id], now_s, keep.least_s)
    )


def may_retire(workload: Workload, now_s: float, least_s: float) -> bool:
    """Return whether nobody looks at how a workload ended any more; its failures speak for or against nodes a while."""
    if workload.finished_s is None:
        return False
    return now_s - workload.finished_s > (max(least_s, WINDOW_S) if workload.failures else least_s)


def retire(fold: Fold, now_s: float, keep: Keep, asked: Sequence[WorkloadId]) -> None:
    """Retire those of the asked that may be: one event for all of them."""
    workloads = fold.state.workloads
    ids = tuple(id for id in asked if id in workloads and may_retire(workloads[id], now_s, keep.least_s))
    if ids:
        fold.record(Retired(now_s, ids))


def forget_nodes(fold: Fold, now_s: float, keep: Keep) -> None:
    """Forget the nodes that have been DOWN for long and on which nothing is believed to be."""
    state = fold.state
    gone = sorted(id for id, since_s in state.down_s.items() if now_s - since_s > keep.down_s)
    if gone:
        used = _used(state)
        for id in gone:
            if id not in used:
                fold.record(NodeForgotten(now_s, id))


def _used(state: State) -> frozenset[NodeId]:
    """Return the nodes that open attempts hold or were seen on, and those that are kept for somebody."""
    held: Iterable[NodeId] = (
        id for w in live(state) if (attempt := w.current) is not None for id in (*attempt.nodes, *attempt.actual)
    )
    return frozenset(held) | {id for nodes in kept_nodes_of(state).values() for id in nodes}
