"""Which worker is which bundle, and how Serve is held to the replicas per node of a plan."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipelines.run import actor_options, by_bundle, on_nodes
from pipelines.serve.layers import layers
from placement.model import Resources

NODES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=8)


@given(NODES, st.randoms())
def test_workers_on_the_planned_nodes_fill_exactly_their_bundles(planned: list[str], random: object) -> None:
    actual = list(planned)
    random.shuffle(actual)  # type: ignore[attr-defined]
    assert sorted(by_bundle(planned, actual)) == sorted(enumerate(planned))  # type: ignore[type-var]


def test_a_worker_elsewhere_is_the_bundle_that_nobody_filled() -> None:
    assert by_bundle(["a", "b", "b"], ["b", "x", "a"]) == [(1, "b"), (2, "x"), (0, "a")]


def test_a_worker_too_many_is_no_bundle() -> None:
    assert by_bundle(["a"], ["a", "a"]) == [(0, "a"), (None, "a")]


@given(NODES)
def test_layers_add_up_to_the_plan_and_the_first_covers_every_node(nodes: list[str]) -> None:
    found = layers(nodes)
    total: Counter[str] = Counter()
    for layer in found:
        total.update(dict.fromkeys(layer.nodes, layer.per_node))
    assert total == Counter(nodes)
    assert set(found[0].nodes) == set(nodes)


def test_one_node_is_named_and_several_are_a_set() -> None:
    assert on_nodes(["n1", "n1"]) == {"ray.io/node-id": "n1"}
    assert on_nodes(["n2", "n1"]) == {"ray.io/node-id": "in(n1,n2)"}


def test_a_bundle_becomes_an_actors_options() -> None:
    bundle = Resources.parse({"CPU": 0.5, "GPU": 1, "memory": "1GiB", "licence": 2})
    options = actor_options(bundle)
    assert options == {"num_cpus": 0.5, "num_gpus": 1.0, "memory": 2.0**30, "resources": {"licence": 2.0}}
    assert actor_options(Resources.parse({"CPU": 1})) == {"num_cpus": 1.0, "num_gpus": 0.0}
