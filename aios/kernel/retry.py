"""What follows when an attempt has ended: done, over, or again after a while."""

from __future__ import annotations

from dataclasses import replace

from aios.kernel import limits
from aios.kernel.events import Finished, Outcome, Requeued
from aios.kernel.lifecycle import PREEMPTED_BY
from aios.kernel.state import TIME_LIMIT, Attempt, State, Status, Workload
from placement.model import Demand, NodeId, NodeState

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0
NO_USE = frozenset({106})
"""Exit codes of failures that every further attempt would come to as well: 106, a training that has diverged."""
MOST_LOST = 20
"""So many losses in a row without progress end a workload: whatever takes its nodes away, it will not get through."""


def after_end(workload: Workload, now_s: float) -> Requeued | Finished:
    """Return what becomes of a workload whose latest attempt has ended.

    Notes
    -----
    A failure of the user's code counts against ``max_retries``; a lost node or a preemption does not. The n-th
    failure waits ``min(2^(n-1), 300)`` seconds; the first loss in a row does not wait, the others as failures do, and
    ``MOST_LOST`` of them without progress between end it. ``max_attempts`` counts failures and losses alike.
    """
    attempt = workload.attempt
    assert attempt is not None, f"{workload.id}: no attempt was made"
    if attempt.outcome is Outcome.SUCCEEDED and not (workload.work.service and workload.stop_requested_s is not None):
        return Finished(now_s, workload.id, Status.SUCCEEDED.value, exit_code=attempt.exit_code)
    if workload.stop_requested_s is not None:
        return Finished(now_s, workload.id, Status.STOPPED.value, "StoppedByUser", workload.message)
    if workload.ending:
        message = limits.over_by(workload) if workload.ending == TIME_LIMIT else limits.past_deadline(workload)
        return Finished(now_s, workload.id, Status.FAILED.value, workload.ending, message)
    if attempt.outcome is Outcome.PREEMPTED:
        return Requeued(now_s, workload.id, PREEMPTED_BY.get(attempt.preempt_cause, "Preempted"))
    if attempt.outcome is Outcome.FAILED:
        return _after_failure(workload, attempt, now_s)
    if (over := _attempts_used(workload, now_s)) is not None:
        return over
    n_lost = lost_in_a_row(workload)
    if n_lost >= MOST_LOST:
        message = f"it was lost {n_lost} times in a row without progress; the last time: {attempt.error}"
        return Finished(now_s, workload.id, Status.FAILED.value, "LostTooOften", message)
    delay_s = 0.0 if n_lost <= 1 else backoff_s(n_lost - 1)
    return Requeued(now_s, workload.id, "NodeLost", now_s + delay_s)


def backoff_s(n_failures: int) -> float:
    """Return how long the next try waits after ``n_failures`` of them."""
    return float(min(FIRST_DELAY_S * 2.0 ** min(n_failures - 1, 30), LONGEST_DELAY_S))


def n_failed(workload: Workload) -> int:
    """Return how often the workload's own code failed."""
    return sum(attempt.outcome is Outcome.FAILED for attempt in workload.attempts)


def _after_failure(workload: Workload, attempt: Attempt, now_s: float) -> Requeued | Finished:
    failed, allowed = n_failed(workload), workload.work.max_retries
    if attempt.exit_code in NO_USE:
        return Finished(now_s, workload.id, Status.FAILED.value, "UserCodeError", attempt.error, attempt.exit_code)
    if failed <= allowed and (over := _attempts_used(workload, now_s)) is not None:
        return over
    if failed <= allowed:
        return Requeued(now_s, workload.id, "UserCodeError", now_s + backoff_s(failed))
    reason = "RetriesExhausted" if allowed else "UserCodeError"
    message = attempt.error or f"it ended with exit code {attempt.exit_code}"
    if allowed:
        message = f"failed {failed} times, {allowed} retries were allowed; the last time: {message}"
    return Finished(now_s, workload.id, Status.FAILED.value, reason, message, attempt.exit_code)


def _attempts_used(workload: Workload, now_s: float) -> Finished | None:
    """Return the end of a workload that has failed or been lost as often as it may be."""
    attempt, most = workload.attempt, workload.work.max_attempts
    if attempt is None or most is None or workload.failures < most:
        return None
    lost = workload.failures - n_failed(workload)
    message = f"{workload.failures} attempts failed or were lost ({lost} of them lost), and max_attempts is {most}"
    if attempt.error:
        message += f"; the last: {attempt.error}"
    return Finished(now_s, workload.id, Status.FAILED.value, "AttemptsExhausted", message, attempt.exit_code)


def lost_in_a_row(workload: Workload) -> int:
    """Return how many attempts were lost one after the other, none of which saved anything."""
    n = 0
    for attempt in reversed(workload.attempts):
        if attempt.outcome is not Outcome.LOST or attempt.resumed_step != workload.step:
            break
        n += 1
    return n


def elsewhere(state: State, workload: Workload, demand: Demand) -> Demand:
    """Return a demand that prefers nodes on which the workload has not just failed: where it was, it may be again."""
    here: set[NodeId] = set()
    for attempt in reversed(workload.attempts):
        if attempt.outcome not in (Outcome.FAILED, Outcome.LOST):
            break
        here.update(attempt.nodes)
    if not here:
        return demand
    wanted = demand.near or tuple(id for id in sorted(state.nodes) if state.nodes[id].state is NodeState.READY)
    elsewhere = tuple(id for id in wanted if id not in here)
    return replace(demand, near=elsewhere) if elsewhere else demand
