"""Workloads over HTTP: submitting twice, waiting, following logs, and what a view holds."""

from __future__ import annotations

from typing import Any

import pytest

from aios.views import EventList, PlanView, StatusView, WorkloadView, from_json, to_json
from tests.support.plane import Served


def script(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "script", "name": name, "entrypoint": "python x.py", "estimate": 5, **more}


def test_the_same_key_is_the_same_submission(plane: Served) -> None:
    body = {"documents": [script("keyed")]}
    with plane.http() as http:
        first = http.post("/api/v1/workloads", json=body, headers={"Idempotency-Key": "k-1"})
        again = http.post("/api/v1/workloads", json=body, headers={"Idempotency-Key": "k-1"})
        other = http.post("/api/v1/workloads", json={"documents": [script("x")]}, headers={"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert [w["id"] for w in first.json()["workloads"]] == [w["id"] for w in again.json()["workloads"]]


def test_all_documents_are_accepted_or_none(plane: Served) -> None:
    before = len(plane.state.workloads)
    with plane.http() as http:
        answer = http.post("/api/v1/workloads", json={"documents": [script("fine"), script("too-large", num_cpus=99)]})
    assert answer.status_code == 409
    assert answer.json()["problems"][0]["loc"] == [1]
    assert len(plane.state.workloads) == before


def test_a_folder_that_was_not_uploaded_is_refused(plane: Served) -> None:
    document = script("unpacked", working_dir=f"package://{'0' * 64}")
    with plane.http() as http:
        answer = http.post("/api/v1/workloads", json={"documents": [document]})
    assert (answer.status_code, answer.json()["code"]) == (422, "missing_package")


def test_a_view_says_where_it_was_planned_and_where_it_ran(plane: Served) -> None:
    client = plane.client()
    client.submit(script("placed", workers={"num_workers": 2, "resources_per_worker": {"CPU": 1, "GPU": 1}}))
    (view,) = client.wait("placed", timeout=30)
    assert view.status == "SUCCEEDED"
    assert len(view.planned_nodes) == 2
    assert view.planned_nodes == view.actual_nodes
    assert view.attempts[0].planned_nodes == view.planned_nodes
    assert view.demand == "2 x (1 CPU, 1 GPU), if possible together on one node"
    assert view.ran_s >= 4
    assert view.next == f"aios describe {view.id}"


def test_waiting_is_bounded_and_tells_changes(plane: Served) -> None:
    client = plane.client()
    client.submit(script("slow", estimate="100d"))
    client.wait("slow", "running", timeout=30)
    first = client.poll("slow", "over", timeout_s=0.2)
    assert not first.done
    same = client.poll("slow", "changed", seen=first.seen, timeout_s=0.0)
    client.stop("slow", by="a test")
    changed = client.poll("slow", "changed", seen=first.seen, timeout_s=10)
    assert changed.done
    assert changed.seen != first.seen
    assert same.workloads[0].id == changed.workloads[0].id
    assert client.wait("slow", timeout=30)[0].status == "STOPPED"


def test_logs_go_on_where_they_stopped_and_keep_characters_whole(plane: Served) -> None:
    client = plane.client()
    client.submit(script("chatty", estimate="100d"))
    client.wait("chatty", "running", timeout=30)
    id = client.get("chatty").id
    path = plane.executor.log_file(id, 1)
    path.write_bytes("Grüße".encode()[:3])
    piece = client.log_piece("chatty", 1, 0)
    assert (piece.text, piece.next_offset, piece.end) == ("Gr", 2, False)
    path.write_bytes("Grüße".encode())
    rest = client.log_piece("chatty", 1, piece.next_offset, timeout_s=5)
    assert rest.text == "üße"
    client.stop("chatty")
    client.wait("chatty", timeout=30)
    assert client.log_piece("chatty", 1, rest.next_offset, timeout_s=5).end


def test_events_are_numbered_without_gaps(plane: Served) -> None:
    client = plane.client()
    client.submit(script("told"))
    client.wait("told", timeout=30)
    events = client.events(limit=1000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {"EpochStarted", "Submitted", "Granted", "Finished"} <= {event.type for event in events}


def test_a_waiting_poll_for_events_returns_with_the_next_one(plane: Served) -> None:
    client = plane.client()
    last = client.events(limit=1000)[-1].seq
    client.submit(script("next-event"))
    assert client.events(after=last, timeout_s=10)[0].type == "Submitted"


def test_the_plan_shows_its_proof_and_who_waits(plane: Served) -> None:
    client = plane.client()
    client.submit([script("hog", estimate="100d", workers={"num_workers": 3, "resources_per_worker": {"CPU": 2}})])
    client.wait("hog", "running", timeout=30)
    client.submit(script("hungry"))
    explained = client.explain("hungry")[0]
    plan = client.plan()
    assert plan.planner == "greedy"
    assert any(id.startswith("hungry-") for id in plan.waiting)
    assert explained.status == "QUEUED"
    assert any("asks for 1 CPU" in line for line in explained.evidence)
    client.stop("hog")
    assert client.wait("hungry", timeout=30)[0].status == "SUCCEEDED"


@pytest.mark.parametrize("type_", [WorkloadView, StatusView, PlanView, EventList])
def test_an_old_client_reads_a_newer_answer(type_: Any) -> None:
    samples: dict[Any, Any] = {
        WorkloadView: WorkloadView("a-1", "a", "script", "t", 0, "RUNNING"),
        StatusView: StatusView("0", 1, 2, 3.0),
        PlanView: PlanView(terms={"served": 1.0}),
        EventList: EventList(last=3),
    }
    newer = {**to_json(samples[type_]), "invented_later": {"x": 1}}
    assert from_json(type_, newer) == samples[type_]
