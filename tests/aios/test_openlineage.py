"""OpenLineage events: what a run read and what it published, in the standard's own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from aios.kernel.events import Artefact, Event, Outcome
from aios.kernel.ports import PublishVersion
from aios.telemetry.openlineage import Listener, OpenLineageSink, senders
from tests.support.bench import Bench
from tests.support.building import submit, want

META = {"schema": {"age": "int64"}, "total_rows": 7, "source": {"path": "/data/people.csv"}}
MADE = Artefact("dataset", "d", "lance:/t#1", "rows:1", json.dumps(META))


def told(bench: Bench, events: list[Event]) -> list[dict[str, Any]]:
    lines: list[str] = []
    OpenLineageSink([lines.append], "team", "log-1")(events, bench.state)
    return [json.loads(line) for line in lines]


def ran(outcome: Outcome = Outcome.SUCCEEDED) -> list[dict[str, Any]]:
    """A workload reads version 1 of ``in`` and makes ``d``, or fails to."""
    bench = Bench()
    bench.turn(PublishVersion(Artefact("dataset", "in", "lance:/in#1")))
    bench.turn(submit(want("a", inputs=(("data", "dataset://in"),), outputs=(("data", "dataset://d"),))))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    bench.sees("a")
    events = list(bench.turn().events)
    bench.sees_end("a", outcome, artefacts=(MADE,) if outcome is Outcome.SUCCEEDED else ())
    events += bench.turn().events
    return told(bench, events)


def test_a_publication_names_inputs_outputs_source_schema_and_rows() -> None:
    start, complete = ran()
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"] == str(UUID(complete["run"]["runId"]))
    assert (complete["job"]["namespace"], complete["job"]["name"]) == ("team", "a")
    assert [one["name"] for one in complete["inputs"]] == ["dataset://in", "/data/people.csv"]
    assert complete["inputs"][0]["facets"]["version"]["datasetVersion"] == "1"
    (output,) = complete["outputs"]
    assert output["name"] == "dataset://d"
    assert output["facets"]["schema"]["fields"] == [{"name": "age", "type": "int64"}]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 7
    for facet in (*output["facets"].values(), *complete["job"]["facets"].values()):
        assert facet["_producer"].startswith("https://")
        assert facet["_schemaURL"].startswith("https://openlineage.io/spec/")


@pytest.mark.parametrize("outcome, type_", [(Outcome.FAILED, "FAIL"), (Outcome.PREEMPTED, "ABORT")])
def test_a_run_without_a_version_ends_without_outputs(outcome: Outcome, type_: str) -> None:
    start, end = ran(outcome)
    assert (start["eventType"], end["eventType"]) == ("START", type_)
    assert not end["outputs"]


def test_what_is_published_by_hand_is_a_run_of_its_own() -> None:
    bench = Bench()
    events = [event for _ in range(2) for event in bench.turn(PublishVersion(MADE)).events]
    one, two = told(bench, events)
    assert one["job"]["name"] == "by hand: d"
    assert one["run"]["runId"] != two["run"]["runId"]


def test_events_go_to_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    (send,) = senders(tmp_path, {})
    send('{"eventType": "START"}')
    path = tmp_path / "lineage.jsonl"
    assert path.read_text() == '{"eventType": "START"}\n'
    assert path.stat().st_mode & 0o077 == 0


def test_a_listener_gets_each_event_and_one_that_refuses_holds_nobody_up(tmp_path: Path) -> None:
    heard: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        heard.append(request)
        return httpx.Response(500 if len(heard) == 1 else 201)

    listener = Listener("http://marquez/api/v1/lineage", "key", httpx.MockTransport(answer))
    listener('{"a": 1}')
    listener('{"b": 2}')
    listener.flush()
    assert [request.content for request in heard] == [b'{"a": 1}', b'{"b": 2}']
    assert heard[0].headers["authorization"] == "Bearer key"
