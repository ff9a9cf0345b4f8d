"""Spans and metrics tell what the events told, on whatever clock they are."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client.parser import text_string_to_metric_families

from aios.kernel.events import (
    AttemptEnded,
    AttemptReady,
    AttemptStarted,
    EpochStarted,
    Event,
    Finished,
    Granted,
    NodeChanged,
    Outcome,
    PlacementDiffered,
    PlanAdopted,
    PreemptionOrdered,
    Requeued,
    Submitted,
    TenantsApplied,
    Waits,
    Work,
    WorkloadId,
)
from aios.kernel.evolve import replay
from aios.kernel.state import State
from aios.simulate import Arrival, simulate
from aios.telemetry import Sink
from aios.telemetry.metrics import Metrics
from aios.telemetry.spans import ENDPOINT, FileSpanExporter, processors, span_file
from aios.telemetry.traces import SpanSink
from placement.model import Bundle, Demand, DemandId, Node, NodeId, Resources, Tenant, TenantId
from tests.support.building import node, submit, tenant, want
from tests.support.first_fit import first_fit

ONE_CPU = Resources.of({"CPU": 1000})
N1, N2 = NodeId("n1"), NodeId("n2")
TRAIN, SERVE, SOLO = WorkloadId("train-1"), WorkloadId("serve-1"), WorkloadId("solo-1")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def work(id: WorkloadId, kind: str = "train", pipeline: str | None = "digits", trace: str = "") -> Work:
    demand = Demand(DemandId(id), TenantId("vision"), (Bundle(ONE_CPU),))
    return Work(id, id.rpartition("-")[0], kind, "vision", 50, demand, "{}", "c", pipeline=pipeline, trace=trace)


def plan(at_s: float, number: int, gap: float = 0.0) -> PlanAdopted:
    return PlanAdopted(at_s, number, "cpsat", "optimal", 1.0, 1.0, gap, wall_s=0.25, shares=(("vision", 0.75, 0.5),))


STORY: list[list[Event]] = [
    [EpochStarted(0.0, 1, "0.1.0"), TenantsApplied(0.0, (Tenant(TenantId("vision")),))],
    [NodeChanged(0.0, Node(N1, ONE_CPU), "worker-1"), NodeChanged(0.0, Node(N2, ONE_CPU))],
    [Submitted(0.0, work(TRAIN)), Submitted(0.0, work(SERVE, "serve"))],
    [Waits(1.0, TRAIN, "capacity", "1 CPU wanted, 0 free")],
    [plan(5.0, 1), Granted(5.0, TRAIN, 1, 1, (N1,), 1, "first")],
    [AttemptStarted(6.0, TRAIN, 1, (N1,))],
    [PreemptionOrdered(9.0, TRAIN, 1, "priority", (SOLO,), 19.0)],
    [AttemptEnded(10.0, TRAIN, 1, Outcome.PREEMPTED, (N1,)), Requeued(10.0, TRAIN, "preempted")],
    [plan(12.0, 2, gap=0.125), Granted(12.0, TRAIN, 2, 2, (N2,), 2), Granted(12.0, SERVE, 1, 3, (N1,), 2)],
    [AttemptStarted(13.0, TRAIN, 2, (N1,)), PlacementDiffered(13.0, TRAIN, 2, (N2,), (N1,))],
    [AttemptReady(14.0, SERVE, 1)],
    [AttemptEnded(20.0, TRAIN, 2, Outcome.FAILED, (N1,), error="ValueError: no", exit_code=3)],
    [Finished(20.0, TRAIN, "FAILED", "UserError", "ValueError: no", 3)],
    [Finished(21.0, SERVE, "STOPPED", "StoppedByUser")],
    [Submitted(30.0, work(SOLO, pipeline=None))],
    [Waits(31.0, SOLO, "quota", "over the limit")],
]


def tell(story: Sequence[Sequence[Event]], *sinks: Sink, state: State | None = None) -> State:
    """Fold the turns and call the sinks after each, as the control plane does."""
    folded = State() if state is None else state
    for events in story:
        folded = replay(events, folded)
        for sink in sinks:
            sink(events, folded)
    return folded


def spans_of(story: Sequence[Sequence[Event]], state: State | None = None) -> list[ReadableSpan]:
    memory = InMemorySpanExporter()
    tell(story, SpanSink([SimpleSpanProcessor(memory)]), state=state)
    return list(memory.get_finished_spans())


def named(spans: Sequence[ReadableSpan], name: str, workload: WorkloadId | None = None) -> list[ReadableSpan]:
    of_name = [span for span in spans if span.name == name]
    return [s for s in of_name if workload is None or (s.attributes or {})["aios.workload"] == workload]


def seconds(span: ReadableSpan) -> tuple[float, float]:
    return (span.start_time or 0) / 1e9, (span.end_time or 0) / 1e9


def ids(context: Any) -> tuple[int, int]:
    return context.trace_id, context.span_id


def test_a_submission_is_one_trace_with_all_its_steps() -> None:
    spans = spans_of(STORY)
    (submit,) = named(spans, "submit")[:1]
    own = [span for span in spans if span.name != "plan" and span.context.trace_id == submit.context.trace_id]
    assert sorted(span.name for span in own) == [
        "attempt", "attempt", "stage", "stage", "submit", "wait", "wait", "wait",
    ]  # fmt: skip
    stages = {ids(span.context) for span in own if span.name == "stage"}
    for span in own:
        if span.name == "stage":
            assert ids(span.parent) == ids(submit.context)
        elif span.name != "submit":
            assert ids(span.parent) in stages
    assert len({ids(span.context) for span in spans}) == len(spans)


def test_spans_have_the_times_of_the_events_on_whatever_clock() -> None:
    spans = spans_of(STORY)
    assert [seconds(span) for span in named(spans, "wait", TRAIN)] == [(0.0, 5.0), (10.0, 12.0)]
    assert [seconds(span) for span in named(spans, "attempt", TRAIN)] == [(5.0, 10.0), (12.0, 20.0)]
    assert [seconds(span) for span in named(spans, "stage")] == [(0.0, 20.0), (0.0, 21.0)]
    assert [seconds(span) for span in named(spans, "plan")] == [(4.75, 5.0), (11.75, 12.0)]


def test_an_attempt_says_where_it_ran_how_it_ended_and_why() -> None:
    first, second = named(spans_of(STORY), "attempt", TRAIN)
    assert dict(first.attributes or {}) | {
        "aios.tenant": "vision", "aios.kind": "train", "aios.attempt": 1, "aios.fence": 1, "aios.nodes": ("worker-1",),
        "aios.outcome": "preempted", "aios.reason": "priority", "aios.why": "first",
    } == dict(first.attributes or {})  # fmt: skip
    assert first.status.status_code is StatusCode.UNSET, "a preemption is no error"
    assert (second.attributes or {})["aios.nodes"] == ("n2",), "a node without a name goes by its id"
    assert (second.attributes or {})["aios.nodes.actual"] == ("worker-1",)
    assert (second.attributes or {})["process.exit.code"] == 3
    assert second.status.status_code is StatusCode.ERROR
    assert second.status.description == "ValueError: no"
    assert [event.name for event in second.events] == ["started"]


def test_a_wait_says_why_and_ends_with_the_workload_where_nothing_was_granted() -> None:
    over = [*STORY, [Finished(40.0, SOLO, "STOPPED", "StoppedByUser")]]
    (wait,) = named(spans_of(over), "wait", SOLO)
    assert seconds(wait) == (30.0, 40.0)
    assert (wait.attributes or {})["aios.reason"] == "quota"
    assert [(s.attributes or {})["aios.reason"] for s in named(spans_of(over), "wait", TRAIN)] == ["capacity", ""]


def test_a_plan_and_the_attempts_that_it_granted_link_to_each_other() -> None:
    over = [*STORY[:-2], [AttemptEnded(21.0, SERVE, 1, Outcome.STOPPED)]]
    spans = spans_of(over)
    plans = {ids(span.context): span for span in named(spans, "plan")}
    attempts = {ids(span.context): span for span in named(spans, "attempt")}
    assert len(attempts) == 3
    forth = {(key, ids(link.context)) for key, span in plans.items() for link in span.links}
    back = {(ids(link.context), key) for key, span in attempts.items() for link in span.links}
    assert forth == back
    assert {key for _, key in forth} == set(attempts)


def test_the_caller_s_trace_goes_on() -> None:
    spans = spans_of([[Submitted(1.0, work(SOLO, pipeline=None, trace=PARENT))], [Finished(2.0, SOLO, "STOPPED")]])
    assert {format(span.context.trace_id, "032x") for span in spans} == {PARENT.split("-")[1]}
    (submit,) = named(spans, "submit")
    assert submit.parent is not None
    assert format(submit.parent.span_id, "016x") == PARENT.split("-")[2]


@pytest.mark.parametrize("bad", ["", "nonsense", PARENT.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01", PARENT + "-x"])
def test_a_caller_s_trace_that_is_none_is_left_out(bad: str) -> None:
    (submit,) = spans_of([[Submitted(1.0, work(SOLO, pipeline=None, trace=bad))]])
    assert submit.parent is None
    assert submit.context.trace_id != 0


def test_submitting_the_same_pipeline_again_is_another_trace() -> None:
    again = [[Submitted(at_s, work(WorkloadId(f"train-{n}")))] for n, at_s in enumerate((1.0, 2.0))]
    assert len({span.context.trace_id for span in spans_of(again)}) == 2


def test_the_plans_of_two_logs_are_told_apart() -> None:
    traces = set()
    for instance in ("sqlite:////a.db", "sqlite:////b.db"):
        memory = InMemorySpanExporter()
        tell(STORY[:5], SpanSink([SimpleSpanProcessor(memory)], instance))
        traces |= {span.context.trace_id for span in named(memory.get_finished_spans(), "plan")}
    assert len(traces) == 2


@pytest.mark.parametrize("turns", range(1, len(STORY)))
def test_a_control_plane_that_took_over_goes_on_with_the_same_spans(turns: int) -> None:
    def shown(spans: Sequence[ReadableSpan]) -> list[Any]:
        return [(s.name, ids(s.context), seconds(s), [ids(link.context) for link in s.links]) for s in spans]

    before = tell(STORY[:turns])
    assert shown(spans_of(STORY[:turns]) + spans_of(STORY[turns:], before)) == shown(spans_of(STORY))


def test_the_file_of_spans_is_what_collectors_read(tmp_path: Path) -> None:
    trace_pb2 = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2")
    from google.protobuf.json_format import Parse

    sink = SpanSink(processors(tmp_path, env={}))
    tell([*STORY, [plan(40.0, 3, gap=float("inf"))]], sink)
    sink.close()
    lines = span_file(tmp_path).read_text().splitlines()
    assert len(lines) == len(spans_of(STORY)) + 1
    for line in lines:
        (resource,) = json.loads(line)["resourceSpans"]
        (span,) = resource["scopeSpans"][0]["spans"]
        assert (len(span["traceId"]), len(span["spanId"])) == (32, 16)
        parsed = Parse(as_protobuf_json(line), trace_pb2.TracesData()).resource_spans[0].scope_spans[0].spans[0]
        assert parsed.name == span["name"]
        assert parsed.trace_id.hex() == span["traceId"]
        assert parsed.kind == (parsed.SPAN_KIND_SERVER if parsed.name == "submit" else parsed.SPAN_KIND_INTERNAL)
        assert parsed.end_time_unix_nano >= parsed.start_time_unix_nano
    assert stat.S_IMODE(span_file(tmp_path).stat().st_mode) == 0o600


def as_protobuf_json(line: str) -> str:
    """OTLP-JSON writes ids in hex where Protobuf's own JSON has base64; that is the only difference."""

    def convert(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else value
            for key, value in pairs
        }

    return json.dumps(json.loads(line, object_pairs_hook=convert))


def test_the_file_of_spans_is_rotated_by_size(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    exporter = FileSpanExporter(path, max_bytes=4000, n_kept=2)
    for _ in range(5):
        for span in spans_of(STORY):
            exporter.export([span])
    exporter.shutdown()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["spans.jsonl", "spans.jsonl.1", "spans.jsonl.2"]
    for file in files:
        assert file.stat().st_size <= 4000
        assert all(json.loads(line) for line in file.read_text().splitlines())


def test_nothing_leaves_the_machine_unless_the_environment_names_a_collector(tmp_path: Path) -> None:
    assert len(processors(tmp_path, env={})) == 1


def test_a_collector_without_the_exporter_installed_is_reported_and_the_file_is_still_written(tmp_path: Path) -> None:
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # type: ignore[import-not-found]  # noqa: F401
    except ModuleNotFoundError:
        pass
    else:
        pytest.skip("the exporter is installed here")
    with structlog.testing.capture_logs() as captured:
        found = processors(tmp_path, env={ENDPOINT: "http://127.0.0.1:4318"})
    assert len(found) == 1
    assert captured[0]["hint"] == "pip install 'aios[otlp]'"


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics()
    yield made
    made.close()


def test_metrics_count_what_happened(metrics: Metrics) -> None:
    text = metrics.render(tell(STORY, metrics))
    assert value(text, "aios_workloads_submitted_total", tenant="vision", kind="train") == 2
    assert value(text, "aios_attempts_total", tenant="vision", kind="train", outcome="preempted") == 1
    assert value(text, "aios_attempts_total", tenant="vision", kind="train", outcome="failed") == 1
    assert value(text, "aios_preemptions_total", tenant="vision", cause="priority") == 1
    assert value(text, "aios_placement_differences_total", tenant="vision", kind="train") == 1
    assert value(text, "aios_plans_total", planner="cpsat", status="optimal") == 2
    assert value(
        text, "aios_workloads_finished_total", tenant="vision", kind="train", status="FAILED", reason="UserError"
    ) == 1  # fmt: skip


def test_metrics_measure_waits_plans_and_runs(metrics: Metrics) -> None:
    text = metrics.render(tell(STORY, metrics))
    assert value(text, "aios_queue_wait_seconds_sum", tenant="vision") == 5 + 2 + 12
    assert value(text, "aios_queue_wait_seconds_count", tenant="vision") == 3
    assert value(text, "aios_queue_wait_seconds_bucket", tenant="vision", le="1.0") == 0
    assert value(text, "aios_queue_wait_seconds_bucket", tenant="vision", le="5.0") == 2
    assert value(text, "aios_queue_wait_seconds_bucket", tenant="vision", le="+Inf") == 3
    assert value(text, "aios_plan_duration_seconds_sum", planner="cpsat") == 0.5
    ran = value(text, "aios_attempt_duration_seconds_sum", tenant="vision", kind="train", outcome="failed")
    assert ran == 8


def test_metrics_show_the_state_as_it_is_now(metrics: Metrics) -> None:
    text = metrics.render(tell(STORY, metrics))
    assert value(text, "aios_queue_length", tenant="vision") == 1
    assert value(text, "aios_queue_reasons", reason="quota") == 1
    assert value(text, "aios_workloads", tenant="vision", status="QUEUED") == 1
    assert value(text, "aios_plan_gap_ratio", planner="cpsat") == 0.125
    assert value(text, "aios_share_ratio", tenant="vision", share="entitled") == 0.75
    assert value(text, "aios_nodes", state="ready") == 2
    assert value(text, "aios_epoch") == 1
    over = tell([[Finished(40.0, SOLO, "STOPPED")]], metrics, state=tell(STORY))
    text = metrics.render(over)
    assert value(text, "aios_queue_length", tenant="vision") == 0, "an empty queue is a number too"
    assert value(text, "aios_workloads", tenant="vision", status="QUEUED") is None


def test_metrics_never_name_a_workload_and_can_be_read_before_anything_happened(metrics: Metrics) -> None:
    assert value(metrics.render(State()), "aios_events") == 0
    text = metrics.render(tell(STORY, metrics))
    assert not any(id in text for id in (TRAIN, SERVE, SOLO))


def test_counters_only_rise_from_turn_to_turn(metrics: Metrics) -> None:
    seen, state = [], State()
    for events in STORY:
        state = tell([events], metrics, state=state)
        seen.append({key: n for key, n in samples(metrics.render(state)).items() if key[0].endswith("_total")})
    for before, after in pairwise(seen):
        assert all(after[key] >= n for key, n in before.items())


def test_a_simulated_run_reports_as_a_real_one(metrics: Metrics) -> None:
    """1. A run holds the node. 2. An urgent one displaces it. 3. It resumes and ends. All on virtual time."""
    arrivals = [
        Arrival(0.0, submit(want("train", 1, cpu=4, estimate_s=100.0))),
        Arrival(30.0, submit(want("urgent", 1, cpu=4, priority=10, estimate_s=20.0))),
    ]
    memory = InMemorySpanExporter()
    states: list[State] = []
    span_sink = SpanSink([SimpleSpanProcessor(memory)])

    def listen(events: Sequence[Event], state: State) -> None:
        metrics(events, state)
        span_sink(events, state)
        states.append(state)

    report = simulate(arrivals, [node("n1")], [tenant("team")], first_fit, listener=listen)
    spans = memory.get_finished_spans()
    text = metrics.render(states[-1])
    assert value(text, "aios_preemptions_total", tenant="team", cause="priority") == 1
    for row in report.rows:
        id = WorkloadId(row.id)
        waits, attempts, (stage,) = named(spans, "wait", id), named(spans, "attempt", id), named(spans, "stage", id)
        assert len(attempts) == row.attempts
        assert seconds(stage) == (row.submitted_s, row.finished_s)
        assert sum(end - start for start, end in map(seconds, waits)) == pytest.approx(row.waited_s)
    attempts = named(spans, "attempt")
    plans = {ids(span.context) for span in named(spans, "plan")}
    assert {ids(link.context) for span in attempts for link in span.links} <= plans
    assert all(span.links for span in attempts), "each attempt links to the plan that granted it"
    waited_s = sum(row.waited_s for row in report.rows)
    assert value(text, "aios_queue_wait_seconds_sum", tenant="team") == pytest.approx(waited_s)
