"""Which of Ray's nodes can hold work, and what others use there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from aios.adapters.folder import Held
from aios.adapters.ray_nodes import observed_nodes
from aios.adapters.ray_private import Private
from placement.model import NodeId, NodeState, Resources


def row(id: str, alive: bool = True, **resources: float) -> Mapping[str, Any]:
    both = {"memory": 2.0**30, "object_store_memory": 1e8, f"node:{id}": 1.0, **resources}
    return {"NodeID": id, "Alive": alive, "Resources": both, "Labels": {}, "NodeName": id}


def private(free: Mapping[str, Mapping[str, float]] | None = None, draining: tuple[str, ...] = ()) -> Private:
    return Private(None if free is None else lambda: free, lambda: dict.fromkeys(draining, 0))


def test_a_node_holds_work_if_it_has_more_than_memory() -> None:
    rows = [row("head"), row("cpu", CPU=2), row("gpu", GPU=1), row("tpu", TPU=4), row("gone", alive=False, CPU=2)]
    assert [seen.node.id for seen in observed_nodes(rows, private(), ())] == ["cpu", "gpu", "tpu"]


def test_a_head_without_cpus_alone_is_no_node_at_all() -> None:
    assert observed_nodes([row("head", **{"node:__internal_head__": 1.0})], private(), ()) == ()


def test_use_by_others_is_what_is_not_free_and_not_ours() -> None:
    free = {"n1": {"CPU": 0.7, "memory": 2.0**30}}
    held = [Held(1, (NodeId("n1"),), (Resources.parse({"CPU": 2}),))]
    (seen,) = observed_nodes([row("n1", CPU=4, accelerator=2)], private(free), held)
    assert seen.foreign == Resources.parse({"CPU": 1.3, "accelerator": 2})


def test_parts_of_a_gpu_add_up_without_the_errors_of_floats() -> None:
    free = {"n1": {"GPU": 1.0 - 0.1 - 0.1 - 0.1, "CPU": 1.0, "memory": 2.0**30}}
    held = [Held(1, (NodeId("n1"),) * 3, (Resources.parse({"GPU": 0.1}),) * 3)]
    (seen,) = observed_nodes([row("n1", CPU=1, GPU=1)], private(free), held)
    assert seen.foreign == Resources()


def test_a_node_that_drains_is_said_to() -> None:
    (seen,) = observed_nodes([row("n1", CPU=1)], private(draining=("n1",)), ())
    assert (seen.node.state, seen.leaves_in_s) == (NodeState.DRAINING, None)


def test_a_spot_node_that_is_taken_away_says_in_how_long() -> None:
    soon = Private(None, lambda: {"n1": int((time.time() + 30) * 1000), "n2": 1})
    first, second = observed_nodes([row("n1", CPU=1), row("n2", CPU=1)], soon, ())
    assert first.leaves_in_s == pytest.approx(30, abs=5)
    assert second.leaves_in_s == 0
