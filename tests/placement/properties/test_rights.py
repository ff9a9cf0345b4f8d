"""Rights are asked for decision by decision: a planner that errs is put right by the judge, at the cost of others."""

from __future__ import annotations

import pytest
from ortools.sat.python import cp_model

from placement.model import Cause, Demand, NodeId, Problem, Tenant, TenantId, Topology
from placement.planners import rules as rights
from placement.planners.claims import Claim, asked, could_displace
from placement.planners.cpsat.batches import Batch, Gang
from placement.planners.cpsat.constraints import Programme
from placement.planners.fitting import place
from placement.planners.order import Step, next_step
from placement.planners.state import State, Victim
from placement.planners.tree import Tree
from tests.placement.builders import node, problem, rules, runs, tenant, want


@pytest.mark.parametrize(
    ("rule", "priority", "started_s", "may"),
    [
        ("never", 0, 900.0, False),
        ("lower_priority", 0, 100.0, True),
        ("lower_priority", 1, 900.0, False),
        ("lower_or_newer", 1, 900.0, True),
        ("lower_or_newer", 1, 100.0, False),
        ("lower_or_newer", 2, 900.0, False),
    ],
)
def test_whom_a_workload_may_displace_inside_its_tenant(rule: str, priority: int, started_s: float, may: bool) -> None:
    held = runs(want("r", priority=priority, gpu=1), "a", started_s=started_s)
    x = want("x", priority=1, gpu=1, submitted_s=500.0)
    p = problem([node("a", gpu=1)], [tenant("t", {"gpu": 1}, preemption=rules(rule))], [x], [held])
    state = State(p, Tree(p))
    assert rights.might_displace(state, x, Victim(held)) is may
    assert (rights.displacement(state, x, asked(x), [Victim(held)]) is not None) is may


@pytest.mark.parametrize(
    ("reclaim", "borrow", "quota", "priority", "cause"),
    [
        ("any", "never", 1, 0, Cause.RECLAIM),
        ("any", "never", 1, 9, Cause.RECLAIM),
        ("any", "never", 0, 0, None),
        ("never", "never", 1, 0, None),
        ("lower_priority", "never", 1, 0, Cause.RECLAIM),
        ("lower_priority", "never", 1, 9, None),
        ("never", "lower_priority", 0, 0, Cause.PRIORITY),
        ("never", "lower_priority", 0, 9, None),
        ("never", "fair", 0, 9, Cause.FAIRNESS),
    ],
)
def test_whom_a_workload_may_displace_in_other_tenants(
    reclaim: str, borrow: str, quota: int, priority: int, cause: Cause | None
) -> None:
    held = [runs(want(f"r{i}", tenant="o", priority=priority, gpu=1), "a") for i in range(4)]
    x = want("x", priority=1, gpu=1)
    tenants = [tenant("t", {"gpu": quota}, preemption=rules("never", reclaim, borrow)), tenant("o", {"gpu": 1})]
    p = problem([node("a", gpu=4)], tenants, [x], held)
    found = rights.displacement(State(p, Tree(p)), x, asked(x), [Victim(held[0])])
    assert (None if found is None else found[0][1]) is cause


def test_nobody_goes_while_its_tenant_is_within_its_quota_nor_against_its_will() -> None:
    firm = runs(want("firm", tenant="o", gpu=1, preemptible=False), "a")
    held = [runs(want(f"r{i}", tenant="o", gpu=1), "a") for i in range(2)]
    x = want("x", 3, gpu=1)
    p = problem([node("a", gpu=3)], [tenant("t", {"gpu": 3}), tenant("o", {"gpu": 2})], [x], [firm, *held])
    state = State(p, Tree(p))
    assert not rights.might_displace(state, x, Victim(firm))
    assert rights.might_displace(state, x, Victim(held[0]))
    assert rights.going_order(state, x, [Victim(held[0])]) is not None
    assert rights.going_order(state, x, [Victim(r) for r in held]) is None


def test_victims_go_from_the_lowest_priority_the_largest_borrower_and_the_last_that_started() -> None:
    o, u = tenant("o", {"gpu": 0}), tenant("u", {"gpu": 0}, weight=4.0)
    held = [
        runs(want("urgent", tenant="o", priority=2, gpu=1), "a", started_s=9.0),
        runs(want("old", tenant="o", gpu=1), "a", started_s=1.0),
        runs(want("new", tenant="o", gpu=1), "a", started_s=2.0),
        runs(want("light", tenant="u", gpu=1), "a", started_s=3.0),
    ]
    x = want("x", 4, priority=3, gpu=1)
    p = problem([node("a", gpu=4)], [tenant("t", {"gpu": 4}), o, u], [x], held)
    order = rights.preference(State(p, Tree(p)), x, [Victim(r) for r in held])
    assert [victim.id for victim in order] == ["new", "old", "light", "urgent"]


def test_one_urgent_victim_is_more_harm_than_two_others() -> None:
    def victims(*priorities: int) -> list[Victim]:
        return [Victim(runs(want(f"r{i}", priority=p, gpu=1), "a")) for i, p in enumerate(priorities)]

    def harm(*priorities: int) -> rights.Harm:
        chosen = victims(*priorities)
        return rights.harm(chosen, {victim: i for i, victim in enumerate(chosen)})

    assert harm(0, 0) < harm(1) < harm(0, 1) < harm(2)


def test_turns_go_by_guarantee_then_start_then_share_then_arrival() -> None:
    tenants = [tenant("t", {"gpu": 1}), tenant("o", {"gpu": 0}), tenant("u", {"gpu": 0}, weight=8.0)]
    held = [runs(want("ro", tenant="o", gpu=1), "a"), runs(want("ru", tenant="u", gpu=1), "a")]
    p = problem([node("a", gpu=8)], tenants, [], held)
    state = State(p, Tree(p))

    def step(name: str, who: str, arrival: int, gpus: int = 1, grows: bool = False) -> Step:
        demand = want(name, tenant=who, gpu=gpus)
        return Step(demand, (0.0, arrival), tuple(asked(demand).items()), grows)

    guaranteed, borrows, light = step("g", "t", 9), step("b", "o", 1), step("l", "u", 5)
    assert next_step(state, [borrows, guaranteed]) is guaranteed
    assert next_step(state, [borrows, light]) is light
    assert next_step(state, [step("grows", "u", 0, grows=True), borrows]) is borrows
    more_important = Step(want("m", priority=1), (0.0, 9), ())
    assert sorted([step("first", "t", 0), more_important], key=lambda s: s.rank)[0] is more_important


def test_a_newcomer_breaks_no_limit_though_its_victims_go() -> None:
    held = runs(want("r", tenant="o", gpu=1), "a")
    x = want("x", 2, gpu=1)
    p = problem([node("a", gpu=2)], [tenant("t", {"gpu": 2}, limit={"gpu": 1}), tenant("o")], [x], [held])
    assert rights.displacement(State(p, Tree(p)), x, asked(x), [Victim(held)]) is None


@pytest.mark.parametrize(("sizes", "fits"), [((2, 2), False), ((2, 1), True), ((3,), True), ((1, 1, 1), True)])
def test_the_programme_of_places_knows_what_nodes_have(sizes: tuple[int, ...], fits: bool) -> None:
    pending = [want(f"w{i}", gpu=size) for i, size in enumerate(sizes)]
    p = problem([node("a", gpu=3)], [tenant("t", {"gpu": 9})], pending)
    state = State(p, Tree(p))
    programme = Programme(state, Batch(tuple(Gang(d, 1, 1) for d in pending), (), state.rooms))
    for demand in pending:
        programme.model.add(programme.vars.starts[demand.id] == 1)
    assert (cp_model.CpSolver().solve(programme.model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)) is fits


def _solvable(p: Problem, newcomer: bool = False) -> bool:
    """Return whether all that waits can be placed by the programme alone, before any judge has a word."""
    tree = Tree(p)
    state = State(p, tree)
    victims = tuple(Victim(r) for r in p.running) if newcomer else ()
    batch = Batch(tuple(Gang(d, d.min_bundles, len(d.bundles)) for d in p.pending), victims, state.rooms)
    programme = Programme(state, batch, (p.pending[0], asked(p.pending[0])) if newcomer else None)
    for demand in p.pending:
        programme.model.add(programme.vars.starts[demand.id] == 1)
    return cp_model.CpSolver().solve(programme.model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)


RACKS = [node(f"n{i}", {"rack": f"r{i}"}, gpu=2) for i in range(2)]


@pytest.mark.parametrize(
    ("pending", "fits"),
    [
        ([want(f"p{i}", gpu=0.6) for i in range(5)], False),
        ([want(f"p{i}", gpu=0.6) for i in range(4)], True),
        ([want("x", 4, gpu=1, pack="rack", required=True)], False),
        ([want("x", 2, gpu=1, pack="rack", required=True)], True),
        ([want("x", 3, gpu=0.5, spread="rack", required=True)], False),
        ([want("x", 2, gpu=1, spread="rack", required=True)], True),
        ([want("y", 2, gpu=1), want("x", 2, gpu=1, levels=[Topology("spread", "rack", True, skew=1)])], True),
        (
            [
                want("y", gpu=2, selector={"rack": "r0"}),
                want("x", 2, gpu=1, levels=[Topology("spread", "rack", True, skew=1)]),
            ],
            False,
        ),
    ],
)
def test_the_programme_itself_keeps_devices_and_topologies(pending: list[Demand], fits: bool) -> None:
    assert _solvable(problem(RACKS, [tenant("t", {"gpu": 9})], pending)) is fits


@pytest.mark.parametrize(
    ("mine", "theirs", "fits"),
    [
        (tenant("t", {"gpu": 2}), tenant("o"), True),
        (tenant("t", {"gpu": 2}, limit={"gpu": 1}), tenant("o"), False),
        (tenant("t", {"gpu": 1}, borrow_limit={"gpu": 0}, preemption=rules(borrow="fair")), tenant("o"), False),
        (tenant("t", {"gpu": 1}), tenant("o", {"gpu": 0}), False),
        (tenant("t", {"gpu": 2}, preemption=rules(reclaim="never")), tenant("o"), False),
        (tenant("t", {"gpu": 2}), tenant("o", {"gpu": 2}), False),
    ],
)
def test_the_programme_itself_keeps_rights_and_limits(mine: Tenant, theirs: Tenant, fits: bool) -> None:
    held = [runs(want(f"r{i}", tenant="o", gpu=1), "a") for i in range(2)]
    p = problem([node("a", gpu=2)], [mine, theirs], [want("x", 2, gpu=1)], held)
    assert _solvable(p, newcomer=True) is fits


def test_limits_of_borrowing_and_lending_are_refused_by_name() -> None:
    tenants = [tenant("t", {"gpu": 1}, borrow_limit={"gpu": 1}), tenant("o", {"gpu": 3}, lend_limit={"gpu": 1})]
    tree = Tree(problem([node("a", gpu=4)], tenants))

    def refused(amount: int) -> str | None:
        found = tree.refusal(TenantId("t"), {TenantId("t"): {"GPU": amount * 1000}}, ("GPU",))
        return None if found is None else found[2]

    assert [refused(1), refused(2), refused(3)] == [None, None, "borrow_limit"]
    free = Tree(problem([node("a", gpu=4)], [tenant("t", {"gpu": 1}), tenants[1]]))
    assert free.refusal(TenantId("t"), {TenantId("t"): {"GPU": 3000}}, ("GPU",)) == ("t", "GPU", "lend_limit")


@pytest.mark.parametrize("state", ["draining", "down"])
def test_nothing_is_placed_on_a_node_that_takes_nothing(state: str) -> None:
    x = want("x", gpu=1)
    p = problem([node("a", state=state, gpu=1)], [tenant("t", {"gpu": 1})], [x])
    assert place(State(p, Tree(p)).rooms, {"GPU": 1000}, x, 1) is None


@pytest.mark.parametrize(("priority", "may"), [(0, True), (5, False)])
def test_who_waits_lets_those_pass_that_it_could_displace(priority: int, may: bool) -> None:
    waits, passer = want("w", gpu=1, priority=3), want("p", gpu=1, priority=priority)
    p = problem([node("a", gpu=1)], [tenant("t", {"gpu": 1})], [waits, passer])
    state = State(p, Tree(p))
    assert could_displace(Claim(waits, (0.0, 0.0, 0)), state, passer, (NodeId("a"),)) is may


def test_who_would_be_above_its_limit_could_not_displace_a_passer() -> None:
    waits, passer = want("w", 2, gpu=1), want("p", tenant="o", gpu=1)
    tenants = [tenant("t", {"gpu": 2}, limit={"gpu": 1}), tenant("o")]
    p = problem([node("a", gpu=2)], tenants, [waits, passer])
    assert not could_displace(Claim(waits, (0.0, 0.0, 0)), State(p, Tree(p)), passer, (NodeId("a"),))


def test_in_the_programme_work_that_stops_gives_up_all_and_work_that_shrinks_its_last() -> None:
    held = runs(want("r", 3, gpu=1, least=1), "a")
    p = problem([node("a", gpu=3)], [tenant("t", {"gpu": 3})], [want("x", gpu=1)], [held])
    state = State(p, Tree(p))

    def possible(stops: int, drops: dict[int, int]) -> bool:
        programme = Programme(state, Batch((Gang(p.pending[0], 1, 1),), (Victim(held),), state.rooms))
        programme.model.add(programme.vars.stops[held.demand.id] == stops)
        for i, goes in drops.items():
            programme.model.add(programme.vars.drops[held.demand.id, i] == goes)
        return cp_model.CpSolver().solve(programme.model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)

    assert possible(1, {1: 1, 2: 1})
    assert not possible(1, {2: 0})
    assert possible(0, {1: 0, 2: 1})
    assert not possible(0, {1: 1, 2: 0})
