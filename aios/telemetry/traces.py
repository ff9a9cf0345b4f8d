"""Spans made after the fact from the event stream: how a submission became plans, attempts and an end.

One trace per submission. Its ids are derived from names, not drawn, so that a control plane that took over goes on
with the trace of its predecessor, spans link to each other without any memory, and a replay gives the same trace::

    submit                          the request; its parent is the caller's span (``Work.trace``), if there is one
    └── stage                       one workload from its submission to its end
        ├── wait                    from queued to granted, once per time in the queue
        └── attempt ──link── plan   one run, and the plan (a trace of its own) that granted it
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from aios.kernel.events import (
    AttemptEnded,
    Event,
    Finished,
    Granted,
    Outcome,
    PlanAdopted,
    Submitted,
    Waits,
    WorkloadId,
)
from aios.kernel.state import Attempt, State, Workload

SCOPE = InstrumentationScope("aios")
RESOURCE = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "aios"})
"""Who reports; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are heeded."""

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_BAD = (Outcome.FAILED, Outcome.LOST)


class SpanSink:
    """Turns events into ended spans and hands them to the processors.

    All that it keeps between turns is why each workload waits, which the state forgets with the grant; after a
    take-over that attribute is empty until the reason changes.

    Parameters
    ----------
    processors : sequence of SpanProcessor
        Get each span once, ended.
    instance : str
        What tells this log from others whose spans go to the same collector, as plans are only numbered.
    """

    def __init__(self, processors: Sequence[SpanProcessor], instance: str = "", resource: Resource = RESOURCE) -> None:
        self._processors = tuple(processors)
        self._instance = instance
        self._resource = resource
        self._reasons: dict[WorkloadId, str] = {}

    def __call__(self, events: Sequence[Event], state: State) -> None:
        submitted: set[int] = set()
        for event in events:
            for span in self._spans(event, events, state, submitted):
                for processor in self._processors:
                    processor.on_end(span)

    def close(self) -> None:
        """Write out what the processors still hold."""
        for processor in self._processors:
            processor.shutdown()

    def _spans(self, event: Event, events: Sequence[Event], state: State, submitted: set[int]) -> list[ReadableSpan]:
        if isinstance(event, PlanAdopted):
            return [self._plan(event, events, state)]
        workload = state.workloads.get(_workload_id(event))
        if workload is None:
            return []
        trace = _Trace.of(workload)
        match event:
            case Waits():
                self._reasons[event.workload] = event.reason
            case Submitted() if trace.submit.span_id not in submitted:
                submitted.add(trace.submit.span_id)  # the stages of a pipeline are submitted at once
                return [self._submit(workload, trace)]
            case Granted():
                return [self._wait(workload, trace, event.at_s, "granted", event.attempt)]
            case AttemptEnded():
                attempt = next((a for a in workload.attempts if a.number == event.attempt), None)
                return [] if attempt is None else [self._attempt(workload, trace, attempt, event, state)]
            case Finished():
                wait = [self._wait(workload, trace, event.at_s, "finished", 0)] if _ended_waiting(workload) else []
                self._reasons.pop(workload.id, None)
                return [*wait, self._stage(workload, trace, event)]
        return []

    def _submit(self, workload: Workload, trace: _Trace) -> ReadableSpan:
        at_s = workload.submitted_s
        attributes = {"aios.tenant": workload.work.tenant, "aios.pipeline": workload.work.pipeline or ""}
        return self._span("submit", trace.submit, trace.caller, at_s, at_s, attributes, kind=SpanKind.SERVER)

    def _wait(self, workload: Workload, trace: _Trace, end_s: float, until: str, number: int) -> ReadableSpan:
        """Make the span of one time in the queue; ``number`` is the attempt that it led to, 0 for none."""
        reason = self._reasons.pop(workload.id, "")
        attributes = {**_about(workload), "aios.attempt": number, "aios.until": until, "aios.reason": reason}
        context = trace.child("wait", workload.id, number)
        return self._span("wait", context, trace.stage(workload), workload.queued_s, end_s, attributes)

    def _attempt(
        self, workload: Workload, trace: _Trace, attempt: Attempt, event: AttemptEnded, state: State
    ) -> ReadableSpan:
        attributes = {
            **_about(workload),
            "aios.attempt": attempt.number,
            "aios.fence": attempt.fence,
            "aios.plan": attempt.plan_id,
            "aios.nodes": _names(attempt.nodes, state),
            "aios.nodes.actual": _names(event.nodes or attempt.actual, state),
            "aios.outcome": event.outcome.value,
            "aios.reason": attempt.preempt_cause,
            "aios.why": attempt.why,
            "aios.resumed_step": attempt.resumed_step,
        }
        if event.exit_code is not None:
            attributes["process.exit.code"] = event.exit_code
        moments = [("started", attempt.started_s), ("ready", attempt.ready_s)]
        bad = event.outcome in _BAD
        return self._span(
            "attempt",
            trace.child("attempt", workload.id, attempt.number),
            trace.stage(workload),
            attempt.granted_s,
            event.at_s,
            attributes,
            links=[Link(self._plan_context(attempt.plan_id))] if attempt.plan_id else [],
            events=[SpanEvent(name, timestamp=_ns(at_s)) for name, at_s in moments if at_s is not None],
            status=Status(StatusCode.ERROR, event.error[:500]) if bad else Status(),
        )

    def _stage(self, workload: Workload, trace: _Trace, event: Finished) -> ReadableSpan:
        attributes = {
            **_about(workload),
            "aios.status": event.status,
            "aios.reason": event.reason,
            "aios.attempts": len(workload.attempts),
            "aios.waited_s": workload.waited_s,
            "aios.ran_s": workload.ran_s,
        }
        status = Status(StatusCode.ERROR, event.message[:500]) if event.status == "FAILED" else Status()
        return self._span(
            "stage", trace.stage(workload), trace.submit, workload.submitted_s, event.at_s, attributes, status=status
        )

    def _plan(self, plan: PlanAdopted, events: Sequence[Event], state: State) -> ReadableSpan:
        # What waits for others to yield is granted in a later turn, and links back to this plan then.
        granted = [event for event in events if isinstance(event, Granted) and event.plan_id == plan.plan_id]
        attributes = {
            "aios.plan": plan.plan_id,
            "aios.planner": plan.planner,
            "aios.plan.status": plan.status,
            "aios.plan.objective": plan.objective,
            "aios.plan.bound": plan.bound,
            "aios.plan.gap": plan.gap,
            "aios.plan.granted": len(granted),
            "aios.plan.fallbacks": plan.fallbacks,
            "aios.plan.refused": plan.refused,
        }
        links = []
        for event in granted:
            workload = state.workloads.get(event.workload)
            if workload is not None:
                links.append(Link(_Trace.of(workload).child("attempt", workload.id, event.attempt)))
        context = self._plan_context(plan.plan_id)
        return self._span("plan", context, None, plan.at_s - plan.wall_s, plan.at_s, attributes, links=links)

    def _plan_context(self, plan_id: int) -> SpanContext:
        """A plan is a trace of its own, as it is about many submissions."""
        return _context(_hash(16, "plan", self._instance, plan_id), "plan")

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        start_s: float,
        end_s: float,
        attributes: dict[str, Any],
        *,
        links: Sequence[Link] = (),
        events: Sequence[SpanEvent] = (),
        status: Status | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context,
            parent,
            resource=self._resource,
            attributes=attributes,
            events=events,
            links=links,
            kind=kind,
            status=status if status is not None else Status(),
            start_time=_ns(start_s),
            end_time=_ns(max(start_s, end_s)),
            instrumentation_scope=SCOPE,
        )


@dataclass(frozen=True, slots=True)
class _Trace:
    """The trace of one submission, and the span of the submission in it."""

    trace_id: int
    submit: SpanContext
    caller: SpanContext | None = None

    @classmethod
    def of(cls, workload: Workload) -> _Trace:
        # The stages of a pipeline are submitted together, and another time under the same name at another time.
        submission = (workload.work.pipeline or workload.id, workload.submitted_s)
        given = _TRACEPARENT.fullmatch(workload.work.trace)
        if given is None:
            trace_id = _hash(16, "trace", *submission)
            return cls(trace_id, _context(trace_id, "submit", *submission))
        trace_id, span_id = int(given[1], 16), int(given[2], 16)
        caller = SpanContext(trace_id, span_id, is_remote=True, trace_flags=_SAMPLED)
        return cls(trace_id, _context(trace_id, "submit", *submission), caller)

    def stage(self, workload: Workload) -> SpanContext:
        return self.child("stage", workload.id)

    def child(self, *name: object) -> SpanContext:
        return _context(self.trace_id, *name)


_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def _context(trace_id: int, *name: object) -> SpanContext:
    return SpanContext(trace_id, _hash(8, trace_id, *name), is_remote=False, trace_flags=_SAMPLED)


def _hash(n_bytes: int, *name: object) -> int:
    digest = hashlib.sha256("\0".join(map(str, ("aios", *name))).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:n_bytes], "big") or 1


def _ns(at_s: float) -> int:
    return max(0, round(at_s * 1e9))


def _workload_id(event: Event) -> WorkloadId:
    return event.work.id if isinstance(event, Submitted) else getattr(event, "workload", WorkloadId(""))


def _about(workload: Workload) -> dict[str, Any]:
    work = workload.work
    about: dict[str, Any] = {
        "aios.tenant": work.tenant,
        "aios.workload": work.id,
        "aios.name": work.name,
        "aios.kind": work.kind,
        "aios.priority": work.priority,
    }
    return about if work.pipeline is None else {**about, "aios.pipeline": work.pipeline}


def _ended_waiting(workload: Workload) -> bool:
    last = workload.attempt
    return last is None or (last.ended_s is not None and workload.queued_s >= last.ended_s)


def _names(nodes: Sequence[Any], state: State) -> tuple[str, ...]:
    return tuple(state.node_names.get(node, "") or str(node) for node in nodes)
