"""The judge names the law that a plan breaks, and finds nothing in a sound one."""

from __future__ import annotations

import pytest

from placement.check import violations
from placement.model import (
    Cause,
    DemandId,
    NodeId,
    Plan,
    Resize,
)
from tests.placement.builders import amounts, node, problem, rules, runs, tenant, want
from tests.placement.plans import Case, grant, stop, waits

T = tenant("t", {"gpu": 8})
TWO = [node("a", {"rack": "r1"}, gpu=2), node("b", {"rack": "r2"}, gpu=2)]
LOW = runs(want("low", gpu=2), "a")
HIGH = want("high", priority=5, gpu=2)

CASES = [
    Case("a sound plan", problem(TWO, [T], [want("x", 2, gpu=2)]), Plan((grant("x", "a", "b"),))),
    Case("more than a node has", problem(TWO, [T], [want("x", 2, gpu=2)]), Plan((grant("x", "a", "a"),)), {1}),
    Case("running work counts", problem(TWO, [T], [want("x", gpu=1)], [LOW]), Plan((grant("x", "a"),)), {1}),
    Case(
        "foreign use counts",
        problem(TWO, [T], [want("x", gpu=2)], foreign={"a": amounts({"gpu": 1})}),
        Plan((grant("x", "a"),)),
        {1},
    ),
    Case(
        "a draining node",
        problem([node("a", state="draining", gpu=2)], [T], [want("x", gpu=1)]),
        Plan((grant("x", "a"),)),
        {1},
    ),
    Case("an unknown node", problem(TWO, [T], [want("x", gpu=1)]), Plan((grant("x", "z"),)), {1}),
    Case(
        "two parts of 0.6 on one GPU",
        problem([node("a", gpu=1)], [T], [want("x", 2, gpu=0.6)]),
        Plan((grant("x", "a", "a"),)),
        {1},
    ),
    Case("two parts of 0.6 on two GPUs", problem(TWO, [T], [want("x", 2, gpu=0.6)]), Plan((grant("x", "a", "a"),))),
    Case(
        "three parts of 0.6 on two GPUs",
        problem(TWO, [T], [want("x", 3, gpu=0.6)]),
        Plan((grant("x", "a", "a", "a"),)),
        {1},
    ),
    Case(
        "a part beside whole ones",
        problem(TWO, [T], [want("x", gpu=1), want("y", 2, gpu=0.6)]),
        Plan((grant("x", "a"), grant("y", "a", "a"))),
        {1},
    ),
    Case("one and a half GPUs", problem(TWO, [T], [want("x", gpu=1.5)]), Plan((grant("x", "a"),)), {1}),
    Case("a gang with too few bundles", problem(TWO, [T], [want("x", 2, gpu=1)]), Plan((grant("x", "a"),)), {2}),
    Case("an elastic gang at its minimum", problem(TWO, [T], [want("x", 3, least=1, gpu=1)]), Plan((grant("x", "a"),))),
    Case(
        "against a selector",
        problem(TWO, [T], [want("x", gpu=1, selector={"rack": "r2"})]),
        Plan((grant("x", "a"),)),
        {2},
    ),
    Case(
        "a required pack torn apart",
        problem(TWO, [T], [want("x", 2, gpu=1, pack="rack", required=True)]),
        Plan((grant("x", "a", "b"),)),
        {2},
    ),
    Case(
        "a preferred pack torn apart",
        problem(TWO, [T], [want("x", 2, gpu=1, pack="rack")]),
        Plan((grant("x", "a", "b"),)),
    ),
    Case(
        "a required spread together",
        problem(TWO, [T], [want("x", 2, gpu=1, spread="node", required=True)]),
        Plan((grant("x", "a", "a"),)),
        {2},
    ),
    Case("a demand forgotten", problem(TWO, [T], [want("x", gpu=1)]), Plan(), {9}),
    Case(
        "a demand granted and waiting",
        problem(TWO, [T], [want("x", gpu=1)]),
        Plan((grant("x", "a"),), waiting=waits("x")),
        {9},
    ),
    Case("a grant for nobody", problem(TWO, [T], []), Plan((grant("x", "a"),)), {2}),
    Case(
        "the less important yields",
        problem(TWO[:1], [T], [HIGH], [LOW]),
        Plan((grant("high", "a"),), (stop("low", "high"),)),
    ),
    Case(
        "an equal may not be displaced",
        problem(TWO[:1], [T], [want("x", gpu=2)], [LOW]),
        Plan((grant("x", "a"),), (stop("low", "x"),)),
        {5},
    ),
    Case(
        "a victim that need not go",
        problem(TWO, [T], [HIGH], [LOW]),
        Plan((grant("high", "b"),), (stop("low", "high"),)),
        {7},
    ),
    Case("a victim for nobody", problem(TWO, [T], [], [LOW]), Plan((), (stop("low"),)), {4, 7}),
    Case(
        "what may not be preempted",
        problem(TWO[:1], [T], [HIGH], [runs(want("low", gpu=2, preemptible=False), "a")]),
        Plan((grant("high", "a"),), (stop("low", "high"),)),
        {10},
    ),
    Case(
        "a limit",
        problem(TWO, [tenant("t", {"gpu": 1}, limit={"gpu": 1})], [want("x", gpu=2)]),
        Plan((grant("x", "a"),)),
        {4},
    ),
    Case(
        "a borrow limit",
        problem(TWO, [tenant("t", {"gpu": 1}, borrow_limit={"gpu": 0})], [want("x", gpu=2)]),
        Plan((grant("x", "a"),)),
        {4},
    ),
    Case(
        "a lend limit",
        problem(TWO, [tenant("t"), tenant("o", {"gpu": 4}, lend_limit={"gpu": 1})], [want("x", gpu=2)]),
        Plan((grant("x", "a"),)),
        {4},
    ),
    Case(
        "a parent's limit",
        problem(TWO, [tenant("p", limit={"gpu": 1}), tenant("t", {"gpu": 2}, "p")], [want("x", gpu=2)]),
        Plan((grant("x", "a"),)),
        {4},
    ),
    Case(
        "reclaiming from a borrower",
        problem(TWO[:1], [T, tenant("o")], [want("x", gpu=2)], [runs(want("low", tenant="o", gpu=2), "a")]),
        Plan((grant("x", "a"),), (stop("low", "x", cause=Cause.RECLAIM),)),
    ),
    Case(
        "reclaiming where the rule is never",
        problem(
            TWO[:1],
            [tenant("t", {"gpu": 8}, preemption=rules(reclaim="never")), tenant("o")],
            [want("x", gpu=2)],
            [runs(want("low", tenant="o", gpu=2), "a")],
        ),
        Plan((grant("x", "a"),), (stop("low", "x", cause=Cause.RECLAIM),)),
        {4},
    ),
    Case(
        "a victim whose tenant is within its quota",
        problem(TWO[:1], [T, tenant("o", {"gpu": 2})], [want("x", gpu=2)], [runs(want("low", tenant="o", gpu=2), "a")]),
        Plan((grant("x", "a"),), (stop("low", "x", cause=Cause.RECLAIM),)),
        {10},
    ),
    Case(
        "a victim whose parent is within its quota",
        problem(
            TWO[:1],
            [T, tenant("p", {"gpu": 2}), tenant("o", {}, "p")],
            [want("x", gpu=2)],
            [runs(want("low", tenant="o", gpu=2), "a")],
        ),
        Plan((grant("x", "a"),), (stop("low", "x", cause=Cause.RECLAIM),)),
        {10},
    ),
    Case(
        "a borrower that displaces",
        problem(TWO[:1], [tenant("t"), tenant("o")], [HIGH], [runs(want("low", tenant="o", gpu=2), "a")]),
        Plan((grant("high", "a"),), (stop("low", "high"),)),
        {4},
    ),
    Case(
        "a resize that moves",
        problem(TWO, [T], [], [runs(want("e", 2, least=1, gpu=1), "a", "b")]),
        Plan(resizes=(Resize(DemandId("e"), 2, 1, (NodeId("b"),)),)),
        {12},
    ),
    Case(
        "a resize below the minimum",
        problem(TWO, [T], [], [runs(want("e", 2, gpu=1), "a", "b")]),
        Plan(resizes=(Resize(DemandId("e"), 2, 1, (NodeId("a"),)),)),
        {2},
    ),
    Case(
        "a shrink that need not be",
        problem(TWO, [T], [want("x", priority=1, gpu=1)], [runs(want("e", 2, least=1, gpu=1), "a", "b")]),
        Plan(
            (grant("x", "a"),), resizes=(Resize(DemandId("e"), 2, 1, (NodeId("a"),), Cause.PRIORITY, (DemandId("x"),)),)
        ),
        {7},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_judge_names_the_broken_law(case: Case) -> None:
    found = violations(case.problem, case.plan)
    assert {v.law for v in found} == case.laws, [str(v) for v in found]


def test_a_violation_says_law_subject_and_what() -> None:
    (found,) = violations(CASES[1].problem, CASES[1].plan)
    assert str(found) == "law 1: a would give 4000 of GPU, has 2000"
