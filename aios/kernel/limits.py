"""How long a workload may run and until when it should be done: what follows when either is over.

A time limit counts running time over all attempts of a workload; waiting does not count. Its attempt is told to save
its progress a notice ahead, and has ended when the limit is reached. A deadline is a moment; passing it is said once,
and ends the workload only where its spec says so.
"""

from __future__ import annotations

from aios.kernel.events import DeadlineMissed, TimeLimitReached
from aios.kernel.replacing import replace
from aios.kernel.state import DEADLINE_MISSED, TIME_LIMIT, Attempt, State, Status, Workload
from placement.throughput import throughput

START_S = 600.0
"""How long an attempt may take from its grant until it runs; then it is lost, and others may have its place."""


def duration(seconds: float) -> str:
    """Return a length of time in the two largest units that it has: ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    first = next(i for i, (size, _) in enumerate(units) if whole >= size)
    parts = []
    for size, unit in units[first : first + 2]:
        n, whole = divmod(whole, size)
        parts += [f"{n} {unit}"] if n else []
    return " ".join(parts)


def reached(event: TimeLimitReached, workload: Workload) -> Workload:
    """Return a workload whose attempt was told that its time is over."""
    message = f"it runs up to its time limit of {duration(event.limit_s)}: it saves its progress and ends"
    return _told_to_end(workload, event.attempt, event.deadline_s, TIME_LIMIT, message)


def missed(event: DeadlineMissed, workload: Workload) -> Workload:
    """Return a workload that is, or will be, later than it should be."""
    if event.expected_s is not None:
        late = f"it would be done {duration(event.expected_s - event.deadline_s)} after its deadline at the earliest"
        return replace(workload, late=late)
    workload = replace(workload, late="its deadline has passed", overdue=True)
    attempt = workload.current
    if not event.stop or attempt is None:
        return workload
    message = "its deadline has passed: it saves its progress and ends"
    return _told_to_end(workload, attempt.number, event.until_s, DEADLINE_MISSED, message)


def _told_to_end(workload: Workload, number: int, until_s: float, why: str, message: str) -> Workload:
    attempt = workload.current
    if attempt is None or attempt.number != number:
        return workload
    until_s = until_s if attempt.deadline_s is None else min(until_s, attempt.deadline_s)
    attempts = (*workload.attempts[:-1], replace(attempt, deadline_s=until_s))
    return replace(workload, attempts=attempts, status=Status.STOPPING, ending=why, reason=why, message=message)


def over_by(workload: Workload) -> str:
    """Return the sentence with which a workload ends that has used up its time, empty where it has not."""
    limit_s = workload.work.time_limit_s
    if limit_s is None or (workload.ran_s < limit_s and workload.ending != TIME_LIMIT):
        return ""
    n = len(workload.attempts)
    ran = f"it ended at its time limit of {duration(limit_s)}, after {duration(workload.ran_s)} of running"
    tries = f" in {n} attempts" if n > 1 else ""
    saved = f"its progress is saved up to step {workload.step}" if workload.step else "no progress was saved"
    return f"{ran}{tries}; {saved}; give it a larger time_limit"


def past_deadline(workload: Workload) -> str:
    """Return the sentence with which a workload ends that was to stop at its deadline."""
    saved = f"; its progress is saved up to step {workload.step}" if workload.step else ""
    return f"its deadline has passed, and it says on_deadline: stop{saved}"


def facts(state: State, workload: Workload, now_s: float) -> tuple[TimeLimitReached | DeadlineMissed, ...]:
    """Return what is to be recorded now about a workload's time limit and deadline."""
    found = (_limit_fact(workload, now_s), _deadline_fact(state, workload, now_s))
    return tuple(fact for fact in found if fact is not None)


def due_s(state: State, workload: Workload) -> tuple[float, ...]:
    """Return the moments at which there may be something to record."""
    moments: list[float] = []
    attempt = workload.current
    if attempt is not None and (ends_s := _ends_by_s(workload, attempt)) is not None:
        moments.append(ends_s - _notice_s(workload))
    deadline_s = workload.work.demand.deadline_s
    if deadline_s is not None and not workload.overdue:
        moments.append(deadline_s)
        left_s = _left_s(state, workload)
        if left_s is not None and not workload.late and not _runs(workload):
            moments.append(deadline_s - left_s)
    return tuple(moments)


def _limit_fact(workload: Workload, now_s: float) -> TimeLimitReached | None:
    attempt = workload.current
    if attempt is None or attempt.deadline_s is not None:
        return None
    limit_s, ends_s = workload.work.time_limit_s, _ends_by_s(workload, attempt)
    if limit_s is None or ends_s is None or now_s < ends_s - _notice_s(workload):
        return None
    until_s = ends_s if now_s < ends_s else now_s + _notice_s(workload)  # nobody was there to say it in time
    return TimeLimitReached(now_s, workload.id, attempt.number, limit_s, until_s)


def _ends_by_s(workload: Workload, attempt: Attempt) -> float | None:
    """Return when a running attempt has used up its workload's time."""
    limit_s = workload.work.time_limit_s
    if limit_s is None or attempt.started_s is None:
        return None
    return attempt.started_s + limit_s - workload.ran_s


def _notice_s(workload: Workload) -> float:
    """Return how long before its end an attempt is told: its grace, but never more than half of the limit."""
    limit_s = workload.work.time_limit_s
    return workload.work.grace_s if limit_s is None else min(workload.work.grace_s, limit_s / 2)


def _deadline_fact(state: State, workload: Workload, now_s: float) -> DeadlineMissed | None:
    deadline_s = workload.work.demand.deadline_s
    if deadline_s is None or workload.overdue or workload.status.over:
        return None
    if now_s >= deadline_s:
        stop = workload.work.on_deadline == "stop" and not workload.ending and workload.stop_requested_s is None
        return DeadlineMissed(now_s, workload.id, deadline_s, None, stop, now_s + workload.work.grace_s)
    left_s = _left_s(state, workload)
    if left_s is None or workload.late:
        return None
    attempt = workload.current
    from_s = attempt.started_s if attempt is not None and attempt.started_s is not None else now_s
    return DeadlineMissed(now_s, workload.id, deadline_s, from_s + left_s) if from_s + left_s > deadline_s else None


def _runs(workload: Workload) -> bool:
    return workload.current is not None and workload.current.started_s is not None


def _left_s(state: State, workload: Workload) -> float | None:
    """Return how long it takes from the start of this attempt, or at best from now, by its own estimate."""
    estimate_s = workload.work.estimate_s
    if estimate_s is None or workload.work.service:
        return None
    attempt, demand = workload.current, workload.work.demand
    if attempt is not None and attempt.started_s is not None:
        nodes = [state.nodes[id] for id in attempt.nodes if id in state.nodes]
        rate = throughput(demand, nodes, attempt.form) if nodes else 1.0
    else:
        others = (shape.throughput for shape in demand.alternatives)
        rate = max(1.0, *(factor for _, factor in demand.speed), 0.0) * max(1.0, *others, 0.0)
    return max(0.0, estimate_s - workload.served_s) / rate if rate > 0 else None
