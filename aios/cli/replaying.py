"""A trace of jobs on virtual time, under one policy or several: the second half of ``aios simulate``."""

from __future__ import annotations

import inspect
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aios.cli.options import Options
from aios.cli.output import note, show

if TYPE_CHECKING:
    from aios.replay import Replayed
    from placement.sim.cluster import Cluster
    from placement.traces.model import Trace

GENERATED = "gen:"
SHORT_CLUSTER = "8xV100:8"
_DOCUMENTS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked of a trace."""

    trace: str
    cluster: str | None
    policies: tuple[str, ...]
    load: float | None
    jobs: int | None
    seed: int
    noisy: bool
    quotas: str
    slice_s: float | None
    restart_s: float
    strict: bool
    timings: bool
    report: Path | None


def is_trace(files: tuple[str, ...]) -> bool:
    """Return whether the arguments mean a trace; else they are files of workloads."""
    return len(files) == 1 and (files[0].startswith(GENERATED) or _is_table(files[0]))


def _is_table(file: str) -> bool:
    path = Path(file)
    return not path.name.partition("@")[0].endswith(_DOCUMENTS) and not path.is_dir()


def replay_trace(options: Options, asked: Asked) -> int:
    """Run the trace under each policy, show what came of it and write the report."""
    from aios.cli import comparing
    from aios.contenders import contender
    from aios.errors import InvalidSpec
    from aios.replay import PACE, replay
    from placement.traces.loads import offered_load

    # 1. Read everything before anything runs: what is wrong is said at once.
    if asked.report is not None:
        comparing.refuse_without_plots()
    cluster = _cluster(asked.cluster or SHORT_CLUSTER)
    contenders = [contender(name, cluster.policy, asked.slice_s) for name in asked.policies]
    trace, left_out = _prepared(asked, cluster)
    cluster = replace(cluster, tenants=_tenants(asked.quotas, trace, cluster))
    if not trace.jobs:
        raise InvalidSpec(f"{trace.name}: no job is left to run", hint="ask for more jobs or a larger cluster")
    # 2. Run.
    done: list[Replayed] = []
    pace = replace(PACE, restart_s=asked.restart_s)
    for rival in contenders:
        note(f"{rival.name}: {len(trace.jobs)} jobs on {len(cluster.nodes)} nodes")
        done.append(
            replay(trace, cluster, rival, seed=asked.seed, noisy=asked.noisy, pace=pace, clock=time.process_time)
        )
    # 3. Show.
    load = offered_load(trace, cluster.nodes)
    facts: dict[str, Any] = {
        "schemaVersion": 1,
        "trace": {"name": trace.name, "jobs": len(trace.jobs), "load": load, "left_out": left_out},
        "cluster": {"name": cluster.name, "nodes": len(cluster.nodes), "tenants": len(cluster.tenants)},
        "estimates": "noisy" if asked.noisy else "exact",
        "seed": asked.seed,
        "policies": {one.policy: _shown(one, asked.timings) for one in done},
    }
    show(options, facts, "" if options.structured else comparing.table(options, done))
    if asked.report is not None:
        note(f"report: {comparing.write_report(asked.report, trace.name, facts, done)}")
    for one in done:
        for refused in one.refused[:3]:
            note(f"{one.policy}: refused: {refused}")
        if one.metrics.n_finished < one.metrics.n_jobs:
            note(f"{one.policy}: {one.metrics.n_jobs - one.metrics.n_finished} jobs never ended")
    if any(one.refused for one in done):
        return 104
    return 0 if all(one.metrics.n_finished == one.metrics.n_jobs for one in done) else 101


def _cluster(text: str) -> Cluster:
    from aios.adapters.embedded import EmbeddedShape
    from aios.cli.simulating import is_embedded, nodes_of
    from aios.errors import InvalidSpec
    from placement.sim.cluster import Cluster, load_cluster

    path = Path(text)
    if path.is_file() and is_embedded(path):
        return Cluster(path.stem, nodes_of(EmbeddedShape.from_file(path)))
    try:
        return load_cluster(text)
    except ValueError as error:
        raise InvalidSpec(str(error), hint="see docs/simulation.md for clusters") from None


def _prepared(asked: Asked, cluster: Cluster) -> tuple[Trace, tuple[str, ...]]:
    """Return the jobs that are to run and the ids of those that the cluster could never hold."""
    from aios.errors import InvalidSpec, Rejected, Unsatisfiable
    from placement.traces.loads import at_load
    from placement.traces.prepare import fitting, window

    trace = _trace(asked)
    twice = _first_double([job.id for job in trace.jobs])
    if twice is not None:
        raise InvalidSpec(f"{asked.trace}: two jobs are named {twice!r}", hint="rename one of them")
    if asked.jobs is not None:
        trace = window(trace, asked.jobs, asked.seed)
    held = fitting(trace, cluster.nodes)
    kept = {job.id for job in held.jobs}
    left_out = tuple(job.id for job in trace.jobs if job.id not in kept)
    if left_out:
        names = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        what = f"{len(left_out)} of {len(trace.jobs)} jobs are larger than the cluster: {names}"
        if asked.strict:
            raise Unsatisfiable(what, hint="give a larger cluster, or leave --strict out")
        note(f"left out: {what}")
    if asked.load is not None and held.jobs:
        try:
            held = at_load(held, cluster.nodes, asked.load)
        except ValueError as error:
            raise Rejected(str(error), hint="leave --load out") from None
    return held, left_out


def _trace(asked: Asked) -> Trace:
    from aios.errors import InvalidSpec
    from placement.traces.model import TraceError
    from placement.traces.readers import read

    if asked.trace.startswith(GENERATED):
        return _generated(asked.trace.removeprefix(GENERATED), asked.seed)
    try:
        return read(Path(asked.trace))
    except TraceError as error:
        raise InvalidSpec(str(error), hint="see docs/simulation.md for traces") from None


def _generated(text: str, seed: int) -> Trace:
    """Return what ``NAME?jobs=500&per_hour=40`` means."""
    import difflib

    from aios.errors import InvalidSpec
    from placement.traces.generate import GENERATORS

    name, _, query = text.partition("?")
    if name not in GENERATORS:
        near = difflib.get_close_matches(name, GENERATORS, 1)
        known = ", ".join(GENERATORS)
        raise InvalidSpec(
            f"there is no generator {name!r}{f'; do you mean {near[0]!r}?' if near else ''}", hint=f"one of: {known}"
        )
    make = GENERATORS[name]
    known_keys = ["jobs", *(key for key in inspect.signature(make).parameters if key != "n")]
    given: dict[str, Any] = {"jobs": 500, "seed": seed}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known_keys:
            raise InvalidSpec(f"{name} has no setting {key!r}", hint=f"one of: {', '.join(known_keys)}")
        try:
            given[key] = float(value) if key == "per_hour" else int(value)
        except ValueError:
            raise InvalidSpec(f"{name}: {key} is {value!r}", hint="write a number") from None
        if given[key] < 0 or (given[key] == 0 and key != "seed" and key != "multi_gpu"):
            raise InvalidSpec(f"{name}: {key} is {value}", hint="write a positive number")
    return make(given.pop("jobs"), **given)


def _tenants(quotas: str, trace: Trace, cluster: Cluster) -> tuple[Any, ...]:
    """Return the cluster's tenants; with ``quotas``, those of the trace that it does not name share the cluster."""
    from placement.traces.prepare import GPU, tenants

    if quotas == "none":
        return cluster.tenants
    resource = GPU if any(node.resources.get(GPU) for node in cluster.nodes) else "CPU"
    known = {tenant.id for tenant in cluster.tenants}
    made = tenants(trace, cluster.nodes, resource, by_work=quotas == "by-work")
    return (*cluster.tenants, *(tenant for tenant in made if tenant.id not in known))


def _shown(one: Replayed, timings: bool) -> dict[str, Any]:
    """Return a policy's measures; how long plans took differs from run to run, so only those who ask get it."""
    found = asdict(one.metrics)
    return found if timings else {key: value for key, value in found.items() if not key.startswith("plan_")}


def _first_double(names: list[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
