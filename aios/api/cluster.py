"""Routes of the cluster as a whole: status, nodes, events, metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aios.api.answers import answer, shows
from aios.api.overview import node_views, status_view
from aios.api.service import Service
from aios.api.workloads import PollSeconds
from aios.store.codec import TYPE_KEY, encode
from aios.views import EventList, EventView, NodeList, StatusView

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
        return Response(service.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
