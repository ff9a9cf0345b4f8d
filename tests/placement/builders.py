"""Short builders for planning problems, and small random ones for properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from placement.model import (
    Borrow,
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    NodeState,
    Plan,
    Policy,
    PreemptionPolicy,
    Problem,
    Reclaim,
    Resources,
    Running,
    Selector,
    Tenant,
    TenantId,
    Topology,
    Within,
    parse_amount,
)

Amounts = Mapping[str, object]
DEFAULT_POLICY = Policy()


def node(name: str, labels: Mapping[str, str] | None = None, state: str = "ready", **resources: object) -> Node:
    """Return a node: ``node("a", gpu=4)``."""
    return Node(NodeId(name), amounts(resources), tuple(sorted((labels or {}).items())), NodeState(state))


def amounts(resources: Amounts) -> Resources:
    """Return resources; ``gpu`` and ``cpu`` are Ray's ``GPU`` and ``CPU``."""
    return Resources.parse({_ray(name): value for name, value in resources.items()})


def _ray(name: str) -> str:
    return name.upper() if name in ("gpu", "cpu") else name


def limits(resources: Amounts | None) -> tuple[tuple[str, int], ...] | None:
    """Return limits, in which a named 0 stays."""
    if resources is None:
        return None
    return tuple(sorted((_ray(name), parse_amount(_ray(name), value)) for name, value in resources.items()))


def tenant(
    name: str,
    quota: Amounts | None = None,
    parent: str | None = None,
    *,
    weight: float = 1.0,
    borrow_limit: Amounts | None = None,
    lend_limit: Amounts | None = None,
    limit: Amounts | None = None,
    preemption: PreemptionPolicy | None = None,
) -> Tenant:
    """Return a tenant: ``tenant("vision", {"gpu": 4})``."""
    return Tenant(
        TenantId(name),
        None if parent is None else TenantId(parent),
        weight,
        None if quota is None else amounts(quota),
        limits(borrow_limit),
        limits(lend_limit),
        limits(limit),
        preemption,
    )


def rules(within: str = "lower_priority", reclaim: str = "any", borrow: str = "never") -> PreemptionPolicy:
    """Return preemption rules by their words."""
    return PreemptionPolicy(Within(within), Reclaim(reclaim), Borrow(borrow))


def want(
    name: str,
    count: int = 1,
    *,
    tenant: str = "t",
    priority: int = 0,
    least: int | None = None,
    selector: Mapping[str, str] | None = None,
    pack: str | None = None,
    spread: str | None = None,
    required: bool = False,
    levels: Sequence[Topology] = (),
    submitted_s: float = 0.0,
    runtime_s: float | None = None,
    preemptible: bool = True,
    speed: Mapping[str, float] | None = None,
    **resources: object,
) -> Demand:
    """Return a demand of ``count`` like bundles: ``want("x", 2, gpu=2)``."""
    bundle = Bundle(amounts(resources), Selector.parse(selector or {}))
    if pack or spread:
        levels = (Topology("pack" if pack else "spread", str(pack or spread), required), *levels)
    return Demand(
        DemandId(name),
        TenantId(tenant),
        (bundle,) * count,
        priority,
        -1 if least is None else least,
        tuple(levels),
        submitted_s,
        runtime_s,
        None,
        tuple(sorted((speed or {}).items())),
        preemptible,
    )


def runs(demand: Demand, *nodes: str, started_s: float = 0.0) -> Running:
    """Return running work on its nodes; one node stands for all bundles."""
    at = nodes * len(demand.bundles) if len(nodes) == 1 else nodes
    return Running(demand, tuple(NodeId(name) for name in at), started_s)


def problem(
    nodes: Sequence[Node],
    tenants: Sequence[Tenant],
    pending: Sequence[Demand] = (),
    running: Sequence[Running] = (),
    *,
    now_s: float = 1000.0,
    policy: Policy = DEFAULT_POLICY,
    foreign: Mapping[str, Resources] | None = None,
) -> Problem:
    return Problem(
        tuple(nodes),
        tuple(tenants),
        tuple(running),
        tuple(pending),
        now_s,
        policy,
        {NodeId(name): used for name, used in (foreign or {}).items()},
    )


def admitted(plan: Plan) -> set[str]:
    return {str(grant.demand) for grant in plan.grants}


def stopped(plan: Plan) -> set[str]:
    return {str(preemption.demand) for preemption in plan.preemptions}


# Random small problems

_POLICIES = [
    rules(),
    rules(reclaim="lower_priority"),
    rules(within="lower_or_newer", borrow="lower_priority"),
    rules(within="never", reclaim="any", borrow="fair"),
    rules(within="never", reclaim="never"),
]
_TREES = [
    [("a", None)],
    [("a", None), ("b", None)],
    [("a", None), ("b", None), ("c", None)],
    [("p", None), ("a", "p"), ("b", "p"), ("c", None)],
    [("p", None), ("q", None), ("a", "p"), ("b", "q"), ("c", "q")],
]


@st.composite
def problems(draw: st.DrawFn, most_pending: int = 6, most_nodes: int = 4) -> Problem:
    """Small clusters that are often full, with a tree, rules of all kinds and work that already runs."""
    nodes = [
        node(
            f"n{i}",
            {"rack": f"r{i % 2}", "zone": draw(st.sampled_from(["x", "y"]))},
            draw(st.sampled_from(["ready"] * 6 + ["draining", "down"])),
            gpu=draw(st.integers(1, 4)),
            cpu=draw(st.integers(2, 8)),
        )
        for i in range(draw(st.integers(1, most_nodes)))
    ]
    tree = draw(st.sampled_from(_TREES))
    inner = {parent for _, parent in tree}
    tenants = [draw(_tenants(name, parent, name in inner)) for name, parent in tree]
    leaves = [name for name, _ in tree if name not in inner]
    running = draw(_running(nodes, leaves))
    pending = [draw(_wanted(f"w{i}", leaves)) for i in range(draw(st.integers(1, most_pending)))]
    return problem(nodes, tenants, pending, running, policy=Policy(backfill=draw(st.booleans())))


@st.composite
def _tenants(draw: st.DrawFn, name: str, parent: str | None, is_inner: bool) -> Tenant:
    maybe = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 3).map(lambda n: {"gpu": n}))
    quota = st.builds(lambda g, c: {"gpu": g, "cpu": c}, st.integers(0, 4), st.integers(0, 8))
    return tenant(
        name,
        draw(st.one_of(st.none(), quota)) if is_inner else draw(quota),
        parent,
        weight=draw(st.sampled_from([1.0, 1.0, 2.0])),
        borrow_limit=draw(maybe),
        lend_limit=draw(maybe),
        limit=draw(st.one_of(st.none(), st.none(), st.none(), st.integers(2, 6).map(lambda n: {"gpu": n}))),
        preemption=draw(st.sampled_from(_POLICIES)),
    )


@st.composite
def _wanted(draw: st.DrawFn, name: str, leaves: Sequence[str]) -> Demand:
    count = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["", "", "", "pack", "spread"]))
    return want(
        name,
        count,
        tenant=draw(st.sampled_from(leaves)),
        priority=draw(st.integers(0, 2)),
        least=draw(st.one_of(st.none(), st.none(), st.integers(1, count))),
        selector=draw(st.sampled_from([None, None, None, {"zone": "x"}, {"zone": "!x"}])),
        pack="rack" if kind == "pack" else None,
        spread="node" if kind == "spread" else None,
        required=draw(st.booleans()),
        submitted_s=draw(st.sampled_from([0.0, 0.0, 500.0, 900.0])),
        runtime_s=draw(st.sampled_from([None, 100.0, 500.0])),
        preemptible=draw(st.sampled_from([True, True, False])),
        gpu=draw(st.sampled_from([0, 0.3, 0.5, 0.6, 1, 1, 2])),
        cpu=draw(st.integers(0, 3)),
    )


@st.composite
def _running(draw: st.DrawFn, nodes: Sequence[Node], leaves: Sequence[str]) -> list[Running]:
    """Work that fits where it runs, GPUs in whole ones or halves so that devices are never in doubt."""
    free = {n.id: dict(n.resources.items()) for n in nodes}
    out = []
    for i in range(draw(st.integers(0, 6))):
        demand = want(
            f"r{i}",
            draw(st.integers(1, 2)),
            tenant=draw(st.sampled_from(leaves)),
            priority=draw(st.integers(0, 2)),
            least=1,
            runtime_s=draw(st.sampled_from([None, 2000.0])),
            preemptible=draw(st.sampled_from([True, True, True, False])),
            gpu=draw(st.sampled_from([0.5, 1, 1, 2])),
            cpu=draw(st.integers(0, 2)),
        )
        if draw(st.booleans()):
            demand = Demand(
                demand.id,
                demand.tenant,
                demand.bundles,
                demand.priority,
                runtime_s=demand.runtime_s,
                preemptible=demand.preemptible,
            )
        at: list[NodeId] = []
        for bundle in demand.bundles:
            able = [n for n in nodes if all(a <= free[n.id].get(r, 0) for r, a in bundle.resources.items())]
            if able:
                chosen = draw(st.sampled_from(able))
                at.append(chosen.id)
                for r, a in bundle.resources.items():
                    free[chosen.id][r] -= a
        if len(at) == len(demand.bundles):
            out.append(Running(demand, tuple(at), started_s=float(draw(st.integers(0, 999)))))
        else:
            for bundle, name in zip(demand.bundles, at, strict=False):
                for r, a in bundle.resources.items():
                    free[name][r] += a
    return out
