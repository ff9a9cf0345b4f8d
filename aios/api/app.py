"""The HTTP API of a control plane: the only door for the command line, the SDK and the page."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI
from starlette.responses import Response

import aios
from aios.api import asking, catalogue, cluster, versions, workloads
from aios.api.answers import answer
from aios.api.guard import Guard
from aios.api.problems import install_handlers
from aios.api.service import Service

PREFIX = "/api/v1"


def create_app(service: Service, token: str, hosts: Collection[str] = ()) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    service : Service
        The control plane behind it.
    token : str
        The bearer token that every request but ``/healthz`` must carry; not empty.
    hosts : collection of str
        Names under which it is served besides 127.0.0.1, localhost and [::1]; other Hosts are refused, so that a web
        page elsewhere cannot reach it by a name of its own.
    """
    app = FastAPI(
        title="AIOS",
        version=aios.__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, token=token, hosts=hosts)
    install_handlers(app)
    for part in (workloads, asking, cluster, catalogue, versions):
        app.include_router(part.routes(service), prefix=PREFIX)

    @app.get("/healthz", tags=["health"])
    def healthz() -> Response:
        """Whether the control plane answers."""
        return answer({"status": "ok", "epoch": service.state().epoch})

    return app
