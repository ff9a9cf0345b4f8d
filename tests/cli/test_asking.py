"""What is asked of the planner without doing it: what-ifs and capacity by command, SDK and HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Aios
from tests.support.plane import Served

FULL = """\
kind: script
name: endless
entrypoint: python endless.py
estimate: 100d
workers: {num_workers: 3, resources_per_worker: {CPU: 2}}
"""
COUNT = "kind: script\nname: count\nentrypoint: python count.py\nestimate: 5s\n"


@pytest.fixture
def busy(aios: Aios) -> Aios:
    """Return the command on a cluster that is full, with one workload waiting."""
    _write("all.yaml", FULL)
    _write("count.yaml", COUNT)
    aios("submit", "all.yaml")
    aios("wait", "endless", "--for", "running", "--timeout", "20s")
    aios("submit", "count.yaml")
    return aios


def _write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


def test_a_node_more_would_let_the_waiting_one_start_and_nothing_is_changed(busy: Aios, plane: Served) -> None:
    nodes = len(plane.state.nodes)
    ran = busy("plan", "--what-if", "add 1 h100")
    assert ran.code == 0, ran.err
    assert "nothing is changed in the cluster" in ran.out
    changes = ran.out.split("\n\n")[1].splitlines()
    assert changes[0].split() == ["CHANGES", "TENANT", "NOW", "THEN"]
    assert changes[1].startswith("count-")
    assert "waits priority" in changes[1] or "waits capacity" in changes[1]
    assert changes[1].endswith("starts on a-1+1")
    assert len(plane.state.nodes) == nodes


def test_several_changes_are_made_one_after_the_other(busy: Aios) -> None:
    answer = busy("plan", "--what-if", "stop endless", "--what-if", "drain a-1", "-o", "json").json
    assert answer["changes"] == ["stop endless", "drain a-1"]
    lots = {lot["id"].partition("-")[0]: lot for lot in answer["workloads"]}
    assert (lots["endless"]["now"], lots["endless"]["then"]) == ("running", "not there")
    assert lots["count"]["then"] == "starts"
    assert "a-1" not in lots["count"]["then_detail"]
    assert answer["terms"][0]["name"] == "admitted"


def test_a_file_may_be_submitted_in_thought(aios: Aios, plane: Served) -> None:
    _write("team.yaml", "kind: tenant\nname: vision\n---\n" + COUNT.replace("count", "late") + "tenant: vision\n")
    ran = aios("plan", "--what-if", "submit team.yaml")
    assert ran.code == 0, ran.err
    assert "late (new)  vision  not there  starts on " in ran.out
    assert not plane.state.workloads
    assert "vision" not in plane.state.tenants
    again = aios("plan", "--what-if", "submit team.yaml", "--what-if", "submit team.yaml")
    assert (again.code, "late (new) is there already" in again.err) == (2, True)


WRONG = {
    "an unknown verb": (["--what-if", "ad 4 h100"], "'ad' is no change", "did you mean 'add'?"),
    "an unknown node": (["--what-if", "drain a-9"], "there is no node 'a-9'", "did you mean 'a-"),
    "an unknown tenant": (["--what-if", "weight visoin=2"], "there is no tenant 'visoin'", "default"),
    "a file that is not there": (["--what-if", "submit none.yaml"], "none.yaml: no such file", ""),
    "a file that is wrong": (["--what-if", "submit bad.yaml"], "num_cpu: unknown key", "did you mean 'num_cpus'?"),
    "no file": (["--what-if", "submit"], "something is missing", "submit FILE"),
    "a catalogue that is not there": (["--capacity", "none.yaml"], "none.yaml: cannot be read", ""),
    "a catalogue that is none": (["--capacity", "bad.yaml"], "is no catalogue", "available_node_types"),
    "two questions at once": (["--what-if", "drain a-1", "--capacity"], "ask one at a time", ""),
    "a budget for nothing": (["--budget", "3"], "--budget belongs to --capacity", ""),
}


@pytest.mark.parametrize("arguments, message, hint", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_question_ends_with_2_and_says_what_is_known(
    arguments: list[str], message: str, hint: str, aios: Aios
) -> None:
    _write("bad.yaml", COUNT + "num_cpu: 2\n")
    ran = aios("plan", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert hint in ran.err


def test_capacity_names_the_nodes_that_lack(busy: Aios) -> None:
    ran = busy("plan", "--capacity")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("Add 1 ")
    assert "(the least there is)" in ran.out
    assert "\nThen count-" in ran.out


def test_capacity_buys_from_a_catalogue_within_a_budget(busy: Aios) -> None:
    _write(
        "types.yaml", "- {name: small, resources: {CPU: 1}, cost: 1}\n- {name: big, resources: {CPU: 64}, cost: 9}\n"
    )
    answer = busy("plan", "--capacity", "types.yaml", "-o", "json").json
    assert (answer["add"], answer["cost"], answer["bound"]) == ({"small": 1}, 1.0, 1.0)
    poor = busy("plan", "--capacity", "types.yaml", "--budget", "0.5", "-o", "json").json
    assert poor["add"] == {}
    assert list(poor["not_helped"].values()) == ["not within the budget"]


def test_a_cluster_where_nobody_waits_says_what_could_go(aios: Aios) -> None:
    ran = aios("plan", "--capacity")
    assert ran.out.startswith("No more nodes are needed.")
    assert "a-1       nothing runs there" in ran.out


def test_explain_says_whom_it_waits_for_and_what_has_been_tried(busy: Aios, plane: Served) -> None:
    explained = busy("explain", "count", "-o", "json").json["explanations"][0]
    running = next(id for id in plane.state.workloads if id.startswith("endless"))
    assert f"it waits for {running} to end" in explained["evidence"]
    assert any(line.startswith("likely to start in 24") for line in explained["evidence"])
    assert any("1 more node like" in hint for hint in explained["would_run_if"])


BODIES = {
    "no changes": ({"changes": []}, "what-if"),
    "a change that is no text": ({"changes": [1]}, "what-if"),
    "too many": ({"changes": ["drain a-1"] * 51}, "what-if"),
    "documents in a list": ({"changes": ["drain a-1"], "documents": []}, "what-if"),
    "a file that was not sent": ({"changes": ["submit x.yaml"]}, "what-if"),
    "an unknown key": ({"change": ["drain a-1"]}, "what-if"),
    "a budget that is none": ({"budget": "much"}, "capacity"),
    "a negative budget": ({"budget": -1}, "capacity"),
    "a catalogue that is no text": ({"catalogue": 7}, "capacity"),
}


@pytest.mark.parametrize("body, route", BODIES.values(), ids=BODIES.keys())
def test_a_wrong_body_is_refused(body: object, route: str, plane: Served) -> None:
    with plane.http() as http:
        response = http.post(f"/api/v1/plan/{route}", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
