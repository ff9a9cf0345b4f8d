"""``python -m placement solve FILE``: an answer, or status 2 with file, line, path and how to mend it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from placement.__main__ import main

NODES = "nodes: [{name: a, count: 2, resources: {GPU: 4, CPU: 8, memory: 8GiB}, labels: {rack: r}}]\n"
TENANTS = "tenants: [{name: t, quota: {GPU: 4}}, {name: u}]\n"
TOP = NODES + TENANTS


def work(keys: str = "", resources: str = "{GPU: 1}", name: str = "x") -> str:
    more = f", {keys}" if keys else ""
    return f"pending: [{{name: {name}, tenant: t, bundles: [{{resources: {resources}}}]{more}}}]\n"


def gang(count: object, **keys: object) -> str:
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"pending: [{{name: x, tenant: t, bundles: [{{count: {count}, resources: {{GPU: 1}}}}]{more}}}]\n"


def node(resources: str) -> str:
    return f"nodes:\n  - name: a\n    resources: {resources}\n"


def tenant(keys: str) -> str:
    return f"tenants:\n  - name: t\n    {keys}\n"


REFUSED = {
    # quantities, wherever one may stand
    "a negative demand": (TOP + work(resources="{GPU: -1}"), 3, "pending[0].bundles[0].resources.GPU", "not negative"),
    "a demand of nan": (TOP + work(resources="{CPU: .nan}"), 3, "pending[0].bundles[0].resources.CPU", "finite"),
    "a demand without end": (TOP + work(resources="{CPU: .inf}"), 3, "resources.CPU", "finite"),
    "a demand of yes": (TOP + work(resources="{GPU: yes}"), 3, "resources.GPU", "write a number"),
    "a demand of 10^30": (TOP + work(resources="{memory: 1e30}"), 3, "resources.memory", "too large"),
    "a demand of a list": (TOP + work(resources="{GPU: [1]}"), 3, "resources.GPU", "write a number"),
    "a demand of nothing": (TOP + work(resources="{GPU: }"), 3, "resources.GPU", "write a number"),
    "a demand of many digits": (TOP + work(resources=f"{{GPU: {'9' * 5000}}}"), 3, "resources.GPU", "not a number"),
    "a node of minus one": (node("{GPU: -1}"), 3, "nodes[0].resources.GPU", "not negative"),
    "a node of nan": (node("{memory: .nan}"), 3, "nodes[0].resources.memory", "finite"),
    "a node of 10^30": (node("{CPU: 1e30}"), 3, "nodes[0].resources.CPU", "too large"),
    "a node of a million million GPUs": (node("{GPU: 1e12}"), 3, "nodes[0].resources", "`count:`"),
    "a quota of minus one": (tenant("quota: {GPU: -1}"), 3, "tenants[0].quota.GPU", "not negative"),
    "a quota of true": (tenant("quota: {GPU: true}"), 3, "tenants[0].quota.GPU", "write a number"),
    "a limit of nan": (tenant("limit: {GPU: .nan}"), 3, "tenants[0].limit.GPU", "finite"),
    "a loan of minus one": (tenant("borrow_limit: {GPU: -1}"), 3, "tenants[0].borrow_limit.GPU", "not negative"),
    "lending without end": (tenant("lend_limit: {GPU: .inf}"), 3, "tenants[0].lend_limit.GPU", "finite"),
    "usage of nan": (tenant("usage: {GPU: .nan}"), 3, "tenants[0].usage.GPU", "must be a number"),
    "a weight of nan": (tenant("weight: .nan"), 3, "tenants[0].weight", "from 0 to"),
    "a weight of minus one": (tenant("weight: -1"), 3, "tenants[0].weight", "from 0 to"),
    "a weight of false": (tenant("weight: false"), 3, "tenants[0].weight", "not a number"),
    "quotas beyond one node": (
        "tenants: [{name: t, quota: {memory: 7e19}}, {name: u, quota: {memory: 7e19}}]",
        1,
        "",
        "add `nodes:`",
    ),
    # times
    "now is nan": ("now_s: .nan\n", 1, "now_s", "must be a number"),
    "a runtime without end": (TOP + work("runtime_s: .inf"), 3, "pending[0].runtime_s", "must be a number"),
    "a runtime below zero": (TOP + work("runtime_s: -1"), 3, "pending[0].runtime_s", "must be a number"),
    "a deadline of yes": (TOP + work("deadline_s: yes"), 3, "pending[0].deadline_s", "not a number"),
    "ageing in no time": (TOP + "policy: {ageing_s: 0}", 3, "policy.ageing_s", "must be a number"),
    # counts and gangs
    "10,001 bundles": (TOP + gang(10_001), 3, "pending[0].bundles[0].count", "1 to 10000"),
    "true bundles": (TOP + gang("true"), 3, "pending[0].bundles[0].count", "not a whole number"),
    "no minimum": (TOP + gang(4, min_bundles=0), 3, "pending[0].min_bundles", "1 to 4"),
    "a count in small raised digits": (TOP + gang(4, scaling="{²: 1.0}"), 3, "scaling.²", "rising numbers from 1"),
    "a priority of a half": (TOP + gang(1, priority=0.5), 3, "pending[0].priority", "not a whole number"),
    "a priority beyond reason": (TOP + gang(1, priority=10**12), 3, "pending[0].priority", "must be"),
    "speed zero": (TOP + gang(1, speed="{H100: 0}"), 3, "pending[0].speed.H100", "must be a number"),
    # trees and names
    "a tenant below itself": ("tenants:\n  - name: t\n    parent: t\n", 3, "tenants[0].parent", "another parent"),
    "a circle of tenants": (
        "tenants:\n  - {name: a, parent: c}\n  - {name: b, parent: a}\n  - {name: c, parent: b}\n",
        2,
        "tenants[0].parent",
        "another parent",
    ),
    "two tenants of one name": ("tenants:\n  - name: t\n  - name: t\n", 3, "tenants[1].name", "rename one"),
    "two workloads of one name": (
        TOP + "pending:\n" + "  - {name: x, tenant: t, bundles: [{resources: {GPU: 1}}]}\n" * 2,
        5,
        "pending[1].name",
        "rename one",
    ),
    "two nodes of one name": (node("{GPU: 1}") + "  - {name: a, resources: {}}\n", 4, "nodes[1].name", "rename one"),
    "a key said twice": (TOP + work("priority: 1, priority: 2"), 3, "pending[0].priority", "keep one"),
    # unknown keys, level by level
    "a key of the file": ("pendign: []", 1, "pendign", "'pending'?"),
    "a key of the policy": ("policy: {backfil: true}", 1, "policy.backfil", "'backfill'?"),
    "a key of preemption": ("policy: {preemption: {wihtin: never}}", 1, "policy.preemption.wihtin", "'within'?"),
    "a key of a node": (node("{GPU: 1}") + "    lables: {}\n", 4, "nodes[0].lables", "'labels'?"),
    "a key of a tenant": (tenant("qouta: {GPU: 1}"), 3, "tenants[0].qouta", "'quota'?"),
    "a key of a workload": (TOP + work("piority: 1"), 3, "pending[0].piority", "'priority'?"),
    "a key of a bundle": (TOP + gang("1, selektor: {}"), 3, "pending[0].bundles[0].selektor", "'selector'?"),
    "a key of a topology": (TOP + work("topology: {pak: rack}"), 3, "pending[0].topology.pak", "'pack'?"),
    "a key of an alternative": (
        TOP + work("alternatives: [{bundels: []}]"),
        3,
        "alternatives[0].bundels",
        "'bundles'?",
    ),
    "a key of a reservation": (TOP + "reservations: [{nmae: r}]", 3, "reservations[0].nmae", "'name'?"),
    "a key of what is expected": (TOP + "expected: [{resource: {}}]", 3, "expected[0].resource", "'resources'?"),
    "a key of expect": (TOP + "expect: {admited: []}", 3, "expect.admited", "'admitted'?"),
    # no file to speak of
    "nothing": ("", None, "", "at least `tenants:`"),
    "a comment": ("# later\n", None, "", "at least `tenants:`"),
    "a null byte": ("name: \0", None, "", "is no YAML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_file_ends_with_status_2_where_it_is_wrong_and_how_to_mend_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line, path, remedy = REFUSED[name]
    file = tmp_path / "wrong.yaml"
    file.write_text(text, encoding="utf-8")
    status = main(["solve", str(file)])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith(f"{file}:{line}: " if line else f"{file}: "), err
    assert f"{path}: " in err
    assert remedy in err


ANSWERED = {
    "10^15 bytes": (
        "nodes: [{name: a, resources: {memory: 1000000000000000}}]\ntenants: [{name: t, quota: {memory: 1e15}}]\n"
        + work(resources="{memory: 999999999999999}"),
        {"x"},
    ),
    "one byte more than 10^15": (
        "nodes: [{name: a, resources: {memory: 1000000000000000}}]\ntenants: [{name: t, quota: {memory: 1e15}}]\n"
        + work(resources="{memory: 1000000000000001}"),
        set(),
    ),
    "nothing asked": (TOP + work(resources="{}"), {"x"}),
    "zero asked": (TOP + work(resources="{GPU: 0}"), {"x"}),
    "zero quota": (NODES + "tenants: [{name: t, quota: {GPU: 0}}]\n" + work(), {"x"}),
    "zero weight": (NODES + "tenants: [{name: t, weight: 0}]\n" + work(), {"x"}),
    "quota above the cluster": (NODES + "tenants: [{name: t, quota: {GPU: 1000}}]\n" + work(), {"x"}),
    "limit below quota": (NODES + "tenants: [{name: t, quota: {GPU: 4}, limit: {GPU: 0}}]\n" + work(), set()),
    "a child's quota above its parent's limit": (
        NODES + "tenants: [{name: p, limit: {GPU: 0}}, {name: t, parent: p, quota: {GPU: 4}}]\n" + work(),
        set(),
    ),
    "a selector that matches nothing": (
        TOP + "pending: [{name: x, tenant: t, bundles: [{resources: {GPU: 1}, selector: {zone: z}}]}]",
        set(),
    ),
    "a topology without labels": (TOP + gang(2, topology="{pack: zone, required: true}"), set()),
    "a wish for labels that there are none": (TOP + gang(2, topology="{spread: zone}"), {"x"}),
    "no nodes": ("nodes: []\n" + TENANTS + work(), set()),
    "no tenants and no work": (NODES, set()),
    "names in any script": (
        "nodes: [{name: nœud, resources: {GPU: 1}}]\ntenants: [{name: équipe}]\n"
        "pending: [{name: 工作🚀, tenant: équipe, bundles: [{resources: {GPU: 1}}]}]",
        {"工作🚀"},
    ),
    "GPUs of one and a half": (TOP + work(resources="{GPU: 1.5}"), set()),
}


@pytest.mark.parametrize("objective", ["strict", "weighted", "goodput"])
@pytest.mark.parametrize("name", ANSWERED)
def test_an_odd_file_is_answered_whatever_the_aim(
    name: str, objective: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = ANSWERED[name]
    slice_ = ", time_slice_s: 300" if objective == "goodput" else ""
    file = tmp_path / "odd.yaml"
    file.write_text(f"{text}\npolicy: {{objective: {objective}{slice_}}}\n", encoding="utf-8")
    status = main(["solve", str(file), "--json"])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    answer = json.loads(out)
    assert set(answer["admitted"]) == expected
    assert all(re.search(r"\w", wait["detail"]) for wait in answer["waiting"].values())
