"""A cluster that an autoscaler serves refuses no gang for being too large."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from aios.adapters.growth import may_grow

MONITOR = b"python\0-u\0ray/autoscaler/_private/monitor.py\0--logs-dir=/tmp/ray\0"


@pytest.mark.parametrize(
    "environment, lines, grows",
    [
        ({}, [MONITOR, b"grep\0autoscaling-config\0"], False),
        ({}, [b"init\0", MONITOR + b"--autoscaling-config=/home/ray/bootstrap.yaml\0"], True),
        ({"RAY_USAGE_STATS_KUBERAY_IN_USE": "1"}, [], True),
        ({"RAY_USAGE_STATS_KUBERAY_IN_USE": "0"}, [], False),
    ],
    ids=["a monitor that only reads", "a monitor with node types", "under KubeRay", "not under KubeRay"],
)
def test_a_cluster_may_grow(environment: Mapping[str, str], lines: list[bytes], grows: bool) -> None:
    assert may_grow(environment, lines) is grows
