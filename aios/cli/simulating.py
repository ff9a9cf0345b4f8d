"""The command that runs files on virtual time: the production kernel and planner, and nothing real."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aios.cli.options import Options, common
from aios.cli.output import next_is, note, seconds, show, table

if TYPE_CHECKING:
    from aios.adapters.embedded import EmbeddedShape
    from aios.simulate import Arrival, SimReport
    from placement.model import Node, Tenant

_AT = re.compile(r"(.+)@([0-9]+(?:\.[0-9]+)?)s?")


@click.command("simulate")
@click.argument("files", nargs=-1, required=True, metavar="FILE[@SECONDS]...")
@click.option(
    "--cluster",
    type=click.Path(path_type=Path),
    default=None,
    help="YAML with nodes, as for `aios up --nodes`; default: the cluster of `aios up`.",
)
@click.option("--seed", type=int, default=0, help="Same seed, same run.")
@common
@click.pass_obj
def simulate_command(options: Options, files: tuple[str, ...], cluster: Path | None, seed: int) -> int:
    """Run files on virtual time, with the kernel and planner of production; neither Ray nor a cluster is needed.

    FILE@30 arrives after 30 s. A workload takes its `estimate`, or 60 s.
    """
    from aios.adapters.embedded import EmbeddedShape
    from aios.simulate import simulate
    from placement.explain import explain_plan
    from placement.planners.base import Budget
    from placement.planners.ladder import plan

    shape = EmbeddedShape.from_file(cluster) if cluster else EmbeddedShape.demo()
    arrivals, tenants = _arrivals(files)
    report = simulate(
        arrivals,
        nodes_of(shape),
        tenants,
        lambda problem, budget: explain_plan(problem, plan(problem, budget)),
        seed=seed,
        budget=Budget(wall_s=5.0, deterministic_s=1.0),
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


def _arrivals(files: Sequence[str]) -> tuple[list[Arrival], tuple[Tenant, ...]]:
    """Return each file's submission and when it comes, and all tenants; those that nobody describes have weight 1."""
    from aios.client import located
    from aios.documents import read_file
    from aios.errors import InvalidSpec
    from aios.kernel.ports import Submit
    from aios.simulate import Arrival
    from aios.submission import Known, compile_documents
    from aios.tenants import DEFAULT, check_tree, with_default
    from placement.model import Tenant, TenantId

    timed = [_timed(file) for file in files]
    batches = [(at_s, read_file(file)) for file, at_s in timed]
    described = [d for _, batch in batches for d in batch if d.value.get("kind") == "tenant"]
    try:
        tenants = {t.id: t for t in compile_documents([d.value for d in described]).tenants}
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
    return arrivals, tuple(known.values())


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
