"""One turn of the kernel: answer, notice, move on, adopt, reconcile, ask. Pure: the same input gives the same turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aios.kernel import limits
from aios.kernel.actions import Action
from aios.kernel.admit import admit
from aios.kernel.adopt import Judge, adopt
from aios.kernel.events import Event, WorkloadId
from aios.kernel.evolve import Fold
from aios.kernel.notice import notice, starts_by_s
from aios.kernel.ports import Answer, Asked, Observed
from aios.kernel.progress import PATIENCE_S, progress
from aios.kernel.queue import Ask, Proposed, ask, kept, live, next_round_s, resizes_s
from aios.kernel.reconcile import reconcile
from aios.kernel.resizing import LATE_S
from aios.kernel.retention import Keep, forget_nodes, retire
from aios.kernel.state import State
from placement.check import violations
from placement.model import Policy

POLICY = Policy()


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn brought.

    Attributes
    ----------
    events : tuple of Event
        To be made durable before anything else is done with the turn.
    ask : Ask or None
        The question whose answer would help now; the shell does not ask the same one twice.
    settled : bool
        ``ask`` is what the adopted plan leaves open: no new answer is to be had.
    wake_s : float or None
        When something falls due by itself: a back-off, a grace or the time to start that ends, the next round.
    """

    state: State
    events: tuple[Event, ...] = ()
    answers: tuple[Answer, ...] = ()
    actions: tuple[Action, ...] = ()
    ask: Ask | None = None
    settled: bool = False
    wake_s: float | None = None


def step(
    state: State,
    now_s: float,
    asked: Sequence[Asked],
    observed: Observed,
    plan: Proposed | None = None,
    *,
    policy: Policy = POLICY,
    judge: Judge = violations,
    keep: Keep | None = None,
    retiring: Sequence[WorkloadId] = (),
) -> Turn:
    """Return what follows from a state and everything new; of ``retiring``, what may leave the state leaves it."""
    fold = Fold(state)
    notice(fold, now_s, observed)
    answers = admit(fold, now_s, asked)
    progress(fold, now_s, observed)
    settled = plan is not None and adopt(fold, now_s, observed, plan, policy, judge)
    if keep is not None:
        retire(fold, now_s, keep, retiring)
        forget_nodes(fold, now_s, keep)
    asks = ask(fold.state, now_s, observed, policy)
    return Turn(
        fold.state,
        tuple(fold.events),
        answers,
        reconcile(fold.state, now_s, observed),
        asks,
        settled,
        _wake_s(fold.state, now_s, asks),
    )


def _wake_s(state: State, now_s: float, asks: Ask | None) -> float | None:
    round_s = None if asks is None else next_round_s(asks.problem)
    due: list[float] = [] if round_s is None else [round_s]
    for workload in live(state):
        attempt = workload.current
        if attempt is not None and attempt.deadline_s is not None:
            due.append(attempt.deadline_s)
        due.extend(limits.due_s(state, workload))
        if attempt is not None and attempt.resize_by_s is not None:
            due.extend((attempt.resize_by_s, attempt.resize_by_s + LATE_S))
        due.append(workload.not_before_s if attempt is None else starts_by_s(attempt))
        grows_s = resizes_s(workload, attempt) if attempt is not None else None
        if attempt is not None and grows_s is not None and len(attempt.nodes) < len(workload.held(attempt).bundles):
            due.append(grows_s)
    due.extend(one.until_s for one in state.quarantines.values())
    due.extend(moment for one in state.reservations.values() for moment in (one.starts_s, one.ends_s))
    due.extend(state.waits[id].at_s + PATIENCE_S for id in state.waits if kept(state, id))
    return min((due_s for due_s in due if now_s < due_s < float("inf")), default=None)
