"""One kernel on a bench: turns by hand, with exactly what a test says is observed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from aios.kernel.events import Event, Outcome, WorkloadId
from aios.kernel.invariants import turn_violations, violations
from aios.kernel.ports import ApplyTenants, Asked, Observed, ObservedAttempt, ObservedNode, Phase, Reply, Request
from aios.kernel.queue import Ask, Proposed, problem, question
from aios.kernel.retention import Keep, retirable
from aios.kernel.state import State, Workload
from aios.kernel.step import Turn, step
from placement.model import (
    Cause,
    DemandId,
    Grant,
    Node,
    NodeId,
    Plan,
    Policy,
    Preemption,
    Reason,
    Resources,
    SolveStats,
    Waiting,
)
from tests.support.building import node, tenant

E_ = TypeVar("E_")
TWO_NODES = (node("n1"), node("n2"))


class Bench:
    """A state, a clock and what is observed: nodes, and attempts by workload name."""

    def __init__(self, nodes: Iterable[Node] = TWO_NODES, tenants: Sequence[str] = ("team",)) -> None:
        self.state, self.now_s = State(), 0.0
        self.nodes = list(nodes)
        self.leaves_in_s: dict[NodeId, float] = {}
        self.foreign: dict[str, Resources] = {}
        self.attempts: dict[str, ObservedAttempt] = {}
        self.complete = True
        self.last = Turn(self.state)
        self.policy = Policy()
        self.keep: Keep | None = None
        self.turn(ApplyTenants(tuple(tenant(name) for name in tenants)))

    def turn(self, *requests: Request, plan: Proposed | None = None, after_s: float = 1.0) -> Turn:
        """Take one turn, and check that nothing forbidden came of it."""
        self.now_s += after_s
        asked = [Asked(idx, request) for idx, request in enumerate(requests)]
        before = self.state
        old = () if self.keep is None else retirable(before, self.now_s, self.keep)
        self.last = step(
            before, self.now_s, asked, self.observed(), plan, policy=self.policy, keep=self.keep, retiring=old
        )
        self.state = self.last.state
        assert not turn_violations(before, self.last.events)
        assert not violations(self.state)
        return self.last

    def ask(self, request: Request) -> Reply:
        return self.turn(request).answers[0].reply

    def observed(self) -> Observed:
        nodes = tuple(
            ObservedNode(n, n.id, self.foreign.get(n.id, Resources()), self.leaves_in_s.get(n.id)) for n in self.nodes
        )
        return Observed(nodes, tuple(self.attempts[name] for name in sorted(self.attempts)), self.complete)

    def sees(self, name: str, phase: Phase = Phase.RUNNING, **others: Any) -> None:
        """Have the current attempt of a workload observed; its nodes are those planned, unless said."""
        workload = self[name]
        attempt = workload.attempt
        assert attempt is not None, f"{name} was not granted"
        seen = {"nodes": attempt.nodes, "attempt": attempt.number, "fence": attempt.fence, **others}
        self.attempts[name] = ObservedAttempt(workload=workload.id, phase=phase, **seen)

    def sees_end(self, name: str, outcome: Outcome = Outcome.SUCCEEDED, **others: Any) -> None:
        self.sees(name, Phase.ENDED, outcome=outcome, **others)

    def misses(self, name: str) -> None:
        self.attempts.pop(name, None)

    def plan(
        self,
        grants: Mapping[str, Sequence[str]] | None = None,
        preempt: Mapping[str, Sequence[str]] | None = None,
        waiting: Mapping[str, Reason] | None = None,
        asked_in: State | None = None,
    ) -> Proposed:
        """Return a plan over names, as an answer to the present question (or that of an earlier state)."""
        plan = Plan(
            grants=tuple(Grant(self.demand(n), tuple(map(NodeId, at))) for n, at in (grants or {}).items()),
            preemptions=tuple(
                Preemption(self.demand(n), Cause.PRIORITY, tuple(map(self.demand, for_whom)))
                for n, for_whom in (preempt or {}).items()
            ),
            waiting={self.demand(n): Waiting(why, f"{n} asks for more") for n, why in (waiting or {}).items()},
            stats=SolveStats("hand", "optimal"),
        )
        return self.answer(plan, asked_in)

    def answer(self, plan: Plan, asked_in: State | None = None) -> Proposed:
        """Return a plan as an answer to the present question (or that of an earlier state)."""
        now = problem(self.state if asked_in is None else asked_in, self.now_s, self.observed(), self.policy)
        return Proposed(plan, Ask(now, self.state.version, question(now)))

    def runs(self, name: str, *nodes: str) -> None:
        """Grant a workload and have it run."""
        self.turn(plan=self.plan({name: nodes}))
        self.sees(name)
        self.turn()

    def demand(self, name: str) -> DemandId:
        return DemandId(self[name].id)

    def id(self, name: str) -> WorkloadId:
        return self.state.names[name]

    def __getitem__(self, name: str) -> Workload:
        return self.state.workloads[self.id(name)]


def of_type(events: Iterable[Event], kind: type[E_]) -> list[E_]:
    return [event for event in events if isinstance(event, kind)]
