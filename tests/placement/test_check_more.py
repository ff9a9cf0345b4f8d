"""The judge on other forms, label levels, moves, reservations, time slices and rights between tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from placement.check import violations
from placement.model import (
    ACCELERATOR_KEY,
    Bundle,
    Cause,
    Demand,
    DemandId,
    Move,
    Node,
    NodeId,
    NodeState,
    Objective,
    Plan,
    Policy,
    Preemption,
    Problem,
    Reservation,
    Resize,
    Running,
    Shape,
    Tenant,
    TenantId,
    Topology,
)
from tests.placement.builders import amounts, node, problem, rules, runs, tenant, want
from tests.placement.plans import Case, grant, move, shrink, stop, waits

T = tenant("t", {"gpu": 8})
TWO = [node("a", {"rack": "r1"}, gpu=2), node("b", {"rack": "r2"}, gpu=2)]
LOW = runs(want("low", gpu=2), "a")
HIGH = want("high", priority=5, gpu=2)
CASES: list[Case] = []
DRAINS = NodeState.DRAINING
RACKED = [node("a", {"rack": "r1"}, gpu=2), node("b", {"rack": "r2"}, gpu=2), node("c", {"rack": "r3"}, gpu=2)]
CHOOSY = [runs(want("m", gpu=1, selector={"rack": "r1"}), "a"), runs(want("o", gpu=1), "b")]

# Other forms

FORMS = replace(
    want("x", 4, gpu=1),
    alternatives=(Shape((Bundle(amounts({"gpu": 2})),) * 2, 1), Shape((Bundle(amounts({"gpu": 4})),))),
)


def formed(form: int, *nodes: str) -> Plan:
    return Plan((replace(grant("x", *nodes), form=form),))


CASES += [
    Case("another form", problem(TWO, [T], [FORMS]), formed(1, "a", "b")),
    Case("another form, at its own minimum", problem(TWO, [T], [FORMS]), formed(1, "a")),
    Case("another form with the first one's number", problem(TWO, [T], [FORMS]), formed(1, *"abab"), {2}),
    Case("another form that is too large for a node", problem(TWO, [T], [FORMS]), formed(2, "a"), {1}),
    Case("a form that there is not", problem(TWO, [T], [FORMS]), formed(3, "a"), {2}),
    Case("a form before the first", problem(TWO, [T], [FORMS]), formed(-1, "a"), {2}),
    Case(
        "a limit that only another form breaks",
        problem(TWO, [tenant("t", {"gpu": 3}, limit={"gpu": 3})], [replace(FORMS, min_bundles=1)]),
        formed(1, "a", "b"),
        {4},
    ),
]

# Several label levels

RACKS = [node(f"n{i}", {"rack": f"r{i // 2}", "zone": f"z{i // 4}"}, gpu=1) for i in range(8)]


def levels(*topologies: Topology) -> Problem:
    return problem(RACKS, [T], [want("x", 4, gpu=1, levels=topologies)])


def on(*numbers: int) -> Plan:
    return Plan((grant("x", *(f"n{i}" for i in numbers)),))


CASES += [
    Case("slices in racks", levels(Topology("pack", "rack", True, slice=2)), on(0, 1, 4, 5)),
    Case("a slice torn apart", levels(Topology("pack", "rack", True, slice=2)), on(0, 2, 1, 3), {2}),
    Case(
        "the second of two levels broken",
        levels(Topology("pack", "rack", True, slice=2), Topology("pack", "zone", True)),
        on(0, 1, 4, 5),
        {2},
    ),
    Case("balance", levels(Topology("spread", "zone", True, skew=1)), on(0, 1, 4, 5)),
    Case("out of balance", levels(Topology("spread", "zone", True, skew=1)), on(0, 1, 2, 4), {2}),
    Case("out of balance, as a wish", levels(Topology("spread", "zone", skew=1)), on(0, 1, 2, 4)),
]

# Of like newcomers those who take what is idle come first: only who comes after displaces, if its quota lets it

ONE_AND_TWO = [node("n0", gpu=1), node("n1", gpu=2)]
OWNS_TWO = tenant("a", {"gpu": 2}, preemption=rules(borrow="never"))
HOLDS = [runs(want("mine", tenant="a", gpu=1), "n0"), runs(want("theirs", tenant="b", gpu=1), "n1")]


def two_newcomers(owner: Tenant) -> Problem:
    pending = [want("w0", tenant="a", gpu=1), want("w1", tenant="a", gpu=1)]
    return problem(ONE_AND_TWO, [owner, tenant("b", {"gpu": 0})], pending, HOLDS)


def one_displaces(winner: str) -> Plan:
    return Plan((grant("w0", "n1"), grant("w1", "n1")), (stop("theirs", winner, cause=Cause.RECLAIM),))


CASES += [
    Case(
        "a third GPU of a tenant with two, the first newcomer displacing",
        two_newcomers(OWNS_TWO),
        one_displaces("w0"),
        {4},
    ),
    Case(
        "a third GPU of a tenant with two, the last one displacing", two_newcomers(OWNS_TWO), one_displaces("w1"), {4}
    ),
    Case(
        "a third GPU of a tenant with three",
        two_newcomers(replace(OWNS_TWO, quota=amounts({"gpu": 3}))),
        one_displaces("w1"),
    ),
]

# Moves

MIGRATES = Policy(migration=True)
SPLIT = [runs(want("m", gpu=1), "a"), runs(want("o", gpu=1), "b")]
WIDE = want("x", gpu=2)


def moving(
    *moves: Move, policy: Policy = MIGRATES, running: Sequence[Running] = SPLIT, nodes: Sequence[Node] = TWO
) -> tuple[Problem, Plan]:
    p = problem(nodes, [T], [WIDE], running, policy=policy)
    return p, Plan((grant("x", "a"),), moves=moves)


FIXED = [runs(want("m", gpu=1, preemptible=False), "a"), SPLIT[1]]
PACKED = [runs(want("m", 2, gpu=1, pack="rack", required=True), "a", "a")]
ROOMY = [*TWO, node("c", {"rack": "r2"}, gpu=2)]
THREE = [node("a", gpu=4), node("b", gpu=2), node("c", gpu=2)]
SWAPPED = [runs(want("m", gpu=2), "b"), runs(want("o", gpu=2), "c")]

CASES += [
    Case("a move that lets a gang in", *moving(move("m", "b"))),
    Case("a move where the policy allows none", *moving(move("m", "b"), policy=Policy()), {12}),
    Case("a move of what may not be preempted", *moving(move("m", "b"), running=FIXED), {10}),
    Case("a move that grows", *moving(move("m", "b", "b")), {12}),
    Case("a move for nobody", *moving(move("m", "b", to="nobody")), {12}),
    Case("a move for no reason", *moving(replace(move("m", "b"), beneficiaries=())), {12}),
    Case(
        "a move for somebody and nobody",
        *moving(replace(move("m", "b"), beneficiaries=(DemandId("x"), DemandId("nobody")))),
        {12},
    ),
    Case("a move to where it is", *moving(move("m", "a")), {1, 12}),
    Case("a move to an unknown node", *moving(move("m", "z")), {1}),
    Case("a move of what does not run", *moving(move("x", "b")), {12}),
    Case("a move twice", *moving(move("m", "b"), move("m", "b")), {12}),
    Case("a move onto a full node", *moving(move("m", "b"), running=[SPLIT[0], runs(want("o", gpu=2), "b")]), {1}),
    Case("a move onto a draining node", *moving(move("m", "b"), nodes=[TWO[0], replace(TWO[1], state=DRAINS)]), {1}),
    Case("a move that tears a gang apart", *moving(move("m", "b", "c"), running=PACKED, nodes=RACKED), {2}),
    Case("a move that keeps a gang together", *moving(move("m", "b", "b"), running=PACKED, nodes=RACKED)),
    Case("a move against a selector", *moving(move("m", "b"), running=CHOOSY), {2}),
    Case("a move that need not be", *moving(move("m", "b"), move("o", "c"), nodes=ROOMY), {12}),
    Case(
        "two that change places",
        problem(THREE, [T], [WIDE], SWAPPED, policy=MIGRATES),
        Plan((grant("x", "a"),), moves=(move("m", "c"), move("o", "b"))),
        {12},
    ),
]

# Moves in rounds: m and o have run since 0, it is 1000

ROUNDS = Policy(objective=Objective.GOODPUT, time_slice_s=1000.0)
FAST = {"v100": 2.0, "k80": 1.0}
TYPED = [node(name, {ACCELERATOR_KEY: kind}, gpu=1) for name, kind in (("v", "v100"), ("k", "k80"), ("l", "k80"))]


def in_rounds(
    *moves: Move, on: str = "v", stops: str = "", policy: Policy = ROUNDS, since_s: float = 0.0
) -> tuple[Problem, Plan]:
    """Return m on ``k`` and o on another node, of which ``stops`` goes for m."""
    running = [runs(want(name, gpu=1, speed=FAST), at, started_s=since_s) for name, at in (("m", "k"), ("o", on))]
    gone = (Preemption(DemandId(stops), Cause.TIME_SLICE, (DemandId("m"),)),) if stops else ()
    anew = tuple(replace(one, beneficiaries=()) for one in moves)
    return problem(TYPED, [T], [], running, policy=policy), Plan((), gone, moves=anew)


CASES += [
    Case("who has had its turn moves to where it is faster", *in_rounds(move("m", "v"), on="l")),
    Case("two that change places, and one is faster", *in_rounds(move("m", "v"), move("o", "k"))),
    Case("a move within a turn", *in_rounds(move("m", "v"), on="l", since_s=1.0), {12}),
    Case("a move to where it is no faster", *in_rounds(move("m", "l")), {12}),
    Case(
        "a move in rounds of other aims", *in_rounds(move("m", "v"), on="l", policy=Policy(time_slice_s=1000.0)), {12}
    ),
    Case("one that stops for one that moves", *in_rounds(move("m", "v"), stops="o")),
    Case("one that stops for one that stays", *in_rounds(stops="o"), {4, 7}),
]

# Reservations


def kept(*, starts_s: float = 1500.0, ends_s: float = 2000.0, tenants: tuple[str, ...] = (), demand: Demand) -> Problem:
    reserved = Reservation("r", (NodeId("a"),), starts_s, ends_s, tuple(TenantId(t) for t in tenants))
    nodes, everyone = [node("a", gpu=2), node("b", gpu=2)], [tenant("p"), tenant("t", {"gpu": 8}, "p")]
    return replace(problem(nodes, everyone, [demand]), reservations=(reserved,))


ON_A, ON_B = Plan((grant("x", "a"),)), Plan((grant("x", "b"),))
ONE = want("x", gpu=1)
BRIEF, LONG = want("x", gpu=1, runtime_s=500.0), want("x", gpu=1, runtime_s=501.0)
GROWS = replace(
    problem(TWO, [T], [], [runs(want("e", 2, least=1, gpu=1, runtime_s=2000.0), "b")]),
    reservations=(Reservation("r", (NodeId("a"),), 1500.0, 9000.0),),
)
GROWS = replace(GROWS, running=(replace(GROWS.running[0], nodes=(NodeId("b"),)),))
GROWTH = Plan(resizes=(Resize(DemandId("e"), 1, 2, (NodeId("b"), NodeId("a"))),))

CASES += [
    Case("beside a reserved node", kept(demand=ONE), ON_B),
    Case("on a reserved node, with no known end", kept(demand=ONE), ON_A, {1}),
    Case("on a reserved node, over in time", kept(demand=BRIEF), ON_A),
    Case("on a reserved node, a second too long", kept(demand=LONG), ON_A, {1}),
    Case("on a node that is reserved now", kept(demand=BRIEF, starts_s=900.0), ON_A, {1}),
    Case("on a node that was reserved", kept(demand=ONE, starts_s=0.0, ends_s=1000.0), ON_A),
    Case("on a node that is kept for it", kept(demand=ONE, starts_s=900.0, tenants=("t",)), ON_A),
    Case("on a node that is kept for its parent", kept(demand=ONE, tenants=("p",)), ON_A),
    Case("growth onto a reserved node", GROWS, GROWTH, {1}),
    Case(
        "growth onto a reserved node, over in time",
        replace(GROWS, reservations=(replace(GROWS.reservations[0], starts_s=2000.0),)),
        GROWTH,
    ),
    Case(
        "a move onto a reserved node",
        replace(moving(move("m", "b"))[0], reservations=(Reservation("r", (NodeId("b"),), 1500.0, 9000.0),)),
        moving(move("m", "b"))[1],
        {1},
    ),
]

# Time slices

TURNS = Policy(objective=Objective.GOODPUT, time_slice_s=600.0)
RAN = runs(want("low", gpu=2), "a", started_s=400.0)
TURN = Plan((grant("x", "a"),), (stop("low", "x", cause=Cause.TIME_SLICE),))


def turn(policy: Policy = TURNS, demand: Demand = WIDE, started_s: float = 400.0) -> Problem:
    return problem(TWO[:1], [T], [demand], [replace(RAN, started_s=started_s)], policy=policy)


CASES += [
    Case("equals take turns", turn(), TURN),
    Case("a turn that has not been long enough", turn(started_s=401.0), TURN, {5}),
    Case("a turn where work runs until it ends", turn(replace(TURNS, time_slice_s=None)), TURN, {5}),
    Case("a turn under the strict order", turn(replace(TURNS, objective=Objective.STRICT)), TURN, {5}),
    Case("a turn of the less important", turn(demand=want("x", gpu=2, priority=-1)), TURN, {5}),
    Case(
        "a turn of another tenant within its quota",
        problem(
            TWO[:1],
            [T, tenant("o", {"gpu": 2})],
            [WIDE],
            [runs(want("low", tenant="o", gpu=2), "a", started_s=400.0)],
            policy=TURNS,
        ),
        TURN,
        {10},
    ),
    Case(
        "a turn of another tenant above its quota",
        problem(
            TWO[:1],
            [tenant("t"), tenant("o")],
            [WIDE],
            [runs(want("low", tenant="o", gpu=2), "a", started_s=400.0)],
            policy=TURNS,
        ),
        TURN,
    ),
]

# Rights between tenants, and victims, further

FAIR = rules(within="never", borrow="fair")


def borrowers(borrow: str, ours: int, theirs: int, priority: int = 1) -> tuple[Problem, Plan]:
    """Tenant t wants one GPU more that o holds: of all GPUs t has ``ours`` and o ``theirs``."""
    tenants = [tenant("t", preemption=rules(borrow=borrow)), tenant("o")]
    at = [runs(want(f"o{i}", tenant="o", gpu=1), "n") for i in range(theirs)]
    at += [runs(want(f"t{i}", gpu=1), "n") for i in range(ours)]
    p = problem([node("n", gpu=ours + theirs)], tenants, [want("x", gpu=1, priority=priority)], at)
    return p, Plan((grant("x", "n"),), (stop("o0", "x"),))


CASES += [
    Case("a borrower displaces the less important", *borrowers("lower_priority", 0, 4)),
    Case("a borrower displaces an equal", *borrowers("lower_priority", 0, 4, priority=0), {4}),
    Case("a fair borrower displaces who has more", *borrowers("fair", 0, 4, priority=0)),
    Case("a fair borrower changes places with who has more", *borrowers("fair", 1, 2), {4}),
    Case("a fair borrower displaces who has as much", *borrowers("fair", 2, 2, priority=9), {4}),
    Case(
        "reclaiming from the more important where only lower ones may go",
        problem(
            TWO[:1],
            [tenant("t", {"gpu": 8}, preemption=rules(reclaim="lower_priority")), tenant("o")],
            [want("x", gpu=2)],
            [runs(want("low", tenant="o", gpu=2, priority=1), "a")],
        ),
        Plan((grant("x", "a"),), (stop("low", "x", cause=Cause.RECLAIM),)),
        {4},
    ),
    Case(
        "an equal that started later may go where the rule says so",
        problem(
            TWO[:1],
            [tenant("t", {"gpu": 8}, preemption=rules(within="lower_or_newer"))],
            [want("x", gpu=2, submitted_s=10.0)],
            [runs(want("low", gpu=2), "a", started_s=11.0)],
        ),
        Plan((grant("x", "a"),), (stop("low", "x"),)),
    ),
    Case(
        "an equal that started before may not",
        problem(
            TWO[:1],
            [tenant("t", {"gpu": 8}, preemption=rules(within="lower_or_newer"))],
            [want("x", gpu=2, submitted_s=10.0)],
            [runs(want("low", gpu=2), "a", started_s=10.0)],
        ),
        Plan((grant("x", "a"),), (stop("low", "x"),)),
        {5},
    ),
    Case(
        "a victim for who gets nothing",
        problem(TWO[:1], [T], [HIGH, want("y", gpu=2)], [LOW]),
        Plan((grant("high", "a"),), (stop("low", "high", "y"),), waiting=waits("y")),
        {7},
    ),
    Case(
        "two victims of whom the second is no longer above its quota",
        problem(
            [node("n", gpu=4)],
            [tenant("t", {"gpu": 4}), tenant("o", {"gpu": 3})],
            [want("x", gpu=2)],
            [runs(want(f"o{i}", tenant="o", gpu=1), "n") for i in range(4)],
        ),
        Plan((grant("x", "n"),), (stop("o0", "x"), stop("o1", "x"))),
        {10},
    ),
    Case(
        "shrinking what may not be preempted",
        problem(
            TWO[:1], [T], [want("x", priority=1, gpu=1)], [runs(want("e", 2, least=1, gpu=1, preemptible=False), "a")]
        ),
        Plan((grant("x", "a"),), resizes=(shrink("e", "a", before=2, to="x"),)),
        {10},
    ),
    Case(
        "a resize that does not say what it was",
        problem(TWO[:1], [T], [want("x", priority=1, gpu=1)], [runs(want("e", 2, least=1, gpu=1), "a")]),
        Plan((grant("x", "a"),), resizes=(shrink("e", "a", before=3, to="x"),)),
        {12},
    ),
    Case(
        "growth onto a draining node",
        replace(GROWS, nodes=(replace(TWO[0], state=DRAINS), TWO[1]), reservations=()),
        GROWTH,
        {1},
    ),
    Case("growth", replace(GROWS, reservations=()), GROWTH),
    Case("stopped and resized", GROWS, replace(GROWTH, preemptions=(stop("e"),)), {12}),
    Case("waiting without being pending", problem(TWO, [T], []), Plan(waiting=waits("x")), {9}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_judge_names_the_broken_law(case: Case) -> None:
    found = violations(case.problem, case.plan)
    assert {v.law for v in found} == case.laws, [str(v) for v in found]
