"""Routes that ask the planner and do nothing: what if, and which nodes lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aios.api import intake
from aios.api.answers import answer, shows, takes
from aios.api.body import JsonBody, only_keys
from aios.api.present import solved, with_names
from aios.api.service import Service
from aios.asked import AdviceView, LotView, TermView, WhatIfView
from aios.errors import InvalidSpec
from aios.kernel.state import State
from aios.tenants import with_default
from aios.views import ShareView
from placement.model import NodeId, Problem
from placement.planners.base import Budget
from placement.reading import ScenarioError
from placement.whatif import Difference, Submit, compare
from placement.wording import GRAMMAR, ChangeError, parse_all

_MOST_CHANGES = 50
_LARGEST_CATALOGUE = 1_000_000
_THINKING = Budget(wall_s=2.0, deterministic_s=1.0)

_WHAT_IF = {
    "type": "object",
    "required": ["changes"],
    "additionalProperties": False,
    "properties": {
        "changes": {"type": "array", "minItems": 1, "maxItems": _MOST_CHANGES, "items": {"type": "string"}},
        "documents": {"type": "object", "additionalProperties": {"type": "array"}},
    },
}
_CAPACITY = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "catalogue": {"type": "string"},
        "file": {"type": "string"},
        "budget": {"type": "number", "minimum": 0},
    },
}


def routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["plan"])

    @router.post("/plan/what-if", **shows(WhatIfView, openapi_extra=takes(_WHAT_IF, {"changes": ["drain a-3"]})))
    def what_if(body: JsonBody) -> Response:
        """The plan as it would be now and with changes, side by side; nothing is changed."""
        only_keys(body, "changes", "documents")
        return answer(_what_if(service, _changes(body), _files(body)))

    @router.post("/plan/capacity", **shows(AdviceView, openapi_extra=takes(_CAPACITY, {"budget": 8})))
    def capacity(body: JsonBody) -> Response:
        """Which nodes to add at least cost so that waiting work starts, and which could go."""
        only_keys(body, "catalogue", "file", "budget")
        return answer(_capacity(service, body))

    return router


def _changes(body: Mapping[str, Any]) -> list[str]:
    changes = body.get("changes")
    if not isinstance(changes, list) or not all(isinstance(one, str) for one in changes) or not changes:
        raise InvalidSpec("changes must be a list of texts", hint=f"each one of {'; '.join(GRAMMAR)}")
    if len(changes) > _MOST_CHANGES or any(len(one) > 1_000 for one in changes):
        raise InvalidSpec(f"more than {_MOST_CHANGES} changes, or a very long one", hint="ask for less at once")
    return changes


def _files(body: Mapping[str, Any]) -> Mapping[str, list[Any]]:
    files = body.get("documents", {})
    if not isinstance(files, dict) or not all(isinstance(documents, list) for documents in files.values()):
        raise InvalidSpec("documents must be lists by file name", hint='{"FILE": [{"kind": ...}]}')
    return files


def _what_if(service: Service, texts: Sequence[str], files: Mapping[str, list[Any]]) -> WhatIfView:
    state, problem = service.state(), service.problem()
    known = {tenant.id for tenant in problem.tenants}
    more = tuple(tenant for tenant in with_default(state.tenants).values() if tenant.id not in known)
    problem = replace(problem, tenants=problem.tenants + more)
    names = {name: node.id for node in problem.nodes if (name := state.node_names.get(node.id))}

    def submitted(file: str, asked: Problem) -> Submit:
        if file not in files:
            raise ChangeError(f"submit {file}", "its documents were not sent", 'send them as {"documents": {FILE: []}}')
        demands, tenants = intake.would_wait(service, files[file])
        taken = {demand.id for demand in asked.pending}
        twice = next((demand.id for demand in demands if demand.id in taken), None)
        if twice is not None:
            raise ChangeError(f"submit {file}", f"{twice} is there already", "rename one of the two")
        return Submit(demands, tenants)

    try:
        changes, _ = parse_all(texts, problem, names, submitted)
    except ChangeError as error:
        raise InvalidSpec(f"{error.change!r}: {error.problem}", hint=with_names(state, error.hint)) from None
    return _view(state, texts, compare(problem, changes, service.plan_now))


def _view(state: State, texts: Sequence[str], found: Difference) -> WhatIfView:
    return WhatIfView(
        changes=tuple(texts),
        workloads=tuple(
            LotView(
                id=lot.demand,
                tenant=lot.tenant,
                changed=lot.changed,
                now=lot.before.state,
                then=lot.after.state,
                now_detail=with_names(state, lot.before.detail),
                then_detail=with_names(state, lot.after.detail),
            )
            for lot in found.lots
        ),
        terms=tuple(TermView(*term) for term in found.terms),
        shares_now=tuple(ShareView(name, one.entitled, one.used) for name, one, _ in found.shares if one is not None),
        shares_then=tuple(ShareView(name, one.entitled, one.used) for name, _, one in found.shares if one is not None),
        now=solved(found.before),
        then=solved(found.after),
    )


def _capacity(service: Service, body: Mapping[str, Any]) -> AdviceView:
    state, problem, budget = service.state(), service.problem(), body.get("budget")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, (int, float)) or budget < 0):
        raise InvalidSpec("budget must be a number, not negative", hint="leave it out for none")
    types, text, file = None, body.get("catalogue"), body.get("file", "catalogue")
    if text is not None:
        if not isinstance(text, str) or not isinstance(file, str) or len(text) > _LARGEST_CATALOGUE:
            raise InvalidSpec("catalogue must be the text of a YAML file", hint="at most 1 MB")
        try:
            from placement.catalogue import read_catalogue

            types = read_catalogue(text, file, problem.nodes)
        except ScenarioError as error:
            raise InvalidSpec(str(error), hint="a list of {name, resources, labels, cost, most}") from None
    from placement.capacity import advise  # with OR-Tools: a control plane that comes back answers before

    found = advise(problem, types, budget, service.plan_now, _THINKING)
    return AdviceView(
        add={_name(state, name): n for name, n in found.add},
        cost=found.cost,
        bound=found.bound,
        admits=found.admits,
        not_helped=dict(found.not_helped),
        removable={_name(state, one.node): one.moves for one in found.removable},
    )


def _name(state: State, name: str) -> str:
    return state.node_names.get(NodeId(name)) or name
