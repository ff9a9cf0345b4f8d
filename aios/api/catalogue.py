"""Routes of tenants, datasets, models, endpoints and packages."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aios.api import intake
from aios.api.answers import DOCUMENTS, answer, shows, takes
from aios.api.body import JsonBody
from aios.api.overview import rules_view, tenant_views
from aios.api.present import answers, artefact_view
from aios.api.service import Service
from aios.api.versions import version_of, version_view
from aios.api.workloads import By, documents_of
from aios.errors import InvalidSpec, NotFound, Rejected
from aios.kernel.events import Artefact
from aios.kernel.inputs import key_of
from aios.kernel.ports import PauseTenant, ResumeTenant, TagVersion, Unreserve
from aios.kernel.state import State
from aios.models.aliases import before
from aios.views import AliasList, AliasView, ArtefactList, ArtefactView, PackageView, RulesView, TenantList

_SHA = re.compile(r"[0-9a-f]{64}")
_PIECE = 2**20


def routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/tenants", tags=["tenants"], **shows(TenantList))
    def list_tenants() -> Response:
        """Tenants, what they hold, and their shares under the plan in force."""
        return answer(TenantList(tenant_views(service.state())))

    example = {"documents": [{"kind": "tenant", "name": "vision", "weight": 2, "quota": {"CPU": 4}}]}

    @router.put("/tenants", tags=["tenants"], **shows(TenantList, openapi_extra=takes(DOCUMENTS, example)))
    def apply_tenants(body: JsonBody) -> Response:
        """Add or change tenants; others stay."""
        documents, _ = documents_of(body)
        names = set(intake.apply_tenants(service, documents))
        return answer(TenantList(tuple(v for v in tenant_views(service.state()) if v.name in names)))

    def tenant(name: str) -> Response:
        return answer(TenantList(tuple(view for view in tenant_views(service.state()) if view.name == name)))

    @router.post("/tenants/{name}/pause", tags=["tenants"], **shows(TenantList))
    def pause(name: str, how: Literal["", "drain", "now"] = "", by: By = "") -> Response:
        """Start nothing of a tenant; what runs goes on, or saves its progress and yields, or is ended at once."""
        intake.ensure_default(service)
        intake.accepted(service.submit(PauseTenant(name, how, by)))
        return tenant(name)

    @router.post("/tenants/{name}/resume", tags=["tenants"], **shows(TenantList))
    def resume(name: str, by: By = "") -> Response:
        """Let a tenant's work start again."""
        intake.ensure_default(service)
        intake.accepted(service.submit(ResumeTenant(name, by)))
        return tenant(name)

    @router.get("/rules", tags=["rules"], **shows(RulesView))
    def rules() -> Response:
        """The policy in force and the reservations."""
        return answer(rules_view(service.state(), service.now_s()))

    rule = {"documents": [{"kind": "policy", "migration": True, "ageing": "1h"}]}

    @router.put("/rules", tags=["rules"], **shows(RulesView, openapi_extra=takes(DOCUMENTS, rule)))
    def apply_rules(body: JsonBody) -> Response:
        """Replace the policy, make or change reservations; other reservations stay."""
        documents, _ = documents_of(body)
        intake.apply_rules(service, documents)
        return answer(rules_view(service.state(), service.now_s()))

    @router.delete("/reservations/{name}", tags=["rules"], **shows(RulesView))
    def unreserve(name: str) -> Response:
        """Give a reservation up."""
        intake.accepted(service.submit(Unreserve(name)))
        return answer(rules_view(service.state(), service.now_s()))

    @router.get("/datasets", tags=["catalogue"], **shows(ArtefactList))
    def datasets() -> Response:
        """Every dataset version, with what it was made from."""
        return answer(ArtefactList(_versions(service.state(), "dataset")))

    @router.get("/models", tags=["catalogue"], **shows(ArtefactList))
    def models() -> Response:
        """Every model version, with what it was made from."""
        return answer(ArtefactList(_versions(service.state(), "model")))

    @router.get("/models/{name}/reports", tags=["catalogue"], **shows(ArtefactList))
    def reports(name: str) -> Response:
        """The reports of evaluations of a model, oldest first; ``meta.model`` says of which version."""
        return answer(ArtefactList(_reports(service.state(), name)))

    @router.get("/models/{name}/aliases", tags=["catalogue"], **shows(AliasList))
    def aliases(name: str) -> Response:
        """The aliases of a model, with the version that had each before."""
        return answer(AliasList(_aliases(service.state(), name)))

    @router.post("/models/{name}/aliases/{alias}/rollback", tags=["catalogue"], **shows(ArtefactView))
    def roll_back(name: str, alias: str, by: By = "") -> Response:
        """Give an alias back to the version that had it before."""
        found = {view.alias: view for view in _aliases(service.state(), name)}
        if alias not in found:
            raise NotFound(f"model {name!r} has no alias {alias!r}", hint=f"aliases: {', '.join(found) or 'none'}")
        if not found[alias].before:
            raise Rejected(
                f"no earlier version of {name!r} that is still there had the alias {alias!r}",
                hint=f"give it to one by its number: aios models promote {name}@VERSION --to {alias}",
            )
        intake.accepted(service.submit(TagVersion(f"model://{name}", alias, found[alias].before, by)))
        state = service.state()
        return answer(version_view(state, version_of(state, "model", f"{name}@{found[alias].before}")))

    @router.get("/endpoints", tags=["catalogue"], **shows(ArtefactList))
    def endpoints() -> Response:
        """Endpoints of services that answer now."""
        return answer(ArtefactList(_endpoints(service.state())))

    @router.put("/packages/{digest}", tags=["packages"], **shows(PackageView))
    async def put_package(digest: str, request: Request) -> Response:
        """Store a zip file under its SHA-256; the content is checked against it."""
        if not _SHA.fullmatch(digest):
            raise InvalidSpec("a package is named by its SHA-256: 64 of 0-9 and a-f", hint="sha256sum FILE")
        path = intake.package_path(service.storage, digest)
        if await run_in_threadpool(path.exists):
            return answer(PackageView(f"package://{digest}", (await run_in_threadpool(path.stat)).st_size, True))
        size = await _store(request, digest, path)
        return answer(PackageView(f"package://{digest}", size), 201)

    @router.get("/packages/{digest}", tags=["packages"], **shows(PackageView))
    def has_package(digest: str) -> Response:
        """Whether a package is there already."""
        path = intake.package_path(service.storage, digest)
        if not _SHA.fullmatch(digest) or not path.is_file():
            raise NotFound(f"no package {digest[:12]}...", hint="upload it with PUT")
        return answer(PackageView(f"package://{digest}", path.stat().st_size, True))

    return router


async def _store(request: Request, digest: str, path: Path) -> int:
    """Write the body beside its place and move it there whole, durable and checked."""
    await run_in_threadpool(path.parent.mkdir, parents=True, exist_ok=True)
    fd, name = await run_in_threadpool(tempfile.mkstemp, ".part", "", path.parent)
    part, sha, size, buffer = Path(name), hashlib.sha256(), 0, bytearray()

    def flush() -> None:
        sha.update(buffer)
        with open(fd, "ab", closefd=False) as file:
            file.write(buffer)
        buffer.clear()

    def finish() -> None:
        os.fsync(fd)
        part.replace(path)

    try:
        async for piece in request.stream():
            buffer += piece
            size += len(piece)
            if len(buffer) >= _PIECE:
                await run_in_threadpool(flush)
        await run_in_threadpool(flush)
        if sha.hexdigest() != digest:
            raise InvalidSpec("the content is not what its name says", hint="send the file whose SHA-256 is in the URL")
        await run_in_threadpool(finish)
    finally:
        os.close(fd)
        part.unlink(missing_ok=True)
    return size


def _aliases(state: State, name: str) -> tuple[AliasView, ...]:
    key = key_of(version_of(state, "model", name).artefact)
    history, gone = state.tags.get(key, ()), state.removed.get(key, frozenset())
    found = []
    for alias in sorted({event.tag for event in history}):
        now, earlier = before(history, alias, gone)
        if now:
            last = next(event for event in reversed(history) if event.tag == alias)
            found.append(AliasView(name, alias, now, earlier, last.at_s, last.by))
    return tuple(found)


def _versions(state: State, type_: str) -> tuple[ArtefactView, ...]:
    found = [p for key in sorted(state.versions) for p in state.versions[key] if p.artefact.type == type_]
    return tuple(version_view(state, one) for one in found)


def _reports(state: State, name: str) -> tuple[ArtefactView, ...]:
    made = [(w.submitted_s, w.id, artefact) for w in state.workloads.values() for artefact in w.artefacts]
    made += [(left.submitted_s, left.id, artefact) for left in state.retired.values() for artefact in left.reports]
    views = [
        artefact_view(artefact, workload=id, at_s=at_s)
        for at_s, id, artefact in sorted(made, key=lambda one: one[:2])
        if artefact.type == "report"
    ]
    return tuple(view for view in views if str(view.meta.get("model", "")).partition("@")[0] == f"model://{name}")


def _endpoints(state: State) -> tuple[ArtefactView, ...]:
    live = [state.workloads[id] for id in state.live]
    return tuple(
        artefact_view(artefact, workload=w.id, attempt=len(w.attempts), inputs=_served(artefact))
        for w in live
        if answers(w)
        for artefact in w.artefacts
        if artefact.type == "endpoint"
    )


def _served(artefact: Artefact) -> tuple[str, ...]:
    """Return the model version that an endpoint answers with."""
    model = artefact_view(artefact).meta.get("model")
    return (model,) if isinstance(model, str) else ()
