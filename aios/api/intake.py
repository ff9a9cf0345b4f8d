"""Documents that come in: compiled against what exists, checked against the cluster, then submitted or only planned."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aios.api.find import workload_of
from aios.api.fits import Fits, check_fits
from aios.api.known import known_of
from aios.api.present import demand_text, names_of, solved, with_names, workload_view
from aios.api.problems import error_of
from aios.api.service import Service
from aios.errors import InvalidSpec, MissingPackage, Problem, Rejected, Unsatisfiable
from aios.kernel.events import WorkloadId
from aios.kernel.ports import Accepted, ApplyPolicy, ApplyTenants, NewWork, Refused, Reply, Reserve, Submit
from aios.kernel.records import record
from aios.kernel.state import State
from aios.rules import policy_of, reservation_of
from aios.spec import PolicySpec
from aios.submission import Compiled, compile_documents
from aios.tenants import DEFAULT, check_tree, with_default
from aios.views import DryRunView, PlanView, ShareView, Verdict, WorkloadView
from placement.model import Demand, DemandId, NodeId, NodeState, Plan, Reservation, Tenant, TenantId

PACKAGE = re.compile(r"package://([0-9a-f]{64})")


class WouldWait(Exception):
    """It cannot be said without waiting for the planner, or for another record."""


def prepared(
    service: Service,
    documents: Sequence[Any],
    fits: Fits,
    *,
    key: str = "",
    rerun: bool = False,
    no_cache: bool = False,
    trace: str = "",
    at_once: bool = False,
) -> Submit:
    """Return the request that submits all workloads of the documents, once it is known that they may be.

    ``fits`` remembers what was found to fit. With ``at_once`` nothing is waited for: raises WouldWait instead.
    """
    compiled = _compile(service, documents, rerun=rerun, trace=trace)
    if not compiled.works:
        raise InvalidSpec("there is no workload in it", hint="tenants alone go to `aios tenant apply -f FILE`")
    _check_cluster(service, compiled, fits, at_once)
    _check_packages(service, compiled)
    _ensure_tenants(service, compiled, at_once)
    return Submit(tuple(replace(work, cache=False) for work in compiled.works) if no_cache else compiled.works, key)


def views_of(service: Service, ids: Iterable[str]) -> tuple[WorkloadView, ...]:
    """Return workloads as they are now."""
    workloads = [workload_of(service, WorkloadId(id)) for id in ids]
    state, now_s = service.state(), service.now_s()
    return tuple(workload_view(state, workload, now_s) for workload in workloads)


def dry_run(service: Service, documents: Sequence[Any]) -> DryRunView:
    """Return each workload's demand and what the planner would do with it now; nothing is submitted."""
    compiled = _compile(service, documents)
    _check_cluster(service, compiled, Fits())
    _rules(service, compiled)
    state = service.state()
    tenants = _tenants(state, compiled)
    asked = [work for work in compiled.works if not work.needs]
    pending = tuple(_demand(work, service.now_s()) for work in asked)
    problem = service.problem()
    problem = replace(problem, tenants=tuple(tenants.values()), pending=(*problem.pending, *pending))
    plan = service.plan_now(problem)
    verdicts = tuple(_verdict(state, work, plan) for work in compiled.works)
    return DryRunView(verdicts, tuple(tenant.id for tenant in compiled.tenants), _plan_view(state, plan))


def would_wait(service: Service, documents: Sequence[Any]) -> tuple[tuple[Demand, ...], tuple[Tenant, ...]]:
    """Return the demands that wait at once if the documents are submitted, and all tenants; nothing is submitted."""
    compiled = _compile(service, documents)
    demands = tuple(_demand(work, service.now_s()) for work in compiled.works if not work.needs)
    return demands, tuple(_tenants(service.state(), compiled).values())


def apply_tenants(service: Service, documents: Sequence[Any], by: str = "") -> tuple[str, ...]:
    """Add or change tenants; returns their names."""
    compiled = _compile(service, documents)
    if compiled.works or not compiled.tenants:
        raise InvalidSpec("only documents of kind tenant belong here", hint="workloads go to `aios submit FILE`")
    return accepted(service.submit(ApplyTenants(compiled.tenants, by, compiled.limits))).ids


def apply_rules(service: Service, documents: Sequence[Any], by: str = "") -> None:
    """Replace the cluster's policy, and make or change reservations: all that the documents say, or nothing."""
    compiled = _compile(service, documents)
    if compiled.works or compiled.tenants or not compiled.rules:
        raise InvalidSpec(
            "only documents of kind policy and reservation belong here", hint="others go to `aios apply -f FILE`"
        )
    requests = _rules(service, compiled, by)
    for request in requests:
        accepted(service.submit(request))


def _rules(service: Service, compiled: Compiled, by: str = "") -> list[ApplyPolicy | Reserve]:
    """Return what the documents' rules ask for; raises InvalidSpec with the place of what is wrong."""
    state, policies, reservations = service.state(), list[ApplyPolicy](), list[Reservation]()
    for at, spec in zip(compiled.rule_places, compiled.rules, strict=True):
        try:
            if isinstance(spec, PolicySpec):
                policies.append(ApplyPolicy(policy_of(spec), by))
            else:
                reservations.append(reservation_of(spec, service.now_s(), _up(state)))
        except InvalidSpec as error:
            problems = [replace(problem, loc=(*at, *problem.loc)) for problem in error.problems]
            raise InvalidSpec(error.message, hint=error.hint, problems=problems) from None
    if len(policies) > 1:
        raise InvalidSpec("two documents of kind policy", hint="the cluster has one: keep one of them")
    known = _tenants(state, compiled)
    for one in reservations:
        unknown = [tenant for tenant in one.tenants if tenant not in known]
        if unknown:
            message, hint = f"reservation {one.id}: no tenant {unknown[0]!r}", f"known: {', '.join(sorted(known))}"
            raise InvalidSpec(message, hint=hint)
    return [*policies, *([Reserve(tuple(reservations), by)] if reservations else [])]


def _up(state: State) -> dict[NodeId, str]:
    """Return the names of the nodes that are there."""
    return {id: state.node_names.get(id, "") for id, n in state.nodes.items() if n.state is not NodeState.DOWN}


def accepted(reply: Reply) -> Accepted:
    """Return a reply that is no refusal; raises the error that a refusal stands for."""
    if isinstance(reply, Refused):
        raise error_of(reply)
    return reply


def _compile(service: Service, documents: Sequence[Any], *, rerun: bool = False, trace: str = "") -> Compiled:
    state = service.state()
    compiled = compile_documents(documents, known_of(state), rerun=rerun, trace=trace)
    check_tree(with_default(state.tenants), compiled.tenants)
    return compiled


def _check_cluster(service: Service, compiled: Compiled, fits: Fits, at_once: bool = False) -> None:
    """Refuse a gang that the cluster could never hold, where its nodes are known and do not grow."""
    state = service.state()
    nodes = [node for node in state.nodes.values() if node.state is not NodeState.DOWN]
    if not nodes or service.info().get("autoscaling"):
        return
    tenants = tuple(_tenants(state, compiled).values())
    known = fits.of(state.nodes, tenants)
    for work, at in zip(compiled.works, compiled.places, strict=True):
        demand = replace(_demand(work, 0.0), id=DemandId(work.name))
        shape = (demand.tenant, demand.bundles, demand.min_bundles, demand.topologies, demand.alternatives)
        if shape in known:
            continue
        if at_once:
            raise WouldWait
        refused: list[Unsatisfiable] = []
        for form in range(1 + len(demand.alternatives)):
            try:
                check_fits(demand.form(form), nodes, state.node_names, tenants, service.plan_now, at)
                known.add(shape)
                break
            except Unsatisfiable as error:
                refused.append(error)
        else:
            raise refused[0]


def _check_packages(service: Service, compiled: Compiled) -> None:
    """Refuse a working directory that is not there, last of all: so a client uploads for what is accepted only."""
    problems = []
    for work, at in zip(compiled.works, compiled.places, strict=True):
        folder = json.loads(work.spec).get("working_dir")
        match = PACKAGE.fullmatch(folder) if isinstance(folder, str) else None
        if match is not None and not package_path(service.storage, match[1]).is_file():
            problems.append(Problem((*at, "working_dir"), f"there is no {folder}", "upload it first"))
    if problems:
        raise MissingPackage(problems[0].message, hint=problems[0].hint, problems=problems)


def package_path(storage: Path, digest: str) -> Path:
    """Return where a package lies."""
    return storage / "packages" / f"{digest}.zip"


def _ensure_tenants(service: Service, compiled: Compiled, at_once: bool = False) -> None:
    """Record the documents' tenants, and the one that always exists, before anybody works for them."""
    new = list(compiled.tenants)
    if any(work.tenant == DEFAULT for work in compiled.works) and DEFAULT not in service.state().tenants:
        new += [Tenant(DEFAULT)] if all(tenant.id != DEFAULT for tenant in new) else []
    if new and at_once:
        raise WouldWait
    if new:
        accepted(service.submit(ApplyTenants(tuple(new), limits=compiled.limits)))


def ensure_default(service: Service) -> None:
    """Record the tenant that always exists, so that it can be paused before anybody works for it."""
    if DEFAULT not in service.state().tenants:
        accepted(service.submit(ApplyTenants((Tenant(DEFAULT),))))


def _tenants(state: State, compiled: Compiled) -> dict[TenantId, Tenant]:
    return {**with_default(state.tenants), **{tenant.id: tenant for tenant in compiled.tenants}}


def _demand(work: NewWork, now_s: float) -> Demand:
    """Return a work's demand under an id that no submitted workload can have."""
    return replace(
        work.demand,
        id=DemandId(f"{work.name} (new)"),
        tenant=TenantId(work.tenant),
        priority=work.priority,
        submitted_s=now_s,
        runtime_s=work.demand.runtime_s if work.demand.runtime_s is not None else work.estimate_s,
    )


def _verdict(state: State, work: NewWork, plan: Plan) -> Verdict:
    id = DemandId(f"{work.name} (new)")
    grant = next((grant for grant in plan.grants if grant.demand == id), None)
    waiting = plan.waiting.get(id)
    displaced = tuple(str(p.demand) for p in plan.preemptions if id in p.beneficiaries) if grant else ()
    older = record(state, state.names[work.name]) if work.name in state.names else None
    nodes = names_of(state, grant.nodes) if grant else ()
    if older is not None and older.content == work.content and not work.rerun:
        verdict = f"is submitted already as {older.id} ({older.status.value})"
    elif older is not None:
        raise Rejected(
            f"{work.name!r} is taken by {older.id} with other content", hint="choose another name, or --rerun"
        )
    elif work.needs:
        verdict = f"would start after {', '.join(work.needs)}"
    elif grant is not None and displaced:
        verdict = f"would start on {', '.join(nodes)} once {', '.join(displaced)} yields"
    elif grant is not None:
        verdict = f"would start now on {', '.join(nodes)}"
    else:
        verdict = f"would wait: {with_names(state, waiting.detail) if waiting else 'the planner leaves it for later'}"
    return Verdict(
        name=work.name,
        kind=work.kind,
        tenant=work.tenant,
        priority=work.priority,
        demand=demand_text(work.demand),
        verdict=verdict,
        starts_now=grant is not None and not displaced,
        nodes=nodes,
        reason=waiting.reason.value if waiting else "",
        displaces=displaced,
        needs=work.needs,
    )


def _plan_view(state: State, plan: Plan) -> PlanView:
    return replace(
        solved(plan),
        shares=tuple(ShareView(tenant, share.entitled, share.used) for tenant, share in plan.shares.items()),
        running={str(grant.demand): names_of(state, grant.nodes) for grant in plan.grants},
        waiting={str(demand): waiting.detail for demand, waiting in plan.waiting.items()},
    )
