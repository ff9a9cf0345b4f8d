"""The simulated executor keeps the contract that the real one keeps (``tests/ray/test_adapter.py``)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aios.adapters.sim import SimExecutor
from aios.kernel.events import Work, WorkloadId
from placement.model import NodeId
from tests.support.building import node, want
from tests.support.executor_suite import ExecutorSuite


class SimWorld:
    """Two simulated nodes; work runs an hour, or until it is let end."""

    def __init__(self) -> None:
        self.executor = SimExecutor([node("n1", 2), node("n2", 2)], runtime=lambda work: self._runtime_s)
        self.nodes: Sequence[NodeId] = (NodeId("n1"), NodeId("n2"))
        self._runtime_s = 3600.0

    def work(self, name: str, n_bundles: int = 1) -> Work:
        new = want(name, n_bundles)
        return Work(WorkloadId(name), name, new.kind, new.tenant, 0, new.demand, "{}", new.content)

    def let_end(self, work: Work) -> None:
        self.executor.advance(self.executor.now_s() + self._runtime_s)

    def n_started(self, work: Work) -> int:
        return self.executor.effects.n_started


class TestSimExecutor(ExecutorSuite):
    @pytest.fixture
    def world(self) -> SimWorld:
        return SimWorld()
