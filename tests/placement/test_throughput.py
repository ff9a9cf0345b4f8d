"""How fast a gang works where it is."""

from __future__ import annotations

import pytest

from placement.model import ACCELERATOR_KEY, Bundle, Demand, DemandId, Node, NodeId, Resources, Shape, TenantId
from placement.throughput import throughput, units

ONE = Bundle(Resources.parse({"GPU": 1, "CPU": 2}))
GPUS = Resources.parse({"GPU": 8})
FAST, SLOW = (Node(NodeId(name), GPUS, ((ACCELERATOR_KEY, name),)) for name in ("H", "K"))
PLAIN = Node(NodeId("plain"), GPUS)
DEMAND = Demand(
    DemandId("d"),
    TenantId("t"),
    (ONE,) * 4,
    min_bundles=1,
    speed=(("H", 2.0), ("K", 0.5)),
    scaling=((2, 0.6),),
    alternatives=(Shape((ONE,) * 2, throughput=0.8),),
)


@pytest.mark.parametrize(
    "nodes, form, rate",
    [
        ([PLAIN] * 4, 0, 1.0),
        ([FAST] * 4, 0, 2.0),
        ([FAST, FAST, SLOW, FAST], 0, 0.5),  # as fast as its slowest
        ([PLAIN] * 2, 0, 0.6),  # as its table says
        ([PLAIN], 0, 0.25),  # linear where it says nothing
        ([FAST] * 2, 1, 1.6),
    ],
)
def test_the_rate_of_a_gang(nodes: list[Node], form: int, rate: float) -> None:
    assert throughput(DEMAND, nodes, form) == pytest.approx(rate)


def test_accelerators_count_before_cpus() -> None:
    assert units(ONE.resources) == 1.0
    assert units(Resources.parse({"CPU": 3})) == 3.0
    assert units(Resources.parse({"memory": "1GiB"})) == 0.0
