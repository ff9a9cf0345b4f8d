"""The laws as tables that every planner must pass: what starts, what yields, and what waits."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from placement.check import violations
from placement.model import NodeId, Policy, Problem, Running
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from tests.placement.builders import admitted, node, problem, rules, runs, stopped, tenant, want

PLANNERS: tuple[Planner, ...] = (Greedy(), CpSat())


@dataclass(frozen=True)
class Case:
    name: str
    problem: Problem
    starts: str = ""
    stops: str = ""
    nodes: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


T = tenant("t", {"gpu": 8})
FOUR = [node("a", gpu=4)]
PAIR = [node("a", {"rack": "1"}, gpu=2), node("b", {"rack": "2"}, gpu=2)]
NEWER = rules(within="lower_or_newer")


def _one(name: str, tenant: str, priority: int = 0, started_s: float = 0.0, on: str = "a", n: int = 1) -> Running:
    return runs(want(name, tenant=tenant, priority=priority, gpu=n), on, started_s=started_s)


CASES = [
    # 1, 2: capacity and gangs
    Case("a gang starts whole", problem(PAIR, [T], [want("x", 2, gpu=2)]), "x", nodes={"x": ["a", "b"]}),
    Case("a gang that does not fit waits whole", problem(PAIR, [T], [want("x", 3, gpu=2)])),
    Case("parts of a GPU do not span devices", problem([node("a", gpu=1)], [T], [want("x", 2, gpu=0.6)])),
    Case(
        "a required rack holds the gang",
        problem([*PAIR, node("c", {"rack": "2"}, gpu=1)], [T], [want("x", 3, gpu=1, pack="rack", required=True)]),
        "x",
        nodes={"x": ["b", "b", "c"]},
    ),
    Case("a preferred rack costs no admission", problem(PAIR, [T], [want("x", 3, gpu=1, pack="rack")]), "x"),
    Case(
        "a required spread keeps bundles apart",
        problem(PAIR, [T], [want("x", 2, gpu=1, spread="rack", required=True)]),
        "x",
        nodes={"x": ["a", "b"]},
    ),
    Case("a draining node gets nothing", problem([node("a", state="draining", gpu=2)], [T], [want("x", gpu=1)])),
    Case("selectors choose", problem(PAIR, [T], [want("x", gpu=1, selector={"rack": "!1"})]), "x", nodes={"x": ["b"]}),
    # 3: guarantees
    Case(
        "a guarantee reclaims from a borrower",
        problem(FOUR, [T, tenant("o")], [want("x", gpu=4)], [_one("r", "o", 9, n=4)]),
        "x",
        "r",
    ),
    Case(
        "only from lower priorities where the rule says so",
        problem(
            FOUR,
            [tenant("t", {"gpu": 4}, preemption=rules(reclaim="lower_priority")), tenant("o")],
            [want("x", gpu=4)],
            [_one("r", "o", 0, n=4)],
        ),
    ),
    Case("idle room comes first", problem(PAIR, [T, tenant("o")], [want("x", gpu=2)], [_one("r", "o", n=2)]), "x"),
    Case(
        "an inner tenant's guarantee serves its children",
        problem(
            FOUR,
            [tenant("p", {"gpu": 4}), tenant("t", {}, "p"), tenant("o")],
            [want("x", gpu=4)],
            [_one("r", "o", n=4)],
        ),
        "x",
        "r",
    ),
    Case(
        "an inner tenant within its guarantee protects its children",
        problem(FOUR, [tenant("p", {"gpu": 4}), tenant("o", {}, "p"), T], [want("x", gpu=4)], [_one("r", "o", n=4)]),
    ),
    # 4: borrowing
    Case(
        "idle room is borrowed",
        problem(FOUR, [tenant("t", {"gpu": 1}), tenant("o", {"gpu": 3})], [want("x", gpu=4)]),
        "x",
    ),
    Case(
        "not beyond the borrow limit",
        problem(FOUR, [tenant("t", {"gpu": 1}, borrow_limit={"gpu": 2})], [want("x", gpu=4)]),
    ),
    Case(
        "not beyond what is lent",
        problem(FOUR, [tenant("t"), tenant("o", {"gpu": 4}, lend_limit={"gpu": 1})], [want("x", gpu=2)]),
    ),
    Case(
        "not beyond the parent's limit",
        problem(FOUR, [tenant("p", limit={"gpu": 1}), tenant("t", {"gpu": 4}, "p")], [want("x", gpu=2)]),
    ),
    Case(
        "a borrower displaces nobody by default",
        problem(FOUR, [tenant("t"), tenant("o")], [want("x", priority=9, gpu=1)], [_one("r", "o", n=4)]),
    ),
    Case(
        "a borrower displaces lower priorities where it may",
        problem(
            FOUR,
            [tenant("t", preemption=rules(borrow="lower_priority")), tenant("o")],
            [want("x", priority=1, gpu=4)],
            [_one("r", "o", n=4)],
        ),
        "x",
        "r",
    ),
    Case(
        "a fair borrower makes the larger share smaller",
        problem(
            FOUR,
            [tenant("t", preemption=rules(borrow="fair")), tenant("o")],
            [want("x", gpu=1)],
            [_one(f"r{i}", "o", started_s=float(i)) for i in range(4)],
        ),
        "x",
        "r3",
    ),
    Case(
        "and stops where shares would only change places",
        problem(
            FOUR, [tenant("t", preemption=rules(borrow="fair")), tenant("o")], [want("x", gpu=4)], [_one("r", "o", n=4)]
        ),
    ),
    # 5: within a tenant
    Case(
        "the more important displaces the less important",
        problem(FOUR, [T], [want("x", priority=1, gpu=4)], [_one("r", "t", n=4)]),
        "x",
        "r",
    ),
    Case("not an equal", problem(FOUR, [T], [want("x", gpu=4)], [_one("r", "t", started_s=5, n=4)])),
    Case(
        "an equal that started later, where the rule says so",
        problem(
            FOUR,
            [tenant("t", {"gpu": 4}, preemption=NEWER)],
            [want("x", gpu=4, submitted_s=1)],
            [_one("r", "t", started_s=5, n=4)],
        ),
        "x",
        "r",
    ),
    # 7: least harm
    Case(
        "the lowest priority goes",
        problem(
            FOUR,
            [T],
            [want("x", priority=9, gpu=1)],
            [_one("r1", "t", 1), _one("r2", "t", 2), _one("r3", "t", 3), _one("r4", "t", 4)],
        ),
        "x",
        "r1",
    ),
    Case(
        "one low victim, not two",
        problem(
            FOUR, [T], [want("x", priority=9, gpu=2)], [_one("r1", "t", 0), _one("r2", "t", 1), _one("r3", "t", 1, n=2)]
        ),
        "x",
        "r3",
    ),
    Case(
        "the highest share goes among equals",
        problem(
            FOUR,
            [T, tenant("o"), tenant("q", {"gpu": 1})],
            [want("x", gpu=1)],
            [_one("r1", "o"), _one("r2", "o"), _one("r3", "q", started_s=8), _one("r4", "o")],
        ),
        "x",
        "r4",
    ),
    Case(
        "the last started goes among equals",
        problem(
            FOUR, [T, tenant("o")], [want("x", gpu=1)], [_one(f"r{i}", "o", started_s=float(10 - i)) for i in range(4)]
        ),
        "x",
        "r0",
    ),
    Case(
        "nobody goes where it does not help",
        problem(
            PAIR,
            [T],
            [want("x", priority=9, gpu=2)],
            [_one("a1", "t"), _one("a2", "t", 10), _one("b1", "t", on="b"), _one("b2", "t", 10, on="b")],
        ),
    ),
    Case(
        "elastic work shrinks before it stops",
        problem(PAIR, [T], [want("x", priority=1, gpu=2)], [runs(want("e", 2, least=1, gpu=2), "a", "b")]),
        "x",
        sizes={"e": 1},
    ),
    # 8: order
    Case("first come, first served", problem(FOUR, [T], [want("x", gpu=3, submitted_s=5), want("y", gpu=3)]), "y"),
    Case(
        "a blocked gang keeps its claim",
        problem(FOUR, [T], [want("big", gpu=4), want("small", gpu=1)], [_one("r", "t", n=2)]),
    ),
    Case(
        "shorter work passes it",
        problem(
            FOUR,
            [T],
            [want("big", gpu=4), want("small", gpu=1, runtime_s=50)],
            [runs(want("r", gpu=2, runtime_s=2000), "a")],
        ),
        "small",
    ),
    Case(
        "not where backfill is off",
        problem(
            FOUR,
            [T],
            [want("big", gpu=4), want("small", gpu=1, runtime_s=50)],
            [runs(want("r", gpu=2, runtime_s=2000), "a")],
            policy=Policy(backfill=False),
        ),
    ),
    Case(
        "longer work does not pass",
        problem(
            FOUR,
            [T],
            [want("big", gpu=4), want("small", gpu=1, runtime_s=5000)],
            [runs(want("r", gpu=2, runtime_s=2000), "a")],
        ),
    ),
    Case(
        "work that ends before the second gang can start passes",
        problem(
            FOUR,
            [T],
            [want("big", gpu=3, runtime_s=600), want("all", gpu=4, runtime_s=600), want("x", gpu=1, runtime_s=1000)],
            [runs(want("r", gpu=2, runtime_s=1600), "a")],
        ),
        "x",
    ),
    Case(
        "work that would delay the second gang does not",
        problem(
            FOUR,
            [T],
            [want("big", gpu=3, runtime_s=600), want("all", gpu=4, runtime_s=600), want("x", gpu=1, runtime_s=1300)],
            [runs(want("r", gpu=2, runtime_s=1600), "a")],
        ),
    ),
    Case(
        "a lender that cannot reclaim keeps its claim",
        problem(
            [node("a", gpu=2)],
            [tenant("t", {"gpu": 2}, preemption=rules(reclaim="never")), tenant("o")],
            [want("big", gpu=2), want("x", tenant="o", gpu=1)],
            [_one("r", "t")],
        ),
    ),
    Case(
        "a lender that can reclaim lets a borrower pass",
        problem(
            [node("a", gpu=2)],
            [tenant("t", {"gpu": 2}), tenant("o")],
            [want("big", gpu=2), want("x", tenant="o", gpu=1)],
            [_one("r", "t")],
        ),
        "x",
    ),
    Case(
        "what the gang could displace passes",
        problem(
            FOUR, [T], [want("big", priority=1, gpu=4), want("small", gpu=1)], [runs(want("r", priority=1, gpu=2), "a")]
        ),
        "small",
    ),
    Case(
        "what may not be preempted does not pass",
        problem(
            FOUR,
            [T],
            [want("big", priority=1, gpu=4), want("small", gpu=1, preemptible=False)],
            [runs(want("r", priority=1, gpu=2), "a")],
        ),
    ),
    Case(
        "another tenant's guarantee passes",
        problem(
            FOUR,
            [tenant("t", {"gpu": 2}), tenant("o", {"gpu": 2})],
            [want("big", gpu=4), want("small", tenant="o", gpu=1)],
            [_one("r", "t")],
        ),
        "small",
    ),
    Case(
        "a gang that never fits keeps nothing",
        problem(FOUR, [T], [want("big", gpu=9), want("small", gpu=1)], [_one("r", "t", n=2)]),
        "small",
    ),
    # elastic
    Case(
        "elastic work takes what is left",
        problem(FOUR, [T], [want("e", 8, least=1, gpu=1)], [_one("r", "t")]),
        "e",
        sizes={"e": 3},
    ),
    Case(
        "all start before one grows",
        problem(FOUR, [T], [want("e", 4, least=1, gpu=1), want("x", gpu=2)]),
        "e x",
        sizes={"e": 2},
    ),
    Case(
        "elastic work displaces for all it is guaranteed",
        problem(FOUR, [T, tenant("o")], [want("e", 4, least=1, gpu=1)], [_one("r", "o", n=2)]),
        "e",
        "r",
        sizes={"e": 4},
    ),
    Case(
        "running elastic work grows on what is idle",
        problem(PAIR, [T], [], [Running(want("e", 4, least=1, gpu=1), (NodeId("a"),))]),
        sizes={"e": 4},
    ),
]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: planner.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_planner_keeps_the_laws(case: Case, planner: Planner) -> None:
    plan = planner(case.problem, Budget())
    assert admitted(plan) == set(case.starts.split())
    assert stopped(plan) == set(case.stops.split())
    nodes = {str(grant.demand): sorted(grant.nodes) for grant in plan.grants}
    assert {name: nodes[name] for name in case.nodes} == case.nodes
    sizes = {str(g.demand): len(g.nodes) for g in plan.grants} | {str(r.demand): r.to for r in plan.resizes}
    assert {name: sizes[name] for name in case.sizes} == case.sizes
    assert violations(case.problem, plan) == ()
