"""What has left the control plane's memory is looked at, followed, tried again and counted as if it had not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from aios.errors import NotFound
from aios.kernel.retention import Keep
from aios.kernel.state import State
from tests.support.plane import Served, served

AT_ONCE = Keep(ended_s=0.0, ended_most=0, least_s=0.0)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), keep=AT_ONCE) as one:
        yield one


def script(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "script", "name": name, "entrypoint": "python x.py", "estimate": 5, **more}


def retired(plane: Served, *names: str) -> State:
    """Return the state once these workloads have ended and left it."""
    client = plane.client()
    for name in names:
        client.wait(name, timeout=60)
    while left := set(plane.state.workloads).intersection(plane.state.names[name] for name in names):
        assert all(plane.state.workloads[id].status.over for id in left if id in plane.state.workloads)
        client.events(after=plane.state.version, timeout_s=5.0)
    return plane.state


def test_it_is_described_explained_and_its_log_is_read(plane: Served) -> None:
    client = plane.client()
    (before,) = client.submit(script("old", workers={"num_workers": 2})).workloads
    state = retired(plane, "old")
    assert before.id in state.retired
    for ref in (before.id, "old", before.id[:-1]):
        view = client.get(ref)
        assert (view.id, view.status, view.over) == (before.id, "SUCCEEDED", True)
    assert len(view.attempts) == 1
    assert len(view.planned_nodes) == 2
    assert view.attempts[0].granted_s > 0
    assert view.demand == before.demand
    assert view.ran_s >= 4
    assert "".join(client.logs("old")) == "hello from old, try 1\n"
    (why,) = client.explain("old")
    assert why.status == "SUCCEEDED"
    assert any("attempt 1: put on" in line for line in why.evidence)
    (waited,) = client.wait("old", timeout=5)
    assert waited.status == "SUCCEEDED"
    assert client.find("old")[0] == view


def test_lists_have_it_and_the_counts_of_the_cluster_do(plane: Served) -> None:
    client = plane.client()
    client.submit(script("listed"))
    retired(plane, "listed")
    (row,) = [view for view in client.workloads(all=True) if view.name == "listed"]
    assert (row.status, row.tenant, row.kind, row.over) == ("SUCCEEDED", "default", "script", True)
    assert row.ran_s >= 4
    assert len(row.attempts) == 1
    assert row in client.workloads(status="succeeded")
    assert "listed" not in [view.name for view in client.workloads()]
    assert client.status().workloads["SUCCEEDED"] >= len(plane.state.retired)


def test_the_same_submission_is_still_the_same(plane: Served) -> None:
    body = {"documents": [script("twice")]}
    with plane.http() as http:
        first = http.post("/api/v1/workloads", json=body, headers={"Idempotency-Key": "twice-1"})
        retired(plane, "twice")
        again = http.post("/api/v1/workloads", json=body, headers={"Idempotency-Key": "twice-1"})
        other = http.post("/api/v1/workloads", json={"documents": [script("twice", priority=3)]})
        planned = http.post("/api/v1/plan", json=body)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.json()["workloads"][0]["id"] == first.json()["workloads"][0]["id"]
    assert again.json()["workloads"][0]["status"] == "SUCCEEDED"
    assert "is submitted already" in planned.json()["workloads"][0]["verdict"]


def test_orders_find_that_it_is_over(plane: Served) -> None:
    client = plane.client()
    client.submit(script("over"))
    retired(plane, "over")
    assert client.stop("over")[0].status == "SUCCEEDED"
    with plane.http() as http:
        refused = http.post("/api/v1/workloads/over/preempt")
    assert refused.status_code == 409
    assert "it is over" in refused.json()["detail"]


def test_a_pipeline_is_tried_again_from_where_it_ended(plane: Served) -> None:
    client = plane.client()
    stages = [script("good"), script("endless", estimate="100d", needs=["good"]), script("last", needs=["endless"])]
    before = [view.id for view in client.submit({"kind": "pipeline", "name": "line", "stages": stages}).workloads]
    client.wait("line-endless", "running", timeout=60)
    client.stop("line-endless")
    retired(plane, "line-good", "line-endless", "line-last")
    assert [view.status for view in client.find("line")] == ["SUCCEEDED", "STOPPED", "FAILED"]
    again = client.retry("line").workloads
    assert [view.name for view in again] == ["line-endless", "line-last"]
    assert again[0].needs == (before[0],)
    client.wait("line-endless", "running", timeout=60)
    client.stop("line-endless")


def test_its_use_stands_in_the_books(plane: Served) -> None:
    client = plane.client()
    client.submit(script("booked"))
    state = retired(plane, "booked")
    lines = {line.name: line for line in client.usage("workload").lines}
    assert lines[state.names["booked"]].used["CPU"] > 0


def test_what_was_never_there_is_not_found(plane: Served) -> None:
    with pytest.raises(NotFound, match="there is no workload 'nothing-such'"):
        plane.client().get("nothing-such")
