"""A hint that was put to the planner is true, and what is foretold comes."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings

from placement.check import violations
from placement.explain import Explanation, explain
from placement.hints import verified
from placement.model import DemandId, Plan, Problem, Reason, Waiting
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.reasons import binding_reason
from placement.situation import Situation
from tests.placement.builders import admitted, node, problem, problems, runs, tenant, want


def _greedy(asked: Problem) -> Plan:
    return Greedy()(asked, Budget())


def _told(asked: Problem, name: str = "w") -> Explanation:
    return explain(asked, _greedy(asked), DemandId(name), _greedy)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_with_a_hint_granted_the_workload_starts(asked: Problem) -> None:
    plan = _greedy(asked)
    now = Situation(asked, plan)
    for name in plan.waiting:
        reason, _ = binding_reason(now, now.demands[name])
        for hint in verified(now, now.demands[name], reason, _greedy):
            relaxed = hint.relax(asked)
            answer = _greedy(relaxed)
            assert name in admitted(answer), hint.text
            assert not violations(relaxed, answer)


def test_a_node_that_others_would_take_is_no_hint_by_itself() -> None:
    """1: first and second both wait for a node. 2: One more goes to the first; so the second needs it gone too."""
    full = runs(want("r", gpu=8, preemptible=False), "a")
    asked = problem([node("a", gpu=8)], [tenant("t")], [want("first", gpu=8), want("w", gpu=8, submitted_s=9)], [full])
    quick = explain(asked, _greedy(asked), DemandId("w"))
    assert "there were 1 more node like a (8 GPU)" in quick.would_run_if
    tried = _told(asked)
    assert "there were 1 more node like a (8 GPU)" not in tried.would_run_if
    assert (
        "there were 1 more node like a (8 GPU), and the other waiting workload waited no longer" in tried.would_run_if
    )


HINTS = {
    "fewer bundles": (
        problem([node("a", gpu=8)], [tenant("t")], [want("w", 3, gpu=4)]),
        "it were content with 2 bundles instead of 3 (8 GPU)",
    ),
    "another type": (
        problem([node("a", {"ray.io/accelerator-type": "A100"}, gpu=8)], [tenant("t")],
                [want("w", gpu=8, selector={"ray.io/accelerator-type": "H100"})]),
        "it took ray.io/accelerator-type A100",
    ),
    "a higher limit": (
        problem([node("a", gpu=8)], [tenant("t", limit={"gpu": 4})], [want("w", gpu=8)]),
        "the limit of tenant t rose by 4 GPU",
    ),
    "a higher limit above it too": (
        problem([node("a", gpu=8)], [tenant("p", limit={"gpu": 6}), tenant("t", None, "p", limit={"gpu": 4})],
                [want("w", gpu=8)]),
        "the limit of tenant t rose by 4 GPU and the limit of tenant p rose by 2 GPU",
    ),
    "a node that comes back": (
        problem([node("a", gpu=8, state="draining"), node("b", gpu=4)], [tenant("t")], [want("w", gpu=8)]),
        "node a were ready (draining now)",
    ),
    "topology as a wish": (
        problem([node("a", {"rack": "1"}, gpu=4), node("b", {"rack": "2"}, gpu=4)], [tenant("t")],
                [want("w", 2, gpu=4, pack="rack", required=True)]),
        "its topology (pack rack) were preferred, not required",
    ),
    "others that end": (
        problem([node("a", gpu=8)], [tenant("t")], [want("w", gpu=8)],
                [runs(want("r", gpu=1, runtime_s=1600.0, preemptible=False), "a")]),
        "r ended (likely in 10 min)",
    ),
    "more nodes": (
        problem([node("a", gpu=8)], [tenant("t")], [want("w", 3, gpu=8)]),
        "there were 2 more nodes like a (8 GPU)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("asked, hint", HINTS.values(), ids=HINTS.keys())
def test_every_kind_of_hint_passes_the_trial(asked: Problem, hint: str) -> None:
    assert hint in _told(asked).would_run_if


# What is foretold


def test_when_and_after_whom_it_starts_is_foretold_from_known_run_times() -> None:
    running = [
        runs(want("long", gpu=4, runtime_s=4600.0, preemptible=False), "a", started_s=0.0),
        runs(want("short", gpu=4, runtime_s=1300.0, preemptible=False), "a", started_s=0.0),
    ]
    asked = problem([node("a", gpu=8)], [tenant("t")], [want("w", gpu=8)], running)
    told = _told(asked)
    assert (told.forecast.in_s, told.forecast.until, told.forecast.behind) == (3600.0, ("short", "long"), ())
    assert "it waits for short, long to end" in told.because
    assert "likely to start in 60 min, by the run times that are known" in told.because
    little = _told(replace(asked, pending=(want("w", gpu=4),)))
    assert (little.forecast.in_s, little.forecast.until) == (300.0, ("short",))


def test_who_is_ahead_is_named_and_counted_in() -> None:
    running = [runs(want("r", gpu=8, runtime_s=1100.0, preemptible=False), "a", started_s=0.0)]
    first = want("first", gpu=8, runtime_s=500.0, priority=1)
    told = _told(problem([node("a", gpu=8)], [tenant("t")], [first, want("w", gpu=8)], running))
    assert told.forecast.behind == ("first",)
    assert told.forecast.in_s == 600.0
    assert "ahead of it waits first" in told.because


def test_what_depends_on_an_unknown_run_time_is_not_foretold() -> None:
    told = _told(
        problem([node("a", gpu=8)], [tenant("t")], [want("w", gpu=8)], [runs(want("r", gpu=8, preemptible=False), "a")])
    )
    assert told.forecast.in_s is None
    assert told.because[-1] == "when it starts cannot be foretold: a run time is not known, or too many are ahead"


def test_what_can_never_run_is_not_foretold() -> None:
    told = _told(problem([node("a", gpu=8)], [tenant("t")], [want("w", gpu=9)]))
    assert told.forecast.sentences == ()


def test_one_of_hundreds_on_a_thousand_nodes_is_explained_in_bounded_time() -> None:
    pending = [want(f"w{i}", 8 + i % 40, gpu=8, submitted_s=float(i)) for i in range(300)]
    nodes = [node(f"n{i}", gpu=8) for i in range(1000)]
    running = [runs(want(f"r{i}", gpu=8, runtime_s=2000.0 + i), f"n{i}") for i in range(1000)]
    asked = problem(nodes, [tenant("t")], pending, running)
    plan = Plan(waiting={demand.id: Waiting(Reason.CAPACITY, "") for demand in pending})
    began_s = time.process_time()
    told = explain(asked, plan, DemandId("w250"))
    assert time.process_time() - began_s < 5
    assert told.would_run_if
    assert len(told.forecast.behind) == 250
