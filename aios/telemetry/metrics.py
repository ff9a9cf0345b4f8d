"""Numbers about the whole system, counted from the event stream and read off the state, as Prometheus text.

Labels are bounded: tenants, kinds, states and reason codes, never a workload's id. Counters begin with the control
plane, or with the log where it is replayed into ``Metrics`` first.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricReader,
    NumberDataPoint,
    Sum,
)
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from aios.kernel.events import (
    AttemptEnded,
    Event,
    Finished,
    Granted,
    PlacementDiffered,
    PlanAdopted,
    PreemptionOrdered,
    Submitted,
    WorkloadId,
)
from aios.kernel.state import State, Status
from aios.telemetry.traces import RESOURCE

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

WAIT_BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
PLAN_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RUN_BUCKETS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


class Metrics:
    """A sink of events that can be read at any time.

    Parameters
    ----------
    readers : sequence of MetricReader
        Further readers of the same numbers, such as a periodic one that exports to a collector.
    """

    def __init__(self, readers: Sequence[MetricReader] = ()) -> None:
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader, *readers], resource=RESOURCE, shutdown_on_exit=False)
        self._reading = threading.Lock()
        self._state = State()
        self._waited_before_s: dict[WorkloadId, float] = {}
        meter = self._provider.get_meter("aios")
        self._submitted = meter.create_counter("aios.workloads.submitted", description="Workloads accepted.")
        self._finished = meter.create_counter("aios.workloads.finished", description="Workloads that are over.")
        self._attempts = meter.create_counter("aios.attempts", description="Attempts that ended, by outcome.")
        self._preemptions = meter.create_counter("aios.preemptions", description="Attempts that were asked to yield.")
        self._plans = meter.create_counter("aios.plans", description="Plans adopted.")
        self._differed = meter.create_counter(
            "aios.placement.differences", description="Attempts whose workers ran elsewhere than planned."
        )
        self._waited_s = meter.create_histogram(
            "aios.queue.wait", "s", "Time in the queue until a grant.",
            explicit_bucket_boundaries_advisory=WAIT_BUCKETS_S,
        )  # fmt: skip
        self._ran_s = meter.create_histogram(
            "aios.attempt.duration", "s", "Time from an attempt's grant to its end.",
            explicit_bucket_boundaries_advisory=RUN_BUCKETS_S,
        )  # fmt: skip
        self._planned_s = meter.create_histogram(
            "aios.plan.duration", "s", "Time that a planner took.", explicit_bucket_boundaries_advisory=PLAN_BUCKETS_S
        )
        for name, unit, description, look in GAUGES:
            meter.create_observable_gauge(name, [self._looking(look)], unit, description)

    def __call__(self, events: Sequence[Event], state: State) -> None:
        self._state = state
        for event in events:
            self._count(event, state)

    def render(self, state: State) -> str:
        """Return all metrics in Prometheus' text format, with the gauges as of ``state``."""
        registry = CollectorRegistry(auto_describe=False)
        with self._reading:
            self._state = state
            registry.register(_Families(self._families()))
        return generate_latest(registry).decode()

    def close(self) -> None:
        """Let the further readers export what they still hold."""
        self._provider.shutdown()

    def _looking(self, look: _Look) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: [Observation(value, labels) for value, labels in look(self._state)]

    def _count(self, event: Event, state: State) -> None:
        match event:
            case Submitted():
                self._submitted.add(1, {"tenant": event.work.tenant, "kind": event.work.kind})
            case Granted() if event.workload in state.workloads:
                waited_s = state.workloads[event.workload].waited_s
                before_s = self._waited_before_s.get(event.workload, 0.0)
                self._waited_before_s[event.workload] = waited_s
                self._waited_s.record(waited_s - before_s, {"tenant": _tenant(event.workload, state)})
            case AttemptEnded():
                labels = {**_labels(event.workload, state), "outcome": event.outcome.value}
                self._attempts.add(1, labels)
                for attempt in state.workloads[event.workload].attempts if event.workload in state.workloads else ():
                    if attempt.number == event.attempt:
                        self._ran_s.record(max(0.0, event.at_s - attempt.granted_s), labels)
            case PreemptionOrdered():
                self._preemptions.add(1, {"tenant": _tenant(event.workload, state), "cause": event.cause})
            case PlacementDiffered():
                self._differed.add(1, _labels(event.workload, state))
            case PlanAdopted():
                self._plans.add(1, {"planner": event.planner, "status": event.status})
                self._planned_s.record(event.wall_s, {"planner": event.planner})
            case Finished():
                self._waited_before_s.pop(event.workload, None)
                labels = {**_labels(event.workload, state), "status": event.status, "reason": event.reason}
                self._finished.add(1, labels)

    def _families(self) -> list[Family]:
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        return [
            _family(metric)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]


def _labels(id: WorkloadId, state: State) -> dict[str, str]:
    workload = state.workloads.get(id)
    return {"tenant": _tenant(id, state), "kind": "" if workload is None else workload.work.kind}


def _tenant(id: WorkloadId, state: State) -> str:
    workload = state.workloads.get(id)
    return "" if workload is None else workload.work.tenant


_Points = Iterable[tuple[float, dict[str, str]]]
_Look = Callable[[State], _Points]


def _workloads_by_status(state: State) -> _Points:
    counts = Counter((state.workloads[id].work.tenant, state.workloads[id].status.value) for id in state.live)
    return [(n, {"tenant": tenant, "status": status}) for (tenant, status), n in sorted(counts.items())]


def _queue_length(state: State) -> _Points:
    counts = Counter({str(tenant): 0 for tenant in state.tenants})  # an empty queue is a number too
    waiting = (Status.QUEUED, Status.PREEMPTED)
    counts.update(state.workloads[id].work.tenant for id in state.live if state.workloads[id].status in waiting)
    return [(n, {"tenant": tenant}) for tenant, n in sorted(counts.items())]


def _waiting_by_reason(state: State) -> _Points:
    counts = Counter(waits.reason for waits in state.waits.values())
    return [(n, {"reason": reason}) for reason, n in sorted(counts.items())]


def _plan_gap(state: State) -> _Points:
    return [] if state.plan is None else [(state.plan.gap, {"planner": state.plan.planner})]


def _shares(state: State) -> _Points:
    for tenant, entitled, used in () if state.plan is None else state.plan.shares:
        yield entitled, {"tenant": tenant, "share": "entitled"}
        yield used, {"tenant": tenant, "share": "used"}


def _nodes(state: State) -> _Points:
    counts = Counter(node.state.value for node in state.nodes.values())
    return [(n, {"state": name}) for name, n in sorted(counts.items())]


GAUGES: tuple[tuple[str, str, str, _Look], ...] = (
    ("aios.workloads", "", "Workloads that are not over, by status.", _workloads_by_status),
    ("aios.queue.length", "", "Workloads that wait for a grant.", _queue_length),
    ("aios.queue.reasons", "", "Workloads that wait, by reason code.", _waiting_by_reason),
    ("aios.plan.gap", "1", "Relative gap between the adopted plan and its bound.", _plan_gap),
    ("aios.share", "1", "Dominant share of the cluster under the adopted plan.", _shares),
    ("aios.nodes", "", "Nodes by state.", _nodes),
    ("aios.events", "", "Events folded into the state.", lambda state: [(state.version, {})]),
    ("aios.epoch", "", "Epoch of the control plane that writes.", lambda state: [(state.epoch, {})]),
)
"""The one list of what is read off the state: name, unit, description, look."""

_SUFFIXES = {"s": "_seconds", "1": "_ratio", "By": "_bytes"}


class _Families(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _family(metric: Metric) -> Family:
    """Return an OpenTelemetry metric as a Prometheus one: base unit in the name, ``_total`` on counters."""
    name = metric.name.replace(".", "_") + _SUFFIXES.get(metric.unit or "", "")
    data_points: Sequence[Any] = metric.data.data_points  # which kind of points they are is looked up below
    points = sorted(data_points, key=lambda point: sorted((point.attributes or {}).items()))
    labels = sorted({label for point in points for label in point.attributes or {}})
    counting = isinstance(metric.data, Sum) and metric.data.is_monotonic
    family: Family
    if any(isinstance(point, HistogramDataPoint) for point in points):
        family = HistogramMetricFamily(name, metric.description or "", labels=labels)
    else:
        family = (CounterMetricFamily if counting else GaugeMetricFamily)(name, metric.description or "", labels=labels)
    for point in points:
        values = [str((point.attributes or {}).get(label, "")) for label in labels]
        if isinstance(family, HistogramMetricFamily) and isinstance(point, HistogramDataPoint):
            family.add_metric(values, _buckets(point), point.sum)
        elif isinstance(family, (CounterMetricFamily, GaugeMetricFamily)) and isinstance(point, NumberDataPoint):
            family.add_metric(values, point.value)
    return family


def _buckets(point: HistogramDataPoint) -> list[tuple[str, float]]:
    """Return cumulative counts by upper bound, as Prometheus has them."""
    bounds = [*map(str, point.explicit_bounds), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, point.bucket_counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
