"""Random clusters that are full and contested, with gangs of all sizes, to try the planner for large clusters on."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from placement.model import (
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    Objective,
    Policy,
    Problem,
    Resources,
    Running,
    Selector,
    Shape,
    Tenant,
    TenantId,
    Topology,
)
from tests.placement.builders import node, rules, tenant

POWERS = (1, 2, 4, 8)
ODD = (0, 0.5, 1, 1, 2, 3, 4, 6, 8)


@st.composite
def crowds(draw: st.DrawFn, odd: bool = True, most_nodes: int = 6, most_pending: int = 10) -> Problem:
    """Clusters of a few nodes with 4 or 8 GPUs, mostly in use by work that may yield.

    ``odd`` false: like nodes, sizes that are powers of two, no rules but quotas, one pool.
    """
    n_nodes = draw(st.integers(1, most_nodes))
    sizes = [draw(st.sampled_from((4, 8, 8, 6) if odd else (4, 8))) for _ in range(n_nodes)]
    nodes = [
        node(
            f"n{i}",
            {"rack": f"r{i % 2}", "kind": draw(st.sampled_from("xy"))} if odd else {"rack": f"r{i % 2}"},
            draw(st.sampled_from(["ready"] * 8 + ["draining", "down"])) if odd else "ready",
            gpu=size,
            cpu=draw(st.sampled_from((64, 16, 8))) if odd else 64,
        )
        for i, size in enumerate(sizes)
    ]
    tenants = _tenants(draw, odd)
    leaves = [t.id for t in tenants if t.id != "top"]
    running = _running(draw, nodes, leaves, odd)
    pending = [_pending(draw, f"p{i}", leaves, odd) for i in range(draw(st.integers(1, most_pending)))]
    return Problem(
        tuple(nodes), tuple(tenants), tuple(running), tuple(pending), 10_000.0, Policy(objective=Objective.WEIGHTED)
    )


def _tenants(draw: st.DrawFn, odd: bool) -> list[Tenant]:
    if not odd:
        mine = rules(reclaim="never")
        return [tenant(name, {"gpu": draw(st.integers(0, 16))}, preemption=mine) for name in ("a", "b")]
    limit = st.one_of(st.none(), st.none(), st.integers(0, 12).map(lambda n: {"gpu": n}))
    some = st.sampled_from(
        [
            None,
            None,
            rules("lower_or_newer"),
            rules(reclaim="lower_priority"),
            rules(borrow="lower_priority"),
            rules("never"),
        ]
    )
    tree = draw(st.booleans())
    out = [tenant("top", None if draw(st.booleans()) else {"gpu": 12}, limit=draw(limit))] if tree else []
    return out + [
        tenant(
            name,
            {"gpu": draw(st.integers(0, 12))},
            "top" if tree and name != "c" else None,
            borrow_limit=draw(limit),
            lend_limit=draw(limit),
            limit=draw(limit),
            preemption=draw(some),
        )
        for name in ("a", "b", "c")
    ]


def bundle(gpu: float, cpu: float = 0, **selector: str) -> Bundle:
    return Bundle(Resources.parse({"GPU": gpu, "CPU": cpu}), Selector.parse(selector))


def _pending(draw: st.DrawFn, name: str, leaves: Sequence[TenantId], odd: bool) -> Demand:
    gpu = draw(st.sampled_from(ODD if odd else POWERS))
    n = draw(st.integers(1, 4))
    selector = {"kind": draw(st.sampled_from(["x", "!x"]))} if odd and draw(st.integers(0, 4)) == 0 else {}
    first = bundle(gpu, draw(st.sampled_from((0, 1, 4))) if odd else 0, **selector)
    bundles: tuple[Bundle, ...] = (first,) * n
    if odd and draw(st.integers(0, 4)) == 0:
        bundles = (bundle(0, 2), *bundles)
    alternatives: tuple[Shape, ...] = ()
    if odd and draw(st.integers(0, 5)) == 0:
        alternatives = (Shape((bundle(1),) * 2, throughput=0.5),)
    topologies: tuple[Topology, ...] = ()
    if odd:
        topologies = draw(
            st.sampled_from(
                [
                    (),
                    (),
                    (),
                    (Topology("pack", "rack", True),),
                    (Topology("pack", "rack"),),
                    (Topology("spread", "node", True),),
                    (Topology("pack", "rack", True, slice=2),),
                ]
            )
        )
    return Demand(
        DemandId(name),
        draw(st.sampled_from(leaves)),
        bundles,
        draw(st.integers(0, 2)),
        draw(st.integers(1, len(bundles))) if draw(st.booleans()) else -1,
        topologies,
        submitted_s=float(draw(st.integers(0, 9_999))),
        alternatives=alternatives,
    )


def _running(draw: st.DrawFn, nodes: Sequence[Node], leaves: Sequence[TenantId], odd: bool) -> list[Running]:
    out: list[Running] = []
    for node_ in nodes:
        left = {name: amount // 1000 for name, amount in node_.resources.items()}
        for _ in range(draw(st.integers(0, 5))):
            gpu, n = draw(st.sampled_from((1, 2, 3, 4, 8) if odd else POWERS)), draw(st.integers(1, 2 if odd else 1))
            if gpu * n > left["GPU"] or n > left["CPU"]:
                continue
            left["GPU"] -= gpu * n
            left["CPU"] -= n
            demand = Demand(
                DemandId(f"r{len(out)}"),
                draw(st.sampled_from(leaves)),
                (bundle(gpu, 1),) * n,
                draw(st.integers(0, 2)),
                1 if odd and draw(st.booleans()) else -1,
                preemptible=draw(st.sampled_from([True, True, True, False])),
            )
            started = float(draw(st.integers(8_000, 9_999)))
            out.append(Running(demand, (NodeId(node_.id),) * n, started, started if draw(st.booleans()) else None))
    return out
