"""What the author of a scenario expects of its answer, and how an answer differs from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from placement.model import Plan, Problem, Reason
from placement.reading import Value

KEYS = (
    "admitted",
    "preempted",
    "waiting",
    "reasons",
    "nodes",
    "bundles",
    "preempted_count",
    "preempted_by_tenant",
    "moved",
    "moved_count",
)


@dataclass(frozen=True, slots=True)
class Expect:
    """Names are compared without order; None says nothing."""

    admitted: tuple[str, ...] | None = None
    preempted: tuple[str, ...] | None = None
    waiting: tuple[str, ...] | None = None
    reasons: tuple[tuple[str, Reason], ...] = ()
    nodes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    bundles: tuple[tuple[str, int], ...] = ()
    preempted_count: int | None = None
    preempted_by_tenant: tuple[tuple[str, int], ...] | None = None
    moved: tuple[str, ...] | None = None
    moved_count: int | None = None

    def __bool__(self) -> bool:
        return self != Expect()


def read_expect(fields: Mapping[str, Value]) -> Expect:
    """Read the ``expect`` section; raises ScenarioError."""
    return Expect(
        admitted=_words(fields.get("admitted")),
        preempted=_words(fields.get("preempted")),
        waiting=_words(fields.get("waiting")),
        reasons=tuple((name, value.choice(Reason)) for name, value in _entries(fields.get("reasons"))),
        nodes=tuple((name, _words(value) or ()) for name, value in _entries(fields.get("nodes"))),
        bundles=tuple((name, value.integer(0, 10**6)) for name, value in _entries(fields.get("bundles"))),
        preempted_count=fields["preempted_count"].integer(0, 10**6) if "preempted_count" in fields else None,
        preempted_by_tenant=tuple(
            (name, value.integer(0, 10**6)) for name, value in _entries(fields["preempted_by_tenant"])
        )
        if "preempted_by_tenant" in fields
        else None,
        moved=_words(fields.get("moved")),
        moved_count=fields["moved_count"].integer(0, 10**6) if "moved_count" in fields else None,
    )


def differences(expect: Expect, problem: Problem, plan: Plan) -> tuple[str, ...]:
    """Return what the plan does otherwise than expected, one sentence each; empty where all holds."""
    granted = {str(grant.demand): tuple(map(str, grant.nodes)) for grant in plan.grants}
    preempted = {str(preemption.demand) for preemption in plan.preemptions}
    waiting = {str(name): cause.reason for name, cause in plan.waiting.items()}
    out: list[str] = []
    if expect.admitted is not None and set(expect.admitted) != set(granted):
        out.append(f"admitted: expected {_set(expect.admitted)}, got {_set(granted)}")
    if expect.preempted is not None and set(expect.preempted) != preempted:
        out.append(f"preempted: expected {_set(expect.preempted)}, got {_set(preempted)}")
    if expect.waiting is not None and not set(expect.waiting) <= set(waiting):
        out.append(f"waiting: expected {_set(expect.waiting)}, got {_set(waiting)}")
    for name, reason in expect.reasons:
        got = waiting.get(name)
        if got is not reason:
            out.append(f"reasons: {name} expected {reason.value}, got {got.value if got else 'none'}")
    for name, places in expect.nodes:
        if Counter(places) != Counter(granted.get(name, ())):
            out.append(f"nodes: {name} expected {sorted(places)}, got {sorted(granted.get(name, ()))}")
    for name, count in expect.bundles:
        if len(granted.get(name, ())) != count:
            out.append(f"bundles: {name} expected {count}, got {len(granted.get(name, ()))}")
    if expect.preempted_count is not None and len(preempted) != expect.preempted_count:
        out.append(f"preempted_count: expected {expect.preempted_count}, got {len(preempted)}")
    if expect.preempted_by_tenant is not None:
        by_tenant = Counter(str(run.demand.tenant) for run in problem.running if run.demand.id in preempted)
        wanted = {name: count for name, count in expect.preempted_by_tenant if count}
        if by_tenant != wanted:
            out.append(f"preempted_by_tenant: expected {wanted}, got {dict(by_tenant)}")
    moved = {str(move.demand) for move in plan.moves}
    if expect.moved is not None and set(expect.moved) != moved:
        out.append(f"moved: expected {_set(expect.moved)}, got {_set(moved)}")
    if expect.moved_count is not None and len(moved) != expect.moved_count:
        out.append(f"moved_count: expected {expect.moved_count}, got {len(moved)}")
    return tuple(out)


def _words(value: Value | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(item.text() for item in value.items())


def _entries(value: Value | None) -> list[tuple[str, Value]]:
    return [] if value is None else list(value.entries().items())


def _set(names: object) -> str:
    assert isinstance(names, (tuple, set, dict))
    return f"[{', '.join(sorted(names))}]"
