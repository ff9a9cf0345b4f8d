"""Clusters in short form and from scenario files."""

from __future__ import annotations

from pathlib import Path

import pytest

from placement.model import ACCELERATOR_KEY, Objective, Resources
from placement.sim.cluster import load_cluster, short_cluster


def test_a_short_form_lists_nodes_by_type() -> None:
    cluster = short_cluster("2xV100:4,1xK80:8:32:64GiB,1xCPU:0:64")
    assert [node.id for node in cluster.nodes] == ["v100-0", "v100-1", "k80-0", "cpu-0"]
    assert cluster.nodes[0].resources == Resources.parse({"GPU": 4, "CPU": 64, "memory": "512GiB"})
    assert cluster.nodes[2].resources == Resources.parse({"GPU": 8, "CPU": 32, "memory": "64GiB"})
    assert [node.label(ACCELERATOR_KEY) for node in cluster.nodes] == ["V100", "V100", "K80", None]


def test_parts_of_one_type_go_on_counting() -> None:
    assert [node.id for node in short_cluster("1xA:1,1xA:2").nodes] == ["a-0", "a-1"]


@pytest.mark.parametrize("text", ["8xV100", "0xV100:8", "8xV100:8,", "8 V100:8", "999999999xV100:8"])
def test_a_wrong_short_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"NODESxTYPE:GPUS|1 to 200000"):
        short_cluster(text)


def test_a_scenario_file_brings_nodes_tenants_and_policy(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(
        "policy: {backfill: false}\n"
        "nodes: [{name: n, count: 2, resources: {GPU: 8}}]\n"
        "tenants: [{name: vision, weight: 2}]\n",
        encoding="utf-8",
    )
    cluster = load_cluster(str(file))
    assert (cluster.name, len(cluster.nodes), [t.id for t in cluster.tenants]) == ("small", 2, ["vision"])
    assert (cluster.policy.backfill, cluster.policy.objective) == (False, Objective.STRICT)


def test_a_file_that_is_not_there_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"there is no cluster file .*/clustre.yaml; is it cluster.yaml\?"):
        load_cluster(str(tmp_path / "clustre.yaml"))
