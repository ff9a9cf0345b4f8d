"""Routes of workloads: submit, list, look at, wait for, stop, read the logs of, explain, plan without doing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aios.api import intake
from aios.api.answers import DOCUMENTS, EXAMPLE, answer, shows, takes
from aios.api.body import JsonBody, only_keys
from aios.api.find import find, find_one, workload_of
from aios.api.fits import Fits
from aios.api.overview import plan_view
from aios.api.present import answers, fingerprint, retired_view, workload_view
from aios.api.service import Service
from aios.api.why import explanations
from aios.errors import InvalidSpec, NotFound
from aios.kernel.events import WorkloadId
from aios.kernel.ports import PreemptWork, Request, Resume, Retry, StopWork, Suspend
from aios.kernel.state import State, Status, Tombstone, Workload
from aios.views import DryRunView, ExplainList, LogsView, PlanView, Submission, WaitView, WorkloadList, WorkloadView

LONGEST_POLL_S = 25.0
_TICK_S = 0.1
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MOST_DOCUMENTS = 1_000
FEW = 4
"""So many documents are looked at on the event loop; more would hold up others."""

Until = Literal["over", "succeeded", "running", "ready", "changed"]
PollSeconds = Annotated[float, Query(ge=0, le=LONGEST_POLL_S, allow_inf_nan=False)]
By = Annotated[str, Query(max_length=100)]
KeyHeader = Annotated[str, Header(alias="Idempotency-Key")]
TraceHeader = Annotated[str, Header(alias="traceparent")]


def routes(service: Service) -> APIRouter:
    router, fits = APIRouter(tags=["workloads"]), Fits()

    @router.post("/workloads", **shows(Submission, status_code=201, openapi_extra=takes(DOCUMENTS, EXAMPLE)))
    async def submit(body: JsonBody, idempotency_key: KeyHeader = "", traceparent: TraceHeader = "") -> Response:
        """Submit the workloads of these documents, all or none. The same key, or name and content, is the same work."""
        documents, rerun = documents_of(body)
        trace = traceparent if _TRACE.fullmatch(traceparent) else ""
        key, no_cache = checked_key(idempotency_key), flag(body, "no_cache")
        ask = partial(intake.prepared, service, documents, fits, key=key, rerun=rerun, no_cache=no_cache, trace=trace)
        try:
            request = ask(at_once=True) if len(documents) <= FEW else await run_in_threadpool(ask)
        except intake.WouldWait:
            request = await run_in_threadpool(ask)
        reply = intake.accepted(await service.hand_in(request))
        if all(WorkloadId(id) in service.state().workloads for id in reply.ids):
            views = intake.views_of(service, reply.ids)
        else:
            views = await run_in_threadpool(intake.views_of, service, reply.ids)
        return answer(Submission(views, reply.existing), 200 if reply.existing else 201)

    @router.get("/workloads", **shows(WorkloadList))
    def list_workloads(
        ref: str = "", tenant: str = "", status: str = "", pipeline: str = "", all: bool = False
    ) -> Response:
        """List workloads: those that are not over, or all; or those that ``ref`` addresses."""
        state, now_s = service.state(), service.now_s()
        chosen = find(service, ref) if ref else _chosen(state, status, all)
        views = [workload_view(state, one, now_s) if isinstance(one, Workload) else retired_view(one) for one in chosen]
        kept = (one for one in views if tenant in ("", one.tenant) and pipeline in ("", one.pipeline))
        return answer(WorkloadList(tuple(kept)))

    @router.get("/workloads/{ref}", **shows(WorkloadView))
    def get(ref: str) -> Response:
        """One workload by id, name or prefix."""
        return answer(workload_view(service.state(), find_one(service, ref), service.now_s()))

    @router.post("/workloads/{ref}/stop", **shows(WorkloadList))
    def stop(ref: str, by: By = "") -> Response:
        """Stop a workload, or all stages of a pipeline; what is over stays as it is."""
        found = find(service, ref)
        for workload in reversed(found):
            intake.accepted(service.submit(StopWork(workload.id, by)))
        return answer(WorkloadList(intake.views_of(service, [workload.id for workload in found])))

    def ordered(ref: str, order: Callable[[WorkloadId], Request]) -> Response:
        found = find(service, ref)
        for workload in reversed([workload for workload in found if len(found) == 1 or not workload.status.over]):
            intake.accepted(service.submit(order(workload.id)))
        return answer(WorkloadList(intake.views_of(service, [workload.id for workload in found])))

    @router.post("/workloads/{ref}/retry", **shows(Submission, status_code=201))
    def retry(ref: str, no_cache: bool = False, by: By = "") -> Response:
        """Submit again what did not succeed of a workload or pipeline; with ``no_cache`` what did, too."""
        found = find(service, ref)
        retired = tuple(workload.work for workload in found if workload.id not in service.state().workloads)
        ids = tuple(workload.id for workload in found)
        reply = intake.accepted(service.submit(Retry(ids, no_cache, by, retired)))
        return answer(Submission(intake.views_of(service, reply.ids)), 201)

    @router.post("/workloads/{ref}/preempt", **shows(WorkloadList))
    def preempt(ref: str, by: By = "") -> Response:
        """Have running work save its progress and queue again."""
        return ordered(ref, lambda id: PreemptWork(id, by))

    @router.post("/workloads/{ref}/suspend", **shows(WorkloadList))
    def suspend(ref: str, by: By = "") -> Response:
        """Have work save its progress and wait until it is resumed."""
        return ordered(ref, lambda id: Suspend(id, by))

    @router.post("/workloads/{ref}/resume", **shows(WorkloadList))
    def resume(ref: str, by: By = "") -> Response:
        """Let suspended work wait for its turn again."""
        return ordered(ref, lambda id: Resume(id, by))

    @router.get("/workloads/{ref}/explain", **shows(ExplainList))
    def explain(ref: str) -> Response:
        """Why a workload waits, or why it runs there, and what to do next."""
        return answer(ExplainList(explanations(service, find(service, ref))))

    @router.get("/workloads/{ref}/wait", **shows(WaitView))
    async def wait(ref: str, until: Until = "over", seen: str = "", timeout_s: PollSeconds = 20.0) -> Response:
        """Answer when the condition holds for all that ``ref`` addresses, or after ``timeout_s``."""
        ids = [workload.id for workload in await run_in_threadpool(find, service, ref)]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            state = service.state()
            workloads: list[Workload] = []
            for id in ids:
                live = state.workloads.get(id)
                workloads.append(await run_in_threadpool(workload_of, service, id) if live is None else live)
            mark = fingerprint(workloads)
            done = mark != seen if until == "changed" else settled(workloads, until)
            if done or loop.time() >= deadline:
                break
            await asyncio.sleep(_TICK_S)
        now_s = service.now_s()
        return answer(WaitView(done, mark, tuple(workload_view(state, w, now_s) for w in workloads)))

    @router.get("/workloads/{ref}/logs", **shows(LogsView))
    async def logs(
        ref: str,
        attempt: Annotated[int, Query(ge=0, le=10**6)] = 0,
        offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
        timeout_s: PollSeconds = 0.0,
    ) -> Response:
        """A piece of an attempt's log from a byte on (attempt 0: the latest); waits for more up to ``timeout_s``."""
        workload = await run_in_threadpool(find_one, service, ref)
        number = attempt or len(workload.attempts)
        if number > len(workload.attempts):
            raise NotFound(f"{workload.id} has no attempt {number}", hint=f"it had {len(workload.attempts)}")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            workload = service.state().workloads.get(workload.id, workload)
            ended = (number == 0 and workload.status.over) or _ended(workload, number)
            piece = await run_in_threadpool(service.logs, workload.id, number, offset) if number else b""
            if piece or ended or len(workload.attempts) > number or loop.time() >= deadline:
                break
            await asyncio.sleep(2 * _TICK_S)
        text, used = decoded(piece, last=ended)
        return answer(
            LogsView(
                workload=workload.id,
                attempt=number,
                text=text,
                next_offset=offset + used,
                end=ended and not piece,
                latest_attempt=len(workload.attempts),
                over=workload.status.over,
            )
        )

    @router.get("/plan", **shows(PlanView))
    def plan() -> Response:
        """The plan in force, its terms, bound and gap, and each tenant's share."""
        return answer(plan_view(service.state()))

    @router.post("/plan", **shows(DryRunView, openapi_extra=takes(DOCUMENTS, EXAMPLE)))
    def dry_run(body: JsonBody) -> Response:
        """Demand, plan and verdict for documents; nothing is submitted."""
        documents, _ = documents_of(body)
        return answer(intake.dry_run(service, documents))

    return router


def documents_of(body: dict[str, Any]) -> tuple[list[Any], bool]:
    only_keys(body, "documents", "rerun", "no_cache")
    documents, rerun = body.get("documents"), flag(body, "rerun")
    if not isinstance(documents, list) or not documents:
        raise InvalidSpec("documents must be a list with at least one document", hint='{"documents": [{"kind": ...}]}')
    if len(documents) > _MOST_DOCUMENTS:
        raise InvalidSpec(f"more than {_MOST_DOCUMENTS} documents at once", hint="submit them in parts")
    return documents, rerun


def flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidSpec(f"{name} must be true or false", hint="leave it out for false")
    return value


def checked_key(key: str) -> str:
    if key and not _KEY.fullmatch(key):
        raise InvalidSpec("Idempotency-Key is 1 to 128 letters, digits and . _ : -", hint="use a UUID")
    return key


def settled(workloads: list[Workload], until: str) -> bool:
    """Return whether there is nothing to wait for any more; what ended otherwise will never get there."""
    if until == "over":
        return all(w.status.over for w in workloads)
    if until == "running":
        return all(w.status.over or w.status is Status.RUNNING for w in workloads)
    return all(w.status.over or (w.work.service and answers(w)) for w in workloads)


def decoded(piece: bytes, last: bool) -> tuple[str, int]:
    """Return a piece of log as text and how many bytes that took; a character that is cut off waits for the rest."""
    for cut in range(0, min(4, len(piece))):
        part = piece[: len(piece) - cut]
        try:
            return part.decode("utf-8"), len(part)
        except UnicodeDecodeError:
            continue
    return piece.decode("utf-8", "replace"), len(piece)


def _ended(workload: Workload, number: int) -> bool:
    return any(a.number == number and a.ended_s is not None for a in workload.attempts)


def _chosen(state: State, status: str, every: bool) -> Sequence[Workload | Tombstone]:
    """Return what is listed in order of submission; of what was retired the short records."""
    if not status and not every:
        return [state.workloads[id] for id in state.live]
    known = [one.value for one in Status]
    names = {name.strip().upper() for name in status.split(",")} if status else set(known)
    if unknown := names.difference(known):
        raise InvalidSpec(f"there is no status {sorted(unknown)[0][:40]!r}", hint=f"one of {', '.join(known)}")
    found = [one for table in (state.workloads, state.retired) for one in table.values() if one.status.value in names]
    return sorted(found, key=lambda one: (one.submitted_s, one.id))
