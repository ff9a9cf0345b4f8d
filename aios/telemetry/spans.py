"""Where spans go: a file of OTLP-JSON lines always, and a collector where the environment names one."""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import Link, SpanContext, StatusCode

from aios.telemetry.files import MAX_BYTES, N_KEPT, PrivateRotatingFile

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

_log = structlog.get_logger("aios.telemetry")


def span_file(state_dir: Path) -> Path:
    """Return where the spans are."""
    return state_dir / "traces" / "spans.jsonl"


def processors(state_dir: Path, env: Mapping[str, str] | None = None) -> list[SpanProcessor]:
    """Return what a control plane's spans go through: the file, and a collector if ``env`` names its endpoint."""
    env = os.environ if env is None else env
    found: list[SpanProcessor] = [SimpleSpanProcessor(FileSpanExporter(span_file(state_dir)))]
    if env.get(ENDPOINT):
        try:
            exporter: SpanExporter = importlib.import_module(_OTLP).OTLPSpanExporter()
        except ModuleNotFoundError:
            _log.warning("spans_not_exported", reason=f"{ENDPOINT} is set, the exporter is not installed",
                         hint="pip install 'aios[otlp]'")  # fmt: skip
        else:
            found.append(BatchSpanProcessor(exporter))
    return found


class FileSpanExporter(SpanExporter):
    """Writes each batch of spans as a line of OTLP-JSON, as the OTLP file format has it, to files rotated by size."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, n_kept: int = N_KEPT) -> None:
        self._file = PrivateRotatingFile(path, max_bytes, n_kept)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        line = json.dumps(otlp(spans), separators=(",", ":"), allow_nan=False)
        self._file.handle(logging.makeLogRecord({"msg": line}))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self._file.flush()
        return True


def otlp(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """Return spans as OTLP's ``TracesData`` in JSON: ids in hex, 64-bit numbers as text."""
    by_resource: dict[Any, list[ReadableSpan]] = {}
    for span in spans:
        by_resource.setdefault(span.resource, []).append(span)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource.attributes)},
                "scopeSpans": [{"scope": {"name": "aios"}, "spans": [_span(span) for span in members]}],
            }
            for resource, members in by_resource.items()
        ]
    }


def _span(span: ReadableSpan) -> dict[str, Any]:
    status: dict[str, Any] = {} if span.status.status_code is StatusCode.UNSET else {
        "code": span.status.status_code.value, "message": span.status.description or ""
    }  # fmt: skip
    parent = {} if span.parent is None else {"parentSpanId": format(span.parent.span_id, "016x")}
    return {
        **_ids(span.get_span_context()),
        **parent,
        "name": span.name,
        "kind": span.kind.value + 1,  # OTLP counts from 1, with 0 for unspecified
        "startTimeUnixNano": str(span.start_time or 0),
        "endTimeUnixNano": str(span.end_time or 0),
        "attributes": _attributes(span.attributes),
        "events": [_event(event) for event in span.events],
        "links": [_link(link) for link in span.links],
        "status": status,
    }


def _ids(context: SpanContext | None) -> dict[str, str]:
    assert context is not None, "a span of ours always has its ids"
    return {"traceId": format(context.trace_id, "032x"), "spanId": format(context.span_id, "016x")}


def _event(event: Event) -> dict[str, Any]:
    return {"timeUnixNano": str(event.timestamp), "name": event.name, "attributes": _attributes(event.attributes)}


def _link(link: Link) -> dict[str, Any]:
    return {**_ids(link.context), "attributes": _attributes(link.attributes)}


def _attributes(attributes: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in (attributes or {}).items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _NOT_FINITE.get(value, "NaN")}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_value(inner) for inner in value]}}
    return {"stringValue": str(value)}


_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}
