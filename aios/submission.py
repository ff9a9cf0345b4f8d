"""From documents to what the kernel accepts: specs are validated, stages joined, demands derived. All or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from aios.complaints import Loc, did_you_mean, problems_of
from aios.engines import Engine, engines
from aios.errors import InvalidSpec, Problem, UnknownTenant
from aios.kernel.events import Limits
from aios.kernel.inputs import may_be_missing
from aios.kernel.ports import NewWork
from aios.spec import PipelineSpec, PolicySpec, ReservationSpec, TenantSpec, WorkloadSpec
from aios.tenants import DEFAULT, tenant_of
from placement.model import Tenant

RULES: Mapping[str, type[PolicySpec] | type[ReservationSpec]] = {"policy": PolicySpec, "reservation": ReservationSpec}
"""What governs the cluster beside its tenants, by kind."""
_FROM_PIPELINE = ("tenant", "priority")


@dataclass(frozen=True, slots=True)
class Known:
    """What a submission may refer to: tenants, versions by ``dataset://name``, and who is making what."""

    tenants: Collection[str] = (DEFAULT,)
    versions: Mapping[str, Collection[int]] = field(default_factory=dict)
    has: Callable[[str], bool] = lambda reference: False  # whether a tag, a branch or a moment names a version
    makers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compiled:
    """Documents as the kernel takes them; ``places[i]`` is where ``works[i]`` stands in the documents."""

    works: tuple[NewWork, ...] = ()
    places: tuple[Loc, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    limits: tuple[Limits, ...] = ()
    tenant_places: tuple[Loc, ...] = ()
    rules: tuple[PolicySpec | ReservationSpec, ...] = ()
    rule_places: tuple[Loc, ...] = ()


@dataclass(frozen=True, slots=True)
class _Draft:
    """A validated spec on its way to a ``NewWork``."""

    at: Loc
    spec: WorkloadSpec
    engine: Engine
    pipeline: str | None = None


def compile_documents(
    documents: Sequence[Any],
    known: Known | None = None,
    *,
    kinds: Mapping[str, Engine] | None = None,
    rerun: bool = False,
    trace: str = "",
) -> Compiled:
    """Return the works and tenants that documents describe.

    Parameters
    ----------
    documents : sequence of mappings
        Plain JSON values, each with ``kind``.
    known : Known or None
        What exists; None: a catalogue that holds whatever is asked for is not assumed, only the default tenant.
    kinds : mapping of kind to Engine, optional
        The installed engines by default.

    Raises
    ------
    InvalidSpec
        With every problem found; each path begins with the number of its document.
    """
    known = Known() if known is None else known
    kinds = engines() if kinds is None else kinds
    problems: list[Problem] = []
    drafts: list[_Draft] = []
    tenants: list[tuple[Loc, Tenant, Limits]] = []
    rules: list[tuple[Loc, PolicySpec | ReservationSpec]] = []
    for i, document in enumerate(documents):
        if isinstance(document, dict) and isinstance(kind := document.get("kind"), str) and kind in RULES:
            _read_rule(document, (i,), rules, problems)
        else:
            _read(document, (i,), kinds, drafts, tenants, problems)
    _raise(problems)
    problems += _same_names(drafts)
    problems += _tenants_unknown(drafts, {*known.tenants, *(tenant.id for _, tenant, _ in tenants)})
    needs = _joined(drafts, known, problems)
    works = [work for draft in drafts if (work := _work(draft, needs, problems)) is not None]
    _raise(problems)
    return Compiled(
        works=tuple(replace(work, rerun=rerun, trace=trace) for work in works),
        places=tuple(draft.at for draft in drafts),
        tenants=tuple(tenant for _, tenant, _ in tenants),
        limits=tuple(limits for _, _, limits in tenants),
        tenant_places=tuple(at for at, _, _ in tenants),
        rules=tuple(rule for _, rule in rules),
        rule_places=tuple(at for at, _ in rules),
    )


def _raise(problems: Sequence[Problem]) -> None:
    if not problems:
        return
    only_tenants = all(problem.loc[-1:] == ("tenant",) and "unknown tenant" in problem.message for problem in problems)
    first = problems[0]
    message = f"{len(problems)} problems" if len(problems) > 1 else first.message
    raise (UnknownTenant if only_tenants else InvalidSpec)(message, hint=first.hint, problems=problems)


def _read(
    document: Any,
    at: Loc,
    kinds: Mapping[str, Engine],
    drafts: list[_Draft],
    tenants: list[tuple[Loc, Tenant, Limits]],
    problems: list[Problem],
) -> None:
    known_kinds = (*sorted(kinds), "pipeline", "tenant", *RULES)
    if not isinstance(document, dict):
        problems.append(Problem(at, "a document must be a mapping", "write `kind:` and the keys of that kind"))
    elif not isinstance(document.get("kind"), str):
        problems.append(Problem((*at, "kind"), "is missing or no text", f"one of {', '.join(known_kinds)}"))
    elif document["kind"] == "tenant":
        _read_tenant(document, at, tenants, problems)
    elif document["kind"] == "pipeline":
        _read_pipeline(document, at, kinds, drafts, problems)
    elif document["kind"] in kinds:
        _read_workload(document, at, kinds[document["kind"]], None, drafts, problems)
    else:
        problems.append(_unknown_kind((*at, "kind"), document["kind"], known_kinds))


def _unknown_kind(at: Loc, kind: str, known: Collection[str]) -> Problem:
    hint = " ".join(filter(None, (did_you_mean(kind, known), f"kinds: {', '.join(known)}")))
    return Problem(at, f"unknown kind {kind[:63]!r}", hint)


def _read_tenant(
    document: dict[str, Any], at: Loc, tenants: list[tuple[Loc, Tenant, Limits]], problems: list[Problem]
) -> None:
    try:
        spec = TenantSpec.model_validate(document)
        tenants.append((at, tenant_of(spec), _limits_of(spec)))
    except ValidationError as error:
        problems.extend(problems_of(error, TenantSpec, at))
    except ValueError as error:
        problems.append(Problem(at, str(error)))


def _limits_of(spec: TenantSpec) -> Limits:
    """Return how much of a tenant's work may run or wait at once, and for how long."""
    return Limits(
        tenant=spec.name,
        max_running=spec.max_running,
        max_pending=spec.max_pending,
        max_running_per_user=spec.max_running_per_user,
        max_pending_per_user=spec.max_pending_per_user,
        time_limit_s=spec.time_limit,
    )


def _read_rule(
    document: dict[str, Any],
    at: Loc,
    rules: list[tuple[Loc, PolicySpec | ReservationSpec]],
    problems: list[Problem],
) -> None:
    spec_type = RULES[document["kind"]]
    try:
        rules.append((at, spec_type.model_validate(document)))
    except ValidationError as error:
        problems.extend(problems_of(error, spec_type, at))


def _read_workload(
    document: dict[str, Any],
    at: Loc,
    engine: Engine,
    pipeline: str | None,
    drafts: list[_Draft],
    problems: list[Problem],
) -> None:
    try:
        spec = engine.spec_type.model_validate(document)
    except ValidationError as error:
        problems.extend(problems_of(error, engine.spec_type, at))
    except InvalidSpec as error:
        problems.extend(_placed(error, at))
    else:
        drafts.append(_Draft(at, spec, engine, pipeline))


def _read_pipeline(
    document: dict[str, Any], at: Loc, kinds: Mapping[str, Engine], drafts: list[_Draft], problems: list[Problem]
) -> None:
    try:
        pipeline = PipelineSpec.model_validate(document)
    except ValidationError as error:
        problems.extend(problems_of(error, PipelineSpec, at))
        return
    names = [stage.name for stage in pipeline.stages]
    for i, stage in enumerate(pipeline.stages):
        where = (*at, "stages", i)
        if stage.kind not in kinds:
            problems.append(_unknown_kind((*where, "kind"), stage.kind, sorted(kinds)))
            continue
        raw = dict(document["stages"][i])
        problems += [
            Problem((*where, key), f"differs from the pipeline's {key}", "leave it out here")
            for key in _FROM_PIPELINE
            if raw.get(key, getattr(pipeline, key)) != getattr(pipeline, key)
        ]
        raw.update(name=f"{pipeline.name}-{stage.name}", tenant=pipeline.tenant, priority=pipeline.priority)
        if pipeline.cache:
            raw.setdefault("cache", True)
        if pipeline.labels:
            raw["labels"] = {**pipeline.labels, **_mapping(raw.get("labels"))}
        raw["needs"] = _full_names(raw.get("needs"), pipeline.name, names, where, problems)
        _read_workload(raw, where, kinds[stage.kind], pipeline.name, drafts, problems)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _full_names(needs: Any, pipeline: str, names: Sequence[str], where: Loc, problems: list[Problem]) -> Any:
    if needs is None:
        return []
    if not isinstance(needs, list):
        return needs  # validation says what is wrong with it
    for i, need in enumerate(needs):
        if isinstance(need, str) and need not in names:
            hint = " ".join(filter(None, (did_you_mean(need, names), f"stages: {', '.join(names)}")))
            problems.append(Problem((*where, "needs", i), f"there is no stage {need[:63]!r}", hint))
    return [f"{pipeline}-{need}" if isinstance(need, str) else need for need in needs]


def _same_names(drafts: Sequence[_Draft]) -> list[Problem]:
    seen: set[str] = set()
    problems = []
    for draft in drafts:
        if draft.spec.name in seen:
            hint = "give each workload a name of its own"
            problems.append(Problem((*draft.at, "name"), f"{draft.spec.name!r} is given twice", hint))
        seen.add(draft.spec.name)
    return problems


def _tenants_unknown(drafts: Sequence[_Draft], known: set[str]) -> list[Problem]:
    problems: dict[Loc, Problem] = {}
    for draft in drafts:
        if draft.spec.tenant not in known:
            tenant, at = draft.spec.tenant, (draft.at[0], "tenant")
            there = ", ".join(sorted(known))
            hint = f"{did_you_mean(tenant, known)} known: {there}; add one: aios tenant apply -f FILE"
            problems[at] = Problem(at, f"unknown tenant {tenant!r}", hint.strip())
    return list(problems.values())


def _joined(drafts: Sequence[_Draft], known: Known, problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    """Return what each workload needs, by name: what it says, and whoever makes its inputs."""
    makers: dict[str, _Draft] = {}
    for draft in drafts:
        for role, reference in draft.spec.outputs.items():
            other = makers.setdefault(_key(reference), draft)
            if other is not draft:
                message = f"{reference} is made by {other.spec.name!r} already"
                problems.append(Problem((*draft.at, "outputs", role), message, "give it another name"))
    names = {draft.spec.name for draft in drafts}
    needs: dict[str, tuple[str, ...]] = {}
    for draft in drafts:
        wanted = dict.fromkeys(draft.spec.needs)
        for i, need in enumerate(draft.spec.needs):
            if need not in names and draft.pipeline is None:
                hint = f"submit them together; here are {', '.join(sorted(names))}"
                problems.append(Problem((*draft.at, "needs", i), f"{need!r} is not in this submission", hint))
        for role, reference in draft.spec.inputs.items():
            maker = makers.get(_key(reference))
            newest = _version(reference) in ("", "latest")
            if maker is not None and maker is not draft and (newest or reference in maker.spec.outputs.values()):
                wanted[maker.spec.name] = None
            elif not may_be_missing(role):
                problems.extend(_missing(reference, (*draft.at, "inputs", role), known))
        needs[draft.spec.name] = tuple(need for need in wanted if need in names)
    circle = _circle(needs)
    if circle:
        at = next(draft.at for draft in drafts if draft.spec.name == circle[0])
        problems.append(Problem((*at, "needs"), f"go round in a circle: {' → '.join(circle)}", "break it at one place"))
    return needs


def _missing(reference: str, at: Loc, known: Known) -> list[Problem]:
    """Return what is wrong with an input that nobody in the submission makes."""
    key, version = _key(reference), _version(reference)
    versions = known.versions.get(key, ())
    if not versions:
        if key in known.makers:
            maker = known.makers[key]
            hint = f"{maker} will make it: first run `aios wait {maker}`, or submit both together"
            return [Problem(at, f"{key} does not exist yet", hint)]
        kind = key.partition("://")[0]
        there = sorted(name for name in known.versions if name.startswith(f"{kind}://"))
        near = did_you_mean(key, there)
        what = ", ".join(there[:20]) or f"no {kind} yet"
        hint = f"{near} there is: {what}; or submit the stage that makes it together with this"
        return [Problem(at, f"missing {kind}: there is no {key}", hint.strip())]
    if version in ("", "latest") or version.removeprefix("v") in {str(v) for v in versions}:
        return []
    if not known.has(reference):
        hint = f"versions: {', '.join(map(str, sorted(versions)))}"
        return [Problem(at, f"missing version: there is no {reference}", hint)]
    return []


def _circle(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the names of one circle, its first at both ends; empty where there is none."""
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            name, i = stack.pop()
            if i == 0:
                if name in path:
                    return [*path[path.index(name) :], name]
                if name in done:
                    continue
                path.append(name)
            if i < len(needs[name]):
                stack += [(name, i + 1), (needs[name][i], 0)]
            else:
                path.pop()
                done.add(name)
    return []


def _key(reference: str) -> str:
    return reference.partition("@")[0]


def _version(reference: str) -> str:
    return reference.partition("@")[2]


def _work(draft: _Draft, needs: Mapping[str, tuple[str, ...]], problems: list[Problem]) -> NewWork | None:
    spec = draft.spec
    try:
        demand = draft.engine.demand(spec)
    except InvalidSpec as error:
        problems.extend(_placed(error, draft.at))
        return None
    except ValueError as error:
        problems.append(Problem(draft.at, str(error)))
        return None
    written = spec.model_dump(mode="json", exclude_unset=True)
    written.pop("cache", None)  # whether a result may be reused does not make it another workload
    text = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return NewWork(
        name=spec.name,
        kind=spec.kind,
        tenant=spec.tenant,
        priority=spec.priority,
        demand=demand,
        spec=text,
        content=hashlib.sha256(text.encode()).hexdigest(),
        pipeline=draft.pipeline,
        needs=needs[spec.name],
        inputs=tuple(sorted(spec.inputs.items())),
        outputs=tuple(sorted(spec.outputs.items())),
        service=type(spec).service,
        max_retries=spec.max_retries,
        grace_s=spec.grace,
        estimate_s=spec.estimate,
        time_limit_s=spec.time_limit,
        on_deadline=spec.on_deadline,
        max_attempts=spec.max_attempts,
        user=spec.labels.get("user", ""),
        cache=spec.cache,
    )


def _placed(error: InvalidSpec, at: Loc) -> list[Problem]:
    if error.problems:
        return [replace(problem, loc=(*at, *problem.loc)) for problem in error.problems]
    return [Problem(at, error.message, error.hint)]
