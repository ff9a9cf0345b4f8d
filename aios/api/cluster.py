"""Routes of the cluster as a whole: status, nodes, events, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aios.accounting import HOUR, Account, Amounts, accounts, total
from aios.api.answers import answer, shows
from aios.api.intake import accepted
from aios.api.overview import node_views, status_view
from aios.api.service import Service
from aios.api.workloads import PollSeconds
from aios.complaints import did_you_mean
from aios.errors import Ambiguous, NotFound
from aios.kernel.events import Event
from aios.kernel.ports import Drain, ReleaseNode, Undrain
from aios.kernel.quarantine import name_of
from aios.store.codec import TYPE_KEY, encode
from aios.views import EventList, EventView, NodeList, StatusView, UsageLine, UsageView
from placement.model import MILLI, NodeId, NodeState
from placement.model.resources import BYTE_RESOURCES

_TICK_S = 0.25
_PIECE = 10_000


def routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["cluster"])

    @router.get("/status", **shows(StatusView))
    def status() -> Response:
        """The control plane and its cluster at a glance."""
        return answer(status_view(service.state(), service.now_s(), service.info()))

    @router.get("/nodes", **shows(NodeList))
    def nodes() -> Response:
        """Nodes, their labels, what they have and who holds it."""
        return answer(NodeList(node_views(service.state())))

    def node_id(name: str) -> NodeId:
        state = service.state()
        up = [id for id, node in state.nodes.items() if node.state is not NodeState.DOWN]
        found = [id for id in up if name in (id, state.node_names.get(id))]
        if len(found) == 1:
            return found[0]
        known = sorted(state.node_names.get(id) or id for id in up)
        if found:
            raise Ambiguous(f"{len(found)} nodes are named {name!r}", hint=f"give an id: {', '.join(found)}")
        raise NotFound(f"there is no node {name[:63]!r}", hint=f"{did_you_mean(name, known)} nodes: {', '.join(known)}")

    @router.post("/nodes/{name}/drain", **shows(NodeList))
    def drain(
        name: str,
        grace_s: Annotated[float | None, Query(ge=0, le=86_400)] = None,
        by: Annotated[str, Query(max_length=100)] = "",
    ) -> Response:
        """Take a node out of use: its work saves its progress and moves, nothing new starts there."""
        id = node_id(name)
        accepted(service.submit(Drain(id, grace_s, by)))
        return answer(NodeList(tuple(view for view in node_views(service.state()) if view.id == id)))

    @router.post("/nodes/{name}/resume", **shows(NodeList))
    def resume(name: str, by: Annotated[str, Query(max_length=100)] = "") -> Response:
        """Take a node that was drained by hand back into use."""
        id = node_id(name)
        accepted(service.submit(Undrain(id, by)))
        return answer(NodeList(tuple(view for view in node_views(service.state()) if view.id == id)))

    @router.post("/nodes/{name}/release", **shows(NodeList))
    def release(name: str, by: Annotated[str, Query(max_length=100)] = "") -> Response:
        """Trust a node again before its quarantine is over."""
        state = service.state()
        id = node_id(name) if name not in state.quarantines else None
        accepted(service.submit(ReleaseNode(name if id is None else name_of(state, id), by)))
        views = node_views(service.state())
        return answer(NodeList(tuple(view for view in views if name in (view.id, view.name))))

    @router.get("/events", **shows(EventList))
    async def events(
        after: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
        timeout_s: PollSeconds = 0.0,
    ) -> Response:
        """Recorded events after a sequence number; waits for the next up to ``timeout_s``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            version = service.state().version
            found = await run_in_threadpool(service.events, after, limit)
            if found or loop.time() >= deadline:
                break
            while service.state().version == version and loop.time() < deadline:
                await asyncio.sleep(_TICK_S)
        views = []
        for seq, event in found:
            data = encode(event)
            views.append(EventView(seq, str(data.pop(TYPE_KEY)), event.at_s, data))
        return answer(EventList(tuple(views), last=found[-1][0] if found else after))

    @router.get("/usage", **shows(UsageView))
    def usage(
        by: Annotated[str, Query(max_length=40)] = "tenant",
        since_s: Annotated[float | None, Query(allow_inf_nan=False)] = None,
        until_s: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    ) -> Response:
        """Resource-hours asked, granted, used and wasted, by tenant, user, accelerator, kind or workload."""
        until = service.now_s() if until_s is None else until_s
        books = accounts(_all_events(service), by, float("-inf") if since_s is None else since_s, until)
        lines = tuple(_usage_line(name, one) for name, one in books.items())
        return answer(UsageView(by, since_s, until, lines, _usage_line("total", total(books.values()))))

    @router.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """The numbers of now in Prometheus' text format."""
        return Response(service.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _all_events(service: Service) -> Iterator[Event]:
    after = 0
    while found := service.events(after, _PIECE):
        yield from (event for _, event in found)
        after = found[-1][0]


def _usage_line(name: str, one: Account) -> UsageLine:
    parts = (one.asked, one.granted, one.used, one.preempted, one.failed)
    return UsageLine(name, len(one.workloads), one.attempts, *map(_in_units, parts))


def _in_units(amounts: Amounts) -> dict[str, float]:
    """Return resource-hours as people count them: CPUs and GPUs, bytes of memory."""
    return {n: round(a / HOUR / (1 if n in BYTE_RESOURCES else MILLI), 6) for n, a in sorted(amounts.items())}
