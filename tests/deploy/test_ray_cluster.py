"""``ray-cluster.yaml`` is what Ray's launcher accepts, and starts this system safely."""

from __future__ import annotations

import copy
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml


@pytest.fixture
def config(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "ray-cluster.yaml").read_text())


def _types(config: dict[str, Any], head: bool = False) -> dict[str, Any]:
    return {k: v for k, v in config["available_node_types"].items() if head or k != config["head_node_type"]}


def test_it_keeps_to_the_schema_of_the_installed_ray(config: dict[str, Any]) -> None:
    spec = find_spec("ray")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    schema = Path(spec.submodule_search_locations[0], "autoscaler", "ray-schema.json")
    jsonschema.validate(config, json.loads(schema.read_text()))


def test_the_launcher_fills_it_out_without_complaint(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(config)
    filled = prepare_config(copy.deepcopy(config))
    validate_config(filled)
    assert set(filled["available_node_types"]) == set(config["available_node_types"])
    assert filled["head_start_ray_commands"] == config["head_start_ray_commands"]


def test_the_head_runs_no_work(config: dict[str, Any]) -> None:
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    assert any("ray start --head --num-cpus=0" in command for command in config["head_start_ray_commands"])


def test_two_accelerators_and_two_zones_are_told_by_labels_that_ray_accepts(config: dict[str, Any]) -> None:
    from ray._private.label_utils import validate_node_label_syntax

    labels = [node_type["labels"] for node_type in _types(config, head=True).values()]
    for each in labels:
        validate_node_label_syntax(each)
    assert len({each["ray.io/accelerator-type"] for each in labels if "ray.io/accelerator-type" in each}) == 2
    assert len({each["zone"] for each in labels}) == 2


def test_each_type_is_where_its_label_says(config: dict[str, Any]) -> None:
    for name, node_type in _types(config, head=True).items():
        zone = node_type["node_config"]["Placement"]["AvailabilityZone"]
        assert zone in config["provider"]["availability_zone"].split(","), name
        assert node_type["labels"]["zone"] == node_type["labels"]["ray.io/availability-zone"] == zone, name
        assert ("GPU" in node_type["resources"]) == ("ray.io/accelerator-type" in node_type["labels"]), name


def test_every_start_of_ray_wants_the_token_and_only_the_head_scales(config: dict[str, Any]) -> None:
    head, worker = (
        [command for command in config[f"{kind}_start_ray_commands"] if "ray start" in command]
        for kind in ("head", "worker")
    )
    assert len(head) == len(worker) == 1
    assert "RAY_AUTH_MODE=token" in head[0]
    assert "RAY_AUTH_MODE=token" in worker[0]
    assert "RAY_enable_autoscaler_v2=1" in head[0]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head[0]


def test_the_token_file_travels_and_is_readable_by_its_owner_alone(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"][0]


def test_the_dashboard_stays_on_loopback(config: dict[str, Any]) -> None:
    (start,) = (command for command in config["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in start


def test_aios_starts_after_ray_on_the_head_alone(config: dict[str, Any]) -> None:
    commands = config["head_start_ray_commands"]
    assert commands[-1] == "RAY_AUTH_MODE=token aios up --address auto"
    assert "ray start --head" in commands[-2]
    assert not any("aios up" in command for command in config["worker_start_ray_commands"])


def test_all_machines_run_this_checkout_with_the_locked_versions(config: dict[str, Any], root: Path) -> None:
    assert config["file_mounts"]["/home/ubuntu/aios"] == "."
    assert any("-c ~/aios/constraints.txt ~/aios" in command for command in config["setup_commands"])
    assert (root / "constraints.txt").is_file()
    assert ".venv" in config["rsync_exclude"]


def test_all_machines_see_one_storage(config: dict[str, Any]) -> None:
    assert any("AIOS_STORAGE=/mnt/aios" in command for command in config["initialization_commands"])
    for kind in ("head", "worker"):
        assert any("/mnt/aios" in command for command in config[f"{kind}_setup_commands"])
