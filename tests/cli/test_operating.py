"""Preempt, suspend, resume and drain by command, against a control plane over a simulated cluster."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Aios
from tests.support.plane import Served

ENDLESS = "kind: script\nname: endless\nentrypoint: python endless.py\nestimate: 100d\ngrace: 1s\n"


def running(aios: Aios) -> str:
    Path("endless.yaml").write_text(ENDLESS, encoding="utf-8")
    assert aios("submit", "endless.yaml").code == 0
    assert aios("wait", "endless", "--for", "running").code == 0
    return str(aios("describe", "endless", "-o", "json").json["id"])


def test_what_is_suspended_is_paused_until_it_is_resumed(aios: Aios, plane: Served) -> None:
    id = running(aios)
    ran = aios("suspend", "endless")
    assert ran.code == 0, ran.err
    assert f"next: aios resume {'endless'}" in ran.err
    while aios("describe", id, "-o", "json").json["status"] != "PAUSED":
        plane.client().poll(id, timeout_s=0.1)
    assert aios("preempt", "endless").code == 104, "what is paused does not run"
    assert aios("resume", "endless").code == 0
    assert aios("wait", "endless", "--for", "running").code == 0
    assert len(aios("describe", id, "-o", "json").json["attempts"]) == 2


def test_what_is_preempted_by_hand_goes_on_in_a_new_attempt(aios: Aios, plane: Served) -> None:
    id = running(aios)
    assert aios("preempt", id).code == 0
    while len(aios("describe", id, "-o", "json").json["attempts"]) < 2:
        plane.client().poll(id, timeout_s=0.1)
    first = aios("describe", id, "-o", "json").json["attempts"][0]
    assert (first["outcome"], first["preempt_cause"]) == ("preempted", "user")


def test_work_leaves_a_node_that_is_drained_and_nothing_new_starts_there(aios: Aios, plane: Served) -> None:
    id = running(aios)
    (node,) = aios("describe", id, "-o", "json").json["planned_nodes"]
    ran = aios("drain", node, "--grace", "2s")
    assert ran.code == 0, ran.err
    assert "draining" in ran.out
    while aios("describe", id, "-o", "json").json["planned_nodes"] == [node]:
        plane.client().poll(id, timeout_s=0.1)
    assert aios("wait", id, "--for", "running").code == 0
    assert aios("drain", node, "--undo").code == 0


def test_what_makes_no_sense_is_refused_with_what_there_is(aios: Aios, plane: Served) -> None:
    ran = aios("drain", "a-99")
    assert ran.code == 102
    assert "a-1" in ran.err
    assert aios("drain", "a-1", "--grace", "soon").code == 2
    assert aios("drain", "a-1", "--undo").code == 104
    assert aios("suspend", "nobody").code == 102
    assert aios("resume", "nobody").code == 102


def test_the_books_say_who_used_what(aios: Aios, plane: Served) -> None:
    running(aios)
    shown = aios("usage", "--by", "kind")
    assert shown.code == 0, shown.err
    assert "CPU-h" in shown.out
    assert aios("usage", "--since", "1h", "--csv", "books.csv").code == 0
    head, line, *_ = Path("books.csv").read_text(encoding="utf-8").splitlines()
    assert head.startswith("tenant,workloads,attempts,resource,asked,granted,used")
    assert line.startswith("default,1,1,CPU-h,")
    assert aios("usage", "--by", "colour").code == 2
    assert aios("usage", "--since", "lately").code == 2
