"""Lineage for other tools: every run and every published version as OpenLineage events, to a file and over HTTP.

The catalogue is the record; these events are read from it after the fact, so nothing waits for whoever listens. They go
to ``<home>/lineage.jsonl``, and to ``$OPENLINEAGE_URL/api/v1/lineage`` (with ``$OPENLINEAGE_API_KEY``) where that is
set, as OpenLineage's own clients have it. Run ids are derived from names: a control plane that took over goes on.

References
----------
OpenLineage 2-0-2: https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from aios.kernel.events import Artefact, AttemptEnded, AttemptStarted, Event, Outcome, Published, WorkloadId
from aios.kernel.inputs import named, names
from aios.kernel.state import State
from aios.telemetry.files import PrivateRotatingFile

if TYPE_CHECKING:
    import httpx

SPEC = "https://openlineage.io/spec"
PRODUCER = "https://pypi.org/project/aios"
TIMEOUT_S = 5.0
WAITING = 1000
"""Events that may wait for a slow listener; more are in the file alone."""
ENDS = {Outcome.FAILED: "FAIL", Outcome.LOST: "FAIL", Outcome.PREEMPTED: "ABORT", Outcome.STOPPED: "ABORT"}

Send = Callable[[str], None]


class OpenLineageSink:
    """Turns events into OpenLineage's and hands each, as a line of JSON, to the senders."""

    def __init__(self, senders: Sequence[Send], namespace: str = "aios", instance: str = "") -> None:
        self._senders, self._namespace, self._instance = tuple(senders), namespace, instance

    def __call__(self, events: Sequence[Event], state: State) -> None:
        for event in events:
            for told in self._told(event, state):
                line = json.dumps(told, sort_keys=True)
                for send in self._senders:
                    send(line)

    def _told(self, event: Event, state: State) -> Iterator[dict[str, Any]]:
        match event:
            case AttemptStarted():
                yield self._run("START", event.at_s, state, event.workload, event.attempt)
            case AttemptEnded() if event.outcome in ENDS:
                yield self._run(ENDS[event.outcome], event.at_s, state, event.workload, event.attempt)
            case Published():
                told = self._run("COMPLETE", event.at_s, state, event.workload, event.attempt)
                told["inputs"] = [self._dataset(reference) for reference in event.inputs]
                told["inputs"] += self._sources(event.artefact) if event.workload else []
                told["outputs"] = [self._output(event)]
                if not event.workload:
                    told["job"]["name"] = f"by hand: {event.artefact.name}"
                    told["run"]["runId"] = self._id("by hand", event.artefact.name, event.version)
                yield told

    def _run(self, type_: str, at_s: float, state: State, id: WorkloadId, attempt: int) -> dict[str, Any]:
        workload = state.workloads.get(id)
        facets: dict[str, Any] = {}
        if workload is not None:
            kind = {"processingType": "BATCH", "integration": "AIOS", "jobType": workload.work.kind.upper()}
            facets["jobType"] = _facet("facets/2-0-3/JobTypeJobFacet.json", kind)
        return {
            "eventType": type_,
            "eventTime": datetime.fromtimestamp(at_s, UTC).isoformat(),
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": self._id(id, attempt), "facets": {}},
            "job": {
                "namespace": self._namespace,
                "name": workload.work.name if workload is not None else id,
                "facets": facets,
            },
            "inputs": [] if workload is None else [self._dataset(one) for one in names(state, workload)],
            "outputs": [],
        }

    def _dataset(self, reference: str) -> dict[str, Any]:
        key, version = named(reference) or (reference, None)
        facets = {} if version is None else {"version": _version(version)}
        return {"namespace": self._namespace, "name": key, "facets": facets}

    def _sources(self, artefact: Artefact) -> list[dict[str, Any]]:
        source = json.loads(artefact.meta).get("source")
        if not isinstance(source, dict) or not source:
            return []
        where = source.get("path") or source.get("url")
        name = where if isinstance(where, str) else json.dumps(source, sort_keys=True)
        return [{"namespace": "file" if str(name).startswith("/") else "source", "name": name, "facets": {}}]

    def _output(self, event: Published) -> dict[str, Any]:
        artefact, meta = event.artefact, json.loads(event.artefact.meta)
        told = self._dataset(f"{artefact.type}://{artefact.name}")
        columns = meta.get("schema")
        told["facets"] = {"version": _version(event.version)}
        told["facets"]["storage"] = _facet(
            "facets/1-0-1/StorageDatasetFacet.json", {"storageLayer": artefact.uri.partition(":")[0], "fileFormat": ""}
        )
        if isinstance(columns, Mapping):
            fields = [{"name": name, "type": str(type_)} for name, type_ in columns.items()]
            told["facets"]["schema"] = _facet("facets/1-1-1/SchemaDatasetFacet.json", {"fields": fields})
        if isinstance(meta.get("total_rows"), int):
            counts = {"rowCount": meta["total_rows"]}
            told["outputFacets"] = {
                "outputStatistics": _facet("facets/1-0-2/OutputStatisticsOutputDatasetFacet.json", counts)
            }
        return told

    def _id(self, *parts: object) -> str:
        """Return the run's UUID: the same one for the same attempt under the same log."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, (self._instance, *parts)))))


def _version(version: int) -> dict[str, Any]:
    return _facet("facets/1-0-1/DatasetVersionDatasetFacet.json", {"datasetVersion": str(version)})


def _facet(schema: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    name = schema.rpartition("/")[2].removesuffix(".json")
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}/{schema}#/$defs/{name}", **fields}


def senders(home: Path, env: Mapping[str, str] | None = None) -> tuple[Send, ...]:
    """Return where events go: the file, and a listener where the environment names one."""
    env = os.environ if env is None else env
    url = env.get("OPENLINEAGE_URL")
    if not url:
        return (to_file(home / "lineage.jsonl"),)
    endpoint = env.get("OPENLINEAGE_ENDPOINT", "api/v1/lineage")
    listener = Listener(f"{url.rstrip('/')}/{endpoint.lstrip('/')}", env.get("OPENLINEAGE_API_KEY", ""))
    return (to_file(home / "lineage.jsonl"), listener)


def to_file(path: Path) -> Send:
    """Return what writes lines to a private file that is rotated by size."""
    handler = PrivateRotatingFile(path)

    def send(line: str) -> None:
        handler.emit(logging.LogRecord("lineage", logging.INFO, "", 0, line, None, None))

    return send


class Listener:
    """Posts lines from a thread of its own; a listener that is slow or away holds nobody up."""

    def __init__(self, url: str, api_key: str = "", transport: httpx.BaseTransport | None = None) -> None:
        import httpx  # only who has a listener loads it: a control plane is back the sooner

        self._url = url
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT_S, transport=transport)
        self._lines: queue.Queue[str] = queue.Queue(WAITING)
        self._log = structlog.get_logger("aios.lineage")
        threading.Thread(target=self._run, name="aios-lineage", daemon=True).start()

    def __call__(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._log.warning("lineage_not_sent", url=self._url, why=f"{WAITING} events wait; it is in the file")

    def flush(self) -> None:
        """Return once all that was given has been sent or given up."""
        self._lines.join()

    def _run(self) -> None:
        import httpx

        while True:
            line = self._lines.get()
            try:
                self._client.post(self._url, content=line.encode()).raise_for_status()
            except httpx.HTTPError as error:
                self._log.warning("lineage_not_sent", url=self._url, why=str(error))
            finally:
                self._lines.task_done()
