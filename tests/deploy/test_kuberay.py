"""The KubeRay manifest is whole, consistent with the lock file, and safe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def documents(root: Path) -> dict[str, dict[str, Any]]:
    loaded = yaml.safe_load_all((root / "deploy/k8s/raycluster.yaml").read_text())
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in loaded}


@pytest.fixture
def spec(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return documents["RayCluster/aios"]["spec"]


def _groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def _container(group: dict[str, Any]) -> dict[str, Any]:
    (container,) = group["template"]["spec"]["containers"]
    return container


def test_the_cluster_its_disks_and_its_wall_are_there(documents: dict[str, dict[str, Any]]) -> None:
    assert set(documents) == {
        "RayCluster/aios",
        "PersistentVolumeClaim/aios-home",
        "PersistentVolumeClaim/aios-storage",
        "NetworkPolicy/aios",
    }
    assert documents["RayCluster/aios"]["apiVersion"] == "ray.io/v1"


def test_versions_are_those_of_the_lock_file_and_the_package(
    spec: dict[str, Any], locked: Callable[[str], str], image_tag: str
) -> None:
    assert spec["rayVersion"] == locked("ray")
    images = {_container(group)["image"] for group in _groups(spec)}
    assert len(images) == 1
    assert images.pop().rsplit(":", 1)[1] == image_tag


def test_the_token_is_wanted_and_made_by_the_operator(spec: dict[str, Any]) -> None:
    assert spec["authOptions"] == {"mode": "token"}


def test_autoscaler_v2_scales_the_workers(spec: dict[str, Any]) -> None:
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert {"name": "RAY_enable_autoscaler_v2", "value": "1"} in _container(spec["headGroupSpec"])["env"]
    for group in _groups(spec):
        assert group["template"]["spec"]["restartPolicy"] == "Never"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_head_runs_no_work_shows_no_dashboard_and_starts_aios(spec: dict[str, Any]) -> None:
    head = spec["headGroupSpec"]
    assert head["rayStartParams"] == {"num-cpus": "0", "dashboard-host": "127.0.0.1"}
    hook = _container(head)["lifecycle"]["postStart"]["exec"]["command"]
    assert hook[:2] == ["/bin/bash", "-c"]
    assert hook[2].startswith("aios-node attach ")
    assert hook[2].endswith("&")
    assert [port["containerPort"] for port in _container(head)["ports"]] == [6379]


def test_two_accelerators_and_two_zones_are_told_by_labels_that_ray_accepts(spec: dict[str, Any]) -> None:
    from ray._private.label_utils import validate_node_label_syntax

    for group in _groups(spec):
        validate_node_label_syntax(group["labels"])
    typed = [group for group in spec["workerGroupSpecs"] if "ray.io/accelerator-type" in group["labels"]]
    assert len({group["labels"]["ray.io/accelerator-type"] for group in typed}) == 2
    assert len({group["labels"]["zone"] for group in _groups(spec)}) == 2
    for group in spec["workerGroupSpecs"]:
        asks = _container(group)["resources"]["limits"].get("nvidia.com/gpu")
        assert (asks is not None) == (group in typed), group["groupName"]


def test_groups_of_one_zone_label_are_on_nodes_of_one_zone(spec: dict[str, Any]) -> None:
    key = "topology.kubernetes.io/zone"
    pairs = {(group["labels"]["zone"], group["template"]["spec"]["nodeSelector"][key]) for group in _groups(spec)}
    assert len(pairs) == len({zone for zone, _ in pairs}) == len({place for _, place in pairs})


def test_what_a_container_asks_for_it_gets_whole(spec: dict[str, Any]) -> None:
    for group in _groups(spec):
        resources = _container(group)["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
    for group in spec["workerGroupSpecs"]:
        resources = _container(group)["resources"]
        assert resources["requests"] == resources["limits"], "Ray counts what the limits say"


def test_state_is_on_the_heads_own_disk_and_storage_is_everywhere(
    spec: dict[str, Any], documents: dict[str, dict[str, Any]]
) -> None:
    mounts = [{m["mountPath"]: m["name"] for m in _container(group)["volumeMounts"]} for group in _groups(spec)]
    assert all(each["/var/lib/aios/storage"] == "storage" for each in mounts)
    assert [each.get("/var/lib/aios/home") for each in mounts] == ["home"] + [None] * len(spec["workerGroupSpecs"])
    for group in _groups(spec):
        claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in group["template"]["spec"]["volumes"]}
        for mount in _container(group)["volumeMounts"]:
            assert f"PersistentVolumeClaim/{claims[mount['name']]}" in documents
    assert documents["PersistentVolumeClaim/aios-home"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert documents["PersistentVolumeClaim/aios-storage"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_pods_run_without_privileges(spec: dict[str, Any]) -> None:
    for group in _groups(spec):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        assert _container(group)["securityContext"]["allowPrivilegeEscalation"] is False
    assert all(g["template"]["spec"]["automountServiceAccountToken"] is False for g in spec["workerGroupSpecs"])


def test_only_the_clusters_own_pods_reach_its_ports(documents: dict[str, dict[str, Any]]) -> None:
    policy = documents["NetworkPolicy/aios"]["spec"]
    own = {"matchLabels": {"ray.io/cluster": "aios"}}
    assert policy["podSelector"] == own
    assert policy["ingress"] == [{"from": [{"podSelector": own}]}]
