"""Hand-made plans in short, and cases that say which laws one breaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from placement.model import Cause, DemandId, Grant, Move, NodeId, Plan, Preemption, Problem, Reason, Resize, Waiting

WAITS = Waiting(Reason.CAPACITY, "")


def grant(name: str, *nodes: str) -> Grant:
    return Grant(DemandId(name), tuple(NodeId(n) for n in nodes))


def stop(name: str, *winners: str, cause: Cause = Cause.PRIORITY) -> Preemption:
    return Preemption(DemandId(name), cause, tuple(DemandId(w) for w in winners))


def move(name: str, *nodes: str, to: str = "x", cost_s: float = 0.0) -> Move:
    return Move(DemandId(name), tuple(NodeId(n) for n in nodes), (DemandId(to),), cost_s)


def shrink(name: str, *nodes: str, before: int, to: str | None = None) -> Resize:
    winners = (DemandId(to),) if to else ()
    return Resize(DemandId(name), before, len(nodes), tuple(NodeId(n) for n in nodes), Cause.PRIORITY, winners)


def waits(*names: str) -> dict[DemandId, Waiting]:
    return {DemandId(name): WAITS for name in names}


@dataclass(frozen=True)
class Case:
    name: str
    problem: Problem
    plan: Plan
    laws: set[int] = field(default_factory=set)
