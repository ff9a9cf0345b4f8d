"""Why each workload waits, and why the others run where they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from placement.ageing import aged
from placement.forecast import Forecast, forecast
from placement.hints import MOST_SOLVES, verified, would_run_if
from placement.model import (
    Cause,
    Demand,
    DemandId,
    NodeId,
    Plan,
    Preemption,
    Problem,
    Reason,
    Selector,
    Topology,
    Waiting,
)
from placement.reasons import closest_form
from placement.situation import Situation

_RULES = {
    Cause.PRIORITY: "it is more important than",
    Cause.RECLAIM: "its tenant reclaims its guarantee from",
    Cause.FAIRNESS: "its tenant has had less than its share, unlike",
    Cause.NODE: "its node is leaving, which ends",
}


SMALL, LARGE = 600, 6_000
"""Nodes and workloads in all: up to the first every hint is tried out, up to the second a few, above it none."""
_FEW_SOLVES = 3

_NEVER_BY_WAITING = (Reason.UNSATISFIABLE, Reason.DRAINED)
"""What no end of other work would mend."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of one workload under a plan, and why.

    ``state`` is running, admitted, preempted, moved or waiting; ``reason`` and ``forecast`` only where it waits;
    ``because`` are sentences.
    """

    demand: DemandId
    state: str
    nodes: tuple[NodeId, ...] = ()
    reason: Reason | None = None
    because: tuple[str, ...] = ()
    would_run_if: tuple[str, ...] = ()
    forecast: Forecast = field(default_factory=Forecast)

    def __str__(self) -> str:
        reason = f" ({self.reason.value})" if self.reason is not None else ""
        lines = [f"{self.demand}: {self.state}{reason}"]
        lines += [f"  {sentence}" for sentence in self.because]
        lines += [f"  it would run if {hint}" for hint in self.would_run_if]
        return "\n".join(lines)


def explain_plan(problem: Problem, plan: Plan, most_hints: int = 100) -> Plan:
    """Return the plan with each waiting workload's binding reason, its numbers and what would let it run.

    Workloads that ask for the same under the same rules are explained once. Beyond ``most_hints`` kinds of them a
    wait is still explained, but what would end it is left to ``explain``, which is asked for one at a time.
    """
    if not plan.waiting:
        return plan
    now = Situation(aged(problem), plan)
    known: dict[tuple[object, ...], Waiting] = {}
    waiting = {}
    for name in plan.waiting:
        demand = now.demands[name]
        asked = (demand.bundles, demand.min_bundles, demand.topologies, demand.alternatives)
        key = (demand.tenant, demand.priority, asked, demand.runtime_s, demand.deadline_s)
        if key not in known:
            known[key] = _why_it_waits(now, demand, hints=len(known) < most_hints)
        waiting[name] = known[key]
    return replace(plan, waiting=waiting)


def explain(
    problem: Problem, plan: Plan, demand_id: DemandId, planner: Callable[[Problem], Plan] | None = None
) -> Explanation:
    """Return why a workload waits, yields or runs where it does; ``demand_id`` is one of the problem's.

    With a planner, every hint has been put to it: what is then said to let the workload run does so. Without one, and
    where the question is too large, a hint says that there would be room, which others may take.

    Raises
    ------
    KeyError
        The problem has no such workload.
    """
    now = Situation(aged(problem), plan)
    demand = now.demands[demand_id]
    if demand_id in plan.waiting:
        size = len(problem.nodes) + len(problem.running) + len(problem.pending)
        why = _why_it_waits(now, demand, hints=planner is None or size > LARGE)
        would = why.would_run_if
        if planner is not None and size <= LARGE:
            most = MOST_SOLVES if size <= SMALL else _FEW_SOLVES
            would = tuple(hint.text for hint in verified(now, demand, why.reason, planner, most))
        ahead = Forecast() if why.reason in _NEVER_BY_WAITING else forecast(now, demand)
        return Explanation(demand_id, "waiting", (), why.reason, (why.detail, *ahead.sentences), would, ahead)
    for preemption in plan.preemptions:
        if preemption.demand == demand_id:
            return Explanation(demand_id, "preempted", because=(_why_it_yields(now, preemption),))
    for move in plan.moves:
        if move.demand == demand_id:
            whom = ", ".join(move.beneficiaries)
            why_moved = (
                f"moves to {_counted(move.nodes)}, so that {whom} fits; it keeps its size",
                f"{move.cost_s:.0f} bundle-seconds of work are done again, the least that makes the room",
            )
            return Explanation(demand_id, "moved", move.nodes, because=why_moved)
    if demand_id in now.granted:
        nodes = now.granted[demand_id]
        return Explanation(demand_id, "admitted", nodes, because=_why_it_starts(now, demand, nodes))
    return _why_it_stays(now, demand)


def _why_it_waits(now: Situation, demand: Demand, hints: bool = True) -> Waiting:
    form, reason, detail = closest_form(now, demand)
    late = _too_late(now.problem.now_s, demand)
    return Waiting(reason, detail + late, would_run_if(now, demand.form(form), reason) if hints else ())


def _too_late(now_s: float, demand: Demand) -> str:
    """Return that its deadline can't be met any more, or nothing."""
    if demand.deadline_s is None:
        return ""
    fastest = max([1.0, *(factor for _, factor in demand.speed)])
    fastest *= max([1.0, *(shape.throughput for shape in demand.alternatives)])
    needs_s = (demand.runtime_s or 0.0) / fastest
    if now_s + needs_s <= demand.deadline_s:
        return ""
    left = f"it needs {needs_s:g} s, at the fastest" if demand.runtime_s else "that is over"
    return f"; its deadline at {demand.deadline_s:g} s cannot be met any more: {left}"


def _why_it_yields(now: Situation, preemption: Preemption) -> str:
    own = now.demands[preemption.demand]
    takers = [now.demands[name] for name in preemption.beneficiaries if name in now.demands]
    names = ", ".join(f"{taker.id} (tenant {taker.tenant}, priority {taker.priority})" for taker in takers[:3])
    if preemption.cause is Cause.RECLAIM:
        return f"tenant {own.tenant} was above its quota; {names} takes back what its tenant is guaranteed"
    if preemption.cause is Cause.FAIRNESS:
        return f"tenant {own.tenant} had the larger share; {names} evens it out"
    if preemption.cause is Cause.NODE:
        return "its node takes no more work"
    return f"{names or 'other work'} is more important than its priority {own.priority}"


def _why_it_starts(now: Situation, demand: Demand, nodes: Sequence[NodeId]) -> tuple[str, ...]:
    form = next((grant.form for grant in now.plan.grants if grant.demand == demand.id), 0)
    demand, forms = demand.form(form), 1 + len(demand.alternatives)
    out = [f"starts on {_counted(nodes)}", *_conditions(demand)]
    if forms > 1:
        earlier = "its most wanted" if not form else f"as no form before it can start; {forms - 1 - form} come after it"
        out.append(f"in form {form} of {forms}, {earlier}")
    if len(nodes) < len(demand.bundles):
        out.append(f"elastic: gets {len(nodes)} bundles now, of {demand.min_bundles} to {len(demand.bundles)}")
    displaced = [p for p in now.plan.preemptions if demand.id in p.beneficiaries]
    for cause in dict.fromkeys(p.cause for p in displaced):
        victims = ", ".join(p.demand for p in displaced if p.cause is cause)
        out += [f"{_RULES[cause]} {victims}, whose place it takes"]
    moved = [move.demand for move in now.plan.moves if demand.id in move.beneficiaries]
    if moved:
        out.append(f"{', '.join(moved)} {'moves' if len(moved) == 1 else 'move'} elsewhere to make its room")
    elif not displaced:
        out.append("there is room for it beside what runs; nobody yields")
    return tuple(out)


def _why_it_stays(now: Situation, demand: Demand) -> Explanation:
    run = now.alive[demand.id]
    out = [
        f"runs on {_counted(run.nodes)} since {run.started_s:g} s",
        "running work keeps its nodes unless it yields",
        *_conditions(demand),
    ]
    out += [
        f"{'shrinks' if r.to < r.before else 'grows'} from {r.before} to {r.to} bundles"
        for r in now.plan.resizes
        if r.demand == demand.id
    ]
    if not demand.preemptible:
        out.append("it may not be preempted")
    return Explanation(demand.id, "running", run.nodes, because=tuple(out))


def _conditions(demand: Demand) -> list[str]:
    out = []
    selectors = dict.fromkeys(bundle.selector for bundle in demand.bundles if bundle.selector != Selector())
    if selectors:
        out.append(f"these nodes have {'; '.join(map(str, selectors))}, as it asks")
    for topology in demand.topologies:
        wish = "" if topology.required else " where that costs nobody a place"
        out.append(f"its bundles are {_level(topology)}{wish}")
    return out


def _level(topology: Topology) -> str:
    if topology.skew is not None:
        return f"spread over {topology.key} in numbers that differ by at most {topology.skew}"
    if topology.kind == "spread":
        return f"each on another {topology.key}"
    slices = f", {topology.slice} in a row at a time" if topology.slice else ""
    return f"on one {topology.key}{slices}"


def _counted(nodes: Sequence[NodeId]) -> str:
    counts: dict[NodeId, int] = {}
    for node in nodes:
        counts[node] = counts.get(node, 0) + 1
    shown = [str(name) if n == 1 else f"{name} (x{n})" for name, n in counts.items()]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more nodes" if len(shown) > 8 else "")
