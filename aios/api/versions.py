"""Routes of versions: find one by number, tag, branch or moment; tag, roll back, publish, take out of use, trace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from aios.api import intake
from aios.api.answers import answer, shows, takes
from aios.api.body import JsonBody
from aios.api.lineage import lineage
from aios.api.present import published_view
from aios.api.service import Service
from aios.complaints import did_you_mean
from aios.errors import InvalidSpec, NotFound, Rejected
from aios.kernel.events import Artefact, Published
from aios.kernel.inputs import SCHEMES, exact, find, key_of, moment, tags_at, there
from aios.kernel.ports import PublishVersion, RemoveVersions, TagVersion
from aios.kernel.records import record
from aios.kernel.state import State
from aios.spec import NAME
from aios.views import ArtefactList, ArtefactView, LineageView

By = Annotated[str, Query(max_length=200)]


def routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["catalogue"])

    @router.get("/versions/{type_}/{ref}", **shows(ArtefactView))
    def one(type_: str, ref: str) -> Response:
        """One version: ``NAME``, ``NAME@7``, ``NAME@tag``, ``NAME@branch`` or ``NAME@2026-11-01T00:00Z``."""
        state = service.state()
        return answer(version_view(state, version_of(state, type_, ref)))

    @router.get("/versions/{type_}/{ref}/lineage", **shows(LineageView))
    def trace(type_: str, ref: str) -> Response:
        """What a version was made from, and what was made from it."""
        state = service.state()
        return answer(lineage(state, version_of(state, type_, ref)))

    @router.put("/versions/{type_}/{ref}/tags/{tag}", **shows(ArtefactView))
    def put_tag(type_: str, ref: str, tag: str, by: By = "") -> Response:
        """Name a version, or move the name there."""
        state = service.state()
        published = version_of(state, type_, ref)
        check_tag(state, key_of(published.artefact), tag)
        intake.accepted(service.submit(TagVersion(key_of(published.artefact), tag, published.version, by)))
        return answer(version_view(service.state(), published))

    @router.delete("/versions/{type_}/{ref}/tags/{tag}", **shows(ArtefactView))
    def delete_tag(type_: str, ref: str, tag: str, by: By = "") -> Response:
        """Take a name away; the version stays."""
        published = version_of(service.state(), type_, ref)
        intake.accepted(service.submit(TagVersion(key_of(published.artefact), tag, 0, by)))
        return answer(version_view(service.state(), published))

    @router.post("/versions/{type_}/{ref}/rollback", **shows(ArtefactView, status_code=201))
    def rollback(type_: str, ref: str, by: By = "") -> Response:
        """Publish an earlier version again, as the newest."""
        state = service.state()
        published = version_of(state, type_, ref)
        key = key_of(published.artefact)
        newest = there(state, key)[-1]
        again = replace(published.artefact, origin=exact(key, newest.version))
        return _publish(service, again, (exact(key, published.version),), by)

    @router.post("/versions/{type_}/{ref}/publish", **shows(ArtefactView, status_code=201))
    def publish(type_: str, ref: str, by: By = "") -> Response:
        """Publish the newest version of a branch under the dataset's own name."""
        state = service.state()
        branch = version_of(state, type_, ref)
        name, _, of_branch = branch.artefact.name.partition("@")
        if not of_branch:
            raise Rejected(f"{ref} is no branch: it is published already", hint="write NAME@BRANCH")
        artefact = replace(branch.artefact, name=name, origin=_began_at(state, branch))
        return _publish(service, artefact, (exact(key_of(branch.artefact), branch.version),), by)

    example = {"name": "digits", "uri": "lance:/data/digits/table.lance#9", "digest": "rows:…", "inputs": []}

    @router.post("/versions/{type_}", **shows(ArtefactView, status_code=201, openapi_extra=takes({}, example)))
    def put_version(type_: str, body: JsonBody, by: By = "") -> Response:
        """Publish what is in the table already: rows erased, or written by other means."""
        artefact, inputs = _artefact(type_, body)
        return _publish(service, artefact, inputs, by)

    @router.post("/versions/{type_}/{name}/remove", **shows(ArtefactList, openapi_extra=takes({}, {"versions": [1]})))
    def remove(type_: str, name: str, body: JsonBody, by: By = "") -> Response:
        """Take versions out of use, before their bytes go."""
        versions, why = body.get("versions"), body.get("why", "")
        if not isinstance(versions, list) or not all(isinstance(v, int) for v in versions) or not isinstance(why, str):
            raise InvalidSpec("versions must be a list of numbers, and why a text", hint='{"versions": [1, 2]}')
        key = f"{_type(type_)}://{name}"
        intake.accepted(service.submit(RemoveVersions(key, tuple(versions), why, by)))
        state = service.state()
        gone = [v for v in state.versions.get(key, ()) if v.version in versions]
        return answer(ArtefactList(tuple(version_view(state, v) for v in gone)))

    return router


def version_view(state: State, published: Published) -> ArtefactView:
    """Return a version with its names and whether its bytes may be gone."""
    key = key_of(published.artefact)
    return replace(
        published_view(published),
        reference=exact(key, published.version),
        origin=published.artefact.origin,
        tags=tuple(sorted(tag for tag, version in tags_at(state, key).items() if version == published.version)),
        by=published.by or _user(state, published),
        removed=published.version in state.removed.get(key, frozenset()),
    )


def version_of(state: State, type_: str, ref: str) -> Published:
    """Return the version that a text means; raises NotFound that says what there is."""
    name, _, wanted = ref.partition("@")
    key = f"{_type(type_)}://{name}"
    found = find(state, key, wanted)
    if found is not None:
        return found
    if not any(other == key or other.startswith(f"{key}@") for other in state.versions):
        names = sorted(other.partition("://")[2] for other in state.versions if other.startswith(f"{type_}://"))
        near = did_you_mean(name, names)
        raise NotFound(f"there is no {type_} {name!r}", hint=f"{near} there is: {', '.join(names) or 'none'}".strip())
    versions = ", ".join(str(v.version) for v in there(state, key)) or "none"
    gone = sorted(state.removed.get(key, frozenset()))
    out = f"; taken out of use: {', '.join(map(str, gone))}" if gone else ""
    tags = ", ".join(sorted(tags_at(state, key))) or "none"
    raise NotFound(f"there is no {key}@{wanted}", hint=f"versions: {versions}{out}; tags: {tags}")


def check_tag(state: State, key: str, tag: str) -> None:
    """Refuse a tag that could be taken for a number, a moment or a branch."""
    if not NAME.fullmatch(tag) or tag.removeprefix("v").isdecimal() or tag == "latest" or moment(tag) is not None:
        raise InvalidSpec(
            f"{tag!r} is no tag: a tag is a name (a-z, 0-9, '-') that is no number and no date", hint="such as prod"
        )
    if f"{key}@{tag}" in state.versions:
        raise InvalidSpec(f"{tag!r} is a branch of {key}", hint="give the tag another name")


def _publish(service: Service, artefact: Artefact, inputs: tuple[str, ...], by: str) -> Response:
    intake.accepted(service.submit(PublishVersion(artefact, inputs, by)))
    state = service.state()
    made = [v for v in state.versions[key_of(artefact)] if v.artefact == artefact and not v.workload]
    return answer(version_view(state, made[-1]), 201)


def _began_at(state: State, branch: Published) -> str:
    """Return the newest version of the name that a branch holds: one that was published from it, or where it began."""
    name = branch.artefact.name.partition("@")[0]
    own = state.versions[key_of(branch.artefact)]
    uris = {v.artefact.uri for v in own}
    key = f"{branch.artefact.type}://{name}"
    held = [v for v in state.versions.get(key, ()) if v.artefact.uri in uris]
    return exact(key, held[-1].version) if held else own[0].artefact.origin or ""


def _artefact(type_: str, body: Mapping[str, Any]) -> tuple[Artefact, tuple[str, ...]]:
    known = {"name": str, "uri": str, "digest": str, "meta": dict, "origin": (str, type(None)), "inputs": list}
    for field, value in body.items():
        if field not in known:
            raise InvalidSpec(f"{field!r} is not known here", hint=f"it takes {', '.join(known)}")
        if not isinstance(value, known[field]):  # type: ignore[arg-type]  # a table of types
            raise InvalidSpec(f"{field} is {type(value).__name__}", hint="see the example")
    name = body.get("name", "")
    if not all(NAME.fullmatch(part) for part in name.split("@")) or name.count("@") > 1 or not body.get("uri"):
        raise InvalidSpec("name and uri are needed", hint="name is NAME or NAME@BRANCH")
    meta = json.dumps(body.get("meta", {}), sort_keys=True)
    made = Artefact(_type(type_), name, body["uri"], body.get("digest", ""), meta, body.get("origin"))
    return made, tuple(map(str, body.get("inputs", ())))


def _type(type_: str) -> str:
    if type_ not in SCHEMES:
        raise NotFound(f"there are no versions of {type_!r}", hint=f"there are versions of {', '.join(SCHEMES)}")
    return type_


def _user(state: State, published: Published) -> str:
    maker = record(state, published.workload)
    return "" if maker is None else maker.tenant
