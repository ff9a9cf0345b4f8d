"""Several label levels at once, slices and balance, by every planner, and as explanations tell them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.check import violations
from placement.explain import explain_plan
from placement.model import Demand, Node, Problem, Reason, Topology
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from placement.score import score
from tests.placement.builders import admitted, node, problem, tenant, want

PLANNERS: tuple[Planner, ...] = (Greedy(), CpSat())
T = tenant("t", {"gpu": 64})


def racks(*free: int, zones: str = "") -> list[Node]:
    """One node per number: rack i, with so many GPUs; ``zones`` names the zone of each."""
    return [node(f"n{i}", {"rack": f"r{i}", "zone": (zones or "z" * 99)[i]}, gpu=gpu) for i, gpu in enumerate(free)]


def pack(key: str, size: int = 0, required: bool = True) -> Topology:
    return Topology("pack", key, required, slice=size)


def spread(key: str, skew: int | None = None, required: bool = True) -> Topology:
    return Topology("spread", key, required, skew=skew)


@dataclass(frozen=True)
class Case:
    name: str
    nodes: list[Node]
    demand: Demand
    starts: bool = True
    counts: list[int] | None = None
    """How many bundles stand on each node, in the order of the nodes."""
    values: list[str] = field(default_factory=list)


CASES = [
    Case(
        "slices of 2 fill racks of 3", racks(3, 3, 2), want("x", 6, gpu=1, levels=[pack("rack", 2)]), counts=[2, 2, 2]
    ),
    Case("a slice does not straddle racks", racks(3, 3), want("x", 6, gpu=1, levels=[pack("rack", 2)]), starts=False),
    Case("a last slice may be short", racks(3, 2), want("x", 5, gpu=1, levels=[pack("rack", 2)]), counts=[3, 2]),
    Case(
        "all in one zone, slices in racks",
        racks(2, 2, 2, 3, zones="aabb"),
        want("x", 4, gpu=1, levels=[pack("zone"), pack("rack", 2)]),
    ),
    Case(
        "no zone has racks for all slices",
        racks(2, 1, 1, 3, zones="aabb"),
        want("x", 4, gpu=1, levels=[pack("zone"), pack("rack", 2)]),
        starts=False,
    ),
    Case(
        "slices in slices",
        racks(2, 2, 2, 2, 4, zones="aabbc"),
        want("x", 8, gpu=1, levels=[pack("zone", 4), pack("rack", 2)]),
    ),
    Case(
        "a required zone, a preferred rack that fits",
        racks(2, 4, 4, zones="aab"),
        want("x", 4, gpu=1, levels=[pack("zone"), pack("rack", required=False)]),
    ),
    Case(
        "a preferred rack costs no admission",
        racks(3, 3, 1, zones="aab"),
        want("x", 6, gpu=1, levels=[pack("zone"), pack("rack", required=False)]),
        counts=[3, 3, 0],
    ),
    Case("balanced over three", racks(4, 4, 4), want("x", 5, gpu=1, levels=[spread("rack", 1)]), counts=[2, 2, 1]),
    Case("balance within what there is", racks(9, 1), want("x", 4, gpu=1, levels=[spread("rack", 2)]), counts=[3, 1]),
    Case("no balance", racks(9, 1), want("x", 5, gpu=1, levels=[spread("rack", 2)]), starts=False),
    Case("a full value counts as none", racks(9, 0), want("x", 3, gpu=1, levels=[spread("rack", 2)]), starts=False),
    Case(
        "values that its selector shuts out do not count",
        racks(9, 1, zones="ab"),
        want("x", 5, gpu=1, selector={"zone": "a"}, levels=[spread("rack", 2)]),
        counts=[5, 0],
    ),
    Case(
        "even over zones, one on a node",
        racks(4, 4, 4, 4, zones="aabb"),
        want("x", 4, gpu=1, levels=[spread("zone", 1), spread("node")]),
        counts=[1, 1, 1, 1],
    ),
    Case(
        "pairs in racks, even over zones",
        racks(2, 2, 2, 2, 2, zones="aaabb"),
        want("x", 8, gpu=1, levels=[spread("zone", 1), pack("rack", 2)]),
    ),
    Case("a label that no node has", racks(4), want("x", 2, gpu=1, levels=[pack("switch", 2)]), starts=False),
    Case("balance over no label", racks(4), want("x", 2, gpu=1, levels=[spread("switch", 1)]), starts=False),
]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: planner.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_planner_keeps_levels(case: Case, planner: Planner) -> None:
    p = problem(case.nodes, [T], [case.demand])
    plan = planner(p, Budget())
    assert admitted(plan) == ({"x"} if case.starts else set())
    assert violations(p, plan) == ()
    if case.starts:
        wishes = sum(not level.required for level in case.demand.topologies)
        if case.counts is None and wishes:
            assert score(p, plan).locality == wishes
        if case.counts is not None:
            here = [plan.grants[0].nodes.count(n.id) for n in case.nodes]
            assert sorted(here, reverse=True) == sorted(case.counts, reverse=True)
    else:
        assert explain_plan(p, plan).waiting[case.demand.id].reason is not Reason.PRIORITY


def test_elastic_work_grows_slice_by_slice() -> None:
    demand = want("x", 6, least=2, gpu=1, levels=[pack("rack", 2)])
    p = problem(racks(3, 2), [T], [demand])
    for planner in PLANNERS:
        plan = planner(p, Budget())
        assert violations(p, plan) == ()
        assert len(plan.grants[0].nodes) == 5, "two pairs, and one more beside the pair that it begins"


def test_why_slices_wait_is_told() -> None:
    p = problem(racks(3, 3), [T], [want("x", 6, gpu=1, levels=[pack("rack", 2)])])
    why = next(iter(explain_plan(p, Greedy()(p, Budget())).waiting.values()))
    assert why.reason is Reason.TOPOLOGY
    assert "each 2 in a row within one rack" in why.detail


LEVELS = st.lists(
    st.sampled_from(
        [
            pack("zone"),
            pack("rack"),
            pack("rack", 2),
            pack("zone", 4),
            spread("node"),
            spread("rack", 1),
            spread("zone", 1),
            spread("zone", 2, required=False),
            pack("rack", required=False),
            pack("rack", 2, required=False),
        ]
    ),
    max_size=3,
)


@st.composite
def clusters(draw: st.DrawFn) -> Problem:
    nodes = [
        node(f"n{i}", {"rack": f"r{i // 2}", "zone": f"z{i // 4}"}, gpu=draw(st.integers(0, 3)))
        for i in range(draw(st.integers(1, 8)))
    ]
    pending = [
        want(f"w{i}", draw(st.integers(1, 5)), gpu=draw(st.sampled_from([1, 1, 2])), levels=draw(LEVELS))
        for i in range(draw(st.integers(1, 3)))
    ]
    return problem(nodes, [T], pending)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters())
def test_no_mix_of_levels_breaks_a_law(p: Problem) -> None:
    plans = [planner(p, Budget()) for planner in PLANNERS]
    for plan in plans:
        assert violations(p, plan) == ()
    assert score(p, plans[1]).service >= score(p, plans[0]).service


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters())
def test_a_wish_never_costs_an_admission(p: Problem) -> None:
    plain = replace(
        p, pending=tuple(replace(d, topologies=tuple(t for t in d.topologies if t.required)) for d in p.pending)
    )
    assert admitted(CpSat()(p, Budget())) == admitted(CpSat()(plain, Budget()))
