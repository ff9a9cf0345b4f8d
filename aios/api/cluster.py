"""Routes of the cluster as a whole: status, nodes, events, metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aios.api.answers import answer, shows
from aios.api.overview import node_views, status_view, tenant_views
from aios.api.service import Service
from aios.api.workloads import PollSeconds
from aios.kernel.state import State
from aios.store.codec import TYPE_KEY, encode
from aios.views import EventList, EventView, NodeList, StatusView
from placement.model import NodeState

_TICK_S = 0.25


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

    @router.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """The numbers of now in Prometheus' text format."""
        return Response(metrics_text(service.state()), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def metrics_text(state: State) -> str:
    counts = Counter((w.status.value, w.work.tenant) for w in state.workloads.values())
    nodes = Counter(node.state.value for node in state.nodes.values())
    lines = ["# TYPE aios_workloads gauge"]
    lines += [f'aios_workloads{{status="{s}",tenant="{t}"}} {n}' for (s, t), n in sorted(counts.items())]
    lines += ["# TYPE aios_nodes gauge"]
    lines += [f'aios_nodes{{state="{one.value}"}} {nodes.get(one.value, 0)}' for one in NodeState]
    lines += ["# TYPE aios_tenant_share gauge"]
    for view in tenant_views(state):
        if view.entitled_share is not None and view.used_share is not None:
            lines.append(f'aios_tenant_share{{tenant="{view.name}",kind="entitled"}} {view.entitled_share:g}')
            lines.append(f'aios_tenant_share{{tenant="{view.name}",kind="used"}} {view.used_share:g}')
    if state.plan is not None:
        lines += ["# TYPE aios_plan_gap gauge", f"aios_plan_gap {state.plan.gap:g}"]
        lines += ["# TYPE aios_plan_seconds gauge", f"aios_plan_seconds {state.plan.wall_s:g}"]
    lines += ["# TYPE aios_events_total counter", f"aios_events_total {state.version}"]
    return "\n".join(lines) + "\n"
