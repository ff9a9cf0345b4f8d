"""The command that runs files and traces on virtual time: the production kernel and planner, and nothing real."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aios.cli.options import Options, common
from aios.cli.output import next_is, note, seconds, show, table

if TYPE_CHECKING:
    from aios.adapters.embedded import EmbeddedShape
    from aios.kernel.events import Limits
    from aios.simulate import Arrival, SimReport
    from placement.model import Node, Tenant

_AT = re.compile(r"(.+)@([0-9]+(?:\.[0-9]+)?)s?")


@click.command("simulate")
@click.argument("files", nargs=-1, required=True, metavar="TRACE | FILE[@SECONDS]...")
@click.option(
    "--cluster",
    default=None,
    metavar="FILE",
    help="YAML with nodes, as a scenario or for `aios up --nodes`; for a trace also 8xV100:8,4xK80:4.",
)
@click.option("--policy", default=None, metavar="NAME", help="For a trace: who decides; default: aios.")
@click.option("--compare", default=None, metavar="A,B,C", help="For a trace: several policies, side by side.")
@click.option("--load", type=click.FloatRange(0, 100, min_open=True), default=None, help="Arrivals at this load.")
@click.option("--jobs", type=click.IntRange(1), default=None, help="So many consecutive jobs of the trace.")
@click.option(
    "--estimates", type=click.Choice(("exact", "noisy")), default="exact", help="What planners know of run times."
)
@click.option(
    "--quotas",
    type=click.Choice(("none", "equal", "by-work")),
    default="none",
    help="Share the cluster among the trace's tenants.",
)
@click.option("--slice", "slice_s", type=click.FloatRange(1), default=None, help="Time slice of policies in rounds, s.")
@click.option("--restart", "restart_s", type=click.FloatRange(0), default=30.0, help="Cost of going on, in seconds.")
@click.option("--strict", is_flag=True, help="Refuse a trace with jobs larger than the cluster.")
@click.option("--timings", is_flag=True, help="How long plans took, in JSON too; differs from run to run.")
@click.option("--report", type=click.Path(path_type=Path), default=None, metavar="DIR", help="Write a page with plots.")
@click.option("--seed", type=int, default=0, help="Same seed, same run.")
@common
@click.pass_obj
def simulate_command(options: Options, /, files: tuple[str, ...], cluster: str | None, seed: int, **trace: Any) -> int:
    """Run a trace of jobs, or files, on virtual time, with the kernel and planner of production.

    Neither Ray nor a cluster is needed. TRACE is a file of a known format, or made up: gen:philly-like?jobs=500.
    FILE@30 arrives after 30 s. A workload takes its `estimate`, or 60 s.
    """
    from aios.cli.replaying import Asked, is_trace, replay_trace
    from aios.errors import InvalidSpec

    if is_trace(files):
        policies = _policies(trace.pop("policy"), trace.pop("compare"))
        noisy = trace.pop("estimates") == "noisy"
        return replay_trace(options, Asked(files[0], cluster, policies, seed=seed, noisy=noisy, **trace))
    given = [name for name in ("policy", "compare", "load", "jobs", "report") if trace[name] is not None]
    if given:
        raise InvalidSpec(f"--{given[0]} is for a trace, and these are files of workloads", hint="give one trace")
    return _simulate_files(options, files, cluster, seed)


def _policies(policy: str | None, compare: str | None) -> tuple[str, ...]:
    names = [policy] if policy else []
    names += [name.strip() for name in (compare or "").split(",") if name.strip()]
    return tuple(dict.fromkeys(names)) or ("aios",)


def is_embedded(path: Path) -> bool:
    """Return whether a file lists nodes as for ``aios up --nodes``; else it is a scenario."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return "num_cpus" in text or "num_gpus" in text


def _simulate_files(options: Options, files: tuple[str, ...], cluster: str | None, seed: int) -> int:
    from aios.adapters.embedded import EmbeddedShape
    from aios.simulate import simulate
    from placement.explain import explain_plan
    from placement.planners.base import Budget
    from placement.planners.ladder import plan

    shape = EmbeddedShape.from_file(Path(cluster)) if cluster else EmbeddedShape.demo()
    arrivals, tenants, limits = _arrivals(files)
    report = simulate(
        arrivals,
        nodes_of(shape),
        tenants,
        lambda problem, budget: explain_plan(problem, plan(problem, budget)),
        seed=seed,
        budget=Budget(wall_s=5.0, deterministic_s=1.0),
        limits=limits,
    )
    show(options, _data(report), _text(options, report))
    for refused in report.refused:
        note(f"refused: {refused}")
    if report.refused:
        return 104
    next_is("aios up")
    return 0 if all(row.status in ("SUCCEEDED", "READY") for row in report.rows) else 101


def nodes_of(shape: EmbeddedShape) -> tuple[Node, ...]:
    """Return the nodes of an embedded cluster as the planner sees them."""
    from placement.model import Node, NodeId, Resources

    return tuple(
        Node(
            NodeId(node.name),
            Resources.parse({"CPU": node.num_cpus, "GPU": node.num_gpus, "memory": node.memory, **node.resources}),
            tuple(sorted(node.labels.items())),
        )
        for node in shape.nodes
    )


def _arrivals(files: Sequence[str]) -> tuple[list[Arrival], tuple[Tenant, ...], tuple[Limits, ...]]:
    """Return each file's submission and when it comes, and all tenants with their limits.

    Tenants that nobody describes have weight 1.
    """
    from aios.documents import read_file
    from aios.errors import InvalidSpec
    from aios.kernel.ports import Submit
    from aios.simulate import Arrival
    from aios.sources import located
    from aios.submission import Known, compile_documents
    from aios.tenants import DEFAULT, check_tree, with_default
    from placement.model import Tenant, TenantId

    timed = [_timed(file) for file in files]
    batches = [(at_s, read_file(file)) for file, at_s in timed]
    described = [d for _, batch in batches for d in batch if d.value.get("kind") == "tenant"]
    try:
        read = compile_documents([d.value for d in described])
        tenants = {t.id: t for t in read.tenants}
        check_tree(with_default(tenants), tenants.values())
    except InvalidSpec as error:
        raise located(error, described) from None
    assumed = {
        TenantId(name)
        for _, batch in batches
        for d in batch
        if isinstance(name := d.value.get("tenant"), str) and name not in tenants and name != DEFAULT
    }
    for name in sorted(assumed):
        note(f"tenant {name!r} is in none of these files: taken with weight 1 and no quota")
    known = with_default({**tenants, **{name: Tenant(name) for name in assumed}})
    arrivals, made = [], dict[str, list[int]]()
    for at_s, batch in sorted(batches, key=lambda one: one[0]):
        work = [d for d in batch if d.value.get("kind") != "tenant"]
        if not work:
            continue
        try:
            compiled = compile_documents([d.value for d in work], Known(tenants=known, versions=made))
        except InvalidSpec as error:
            raise located(error, work) from None
        arrivals.append(Arrival(at_s, Submit(compiled.works)))
    if not arrivals:
        raise InvalidSpec("there is no workload in these files", hint="give a file with workloads or a pipeline")
    return arrivals, tuple(known.values()), read.limits


def _timed(file: str) -> tuple[str, float]:
    match = _AT.fullmatch(file)
    if match is None or Path(file).exists():
        return file, 0.0
    return match[1], float(match[2])


def _text(options: Options, report: SimReport) -> str:
    head = ["ID", "TENANT", "PRIO", "STATUS", "NODES", "CAME", "STARTED", "ENDED", "WAITED", "RAN", "TRIES", "WHY"]
    rows = [
        [r.id, r.tenant, r.priority, r.status, r.planned, seconds(r.submitted_s), seconds(r.started_s),
         seconds(r.finished_s), seconds(r.waited_s), seconds(r.ran_s), r.attempts,
         r.message if r.status not in ("SUCCEEDED", "READY") else None]
        for r in report.rows
    ]  # fmt: skip
    shares = [[t.tenant, "-" if t.entitled is None else f"{t.entitled:.0%}", f"{t.used:.0%}"] for t in report.tenants]
    plans = ", ".join(f"{n} {status}" for status, n in report.plans_by_status.items())
    parts = [table(options, head, rows)] if rows else []
    parts += [
        table(options, ["TENANT", "ENTITLED", "USED"], shares),
        f"{seconds(report.makespan_s)} of virtual time, {report.plans} plans ({plans}), "
        f"{report.preemptions} preemptions",
    ]
    return "\n\n".join(parts)


def _data(report: SimReport) -> dict[str, object]:
    return {
        "schemaVersion": 1,
        "workloads": report.rows,
        "tenants": report.tenants,
        "makespan_s": report.makespan_s,
        "plans": report.plans,
        "plans_by_status": dict(report.plans_by_status),
        "preemptions": report.preemptions,
        "refused": report.refused,
    }
