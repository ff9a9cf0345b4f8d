"""The two forms of an answer: JSON for programs, a table for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from placement.expect import differences
from placement.model import Move, Plan, SolveStats
from placement.scenario import Scenario
from placement.weights import TERMS


def answer_json(plan: Plan) -> dict[str, object]:
    """Return the answer in the form that the scenario format gives; numbers that JSON lacks become null.

    Work that moves stops where it is, so it stands under ``preempted`` too.
    """
    stops = {preemption.demand: str(preemption) for preemption in plan.preemptions}
    return {
        "admitted": {grant.demand: {"nodes": list(grant.nodes), "form": grant.form} for grant in plan.grants},
        "preempted": stops | {move.demand: f"move for {', '.join(move.beneficiaries)}" for move in plan.moves},
        "resized": {resize.demand: {"from": resize.before, "to": resize.to} for resize in plan.resizes},
        "moved": {
            move.demand: {
                "nodes": list(move.nodes),
                "for": list(move.beneficiaries),
                "cost_s": _finite(move.cost_s),
            }
            for move in plan.moves
        },
        "waiting": {
            name: {"reason": wait.reason.value, "detail": wait.detail, "would_run_if": list(wait.would_run_if)}
            for name, wait in plan.waiting.items()
        },
        "shares": {
            tenant: {"entitled": _finite(share.entitled), "used": _finite(share.used)}
            for tenant, share in plan.shares.items()
        },
        "solver": {
            "status": plan.stats.status,
            "objective": _finite(plan.stats.objective),
            "bound": _finite(plan.stats.bound),
            "gap": _finite(plan.stats.gap),
            "wall_s": _finite(plan.stats.wall_s),
            "planner": plan.stats.planner,
        },
    }


def answer_text(scenario: Scenario, plan: Plan) -> str:
    """Return the answer as tables that a person reads from the top: what starts, what yields, what waits and why."""
    problem = scenario.problem
    tenants = {demand.id: demand.tenant for demand in problem.pending}
    tenants.update({run.demand.id: run.demand.tenant for run in problem.running})
    parts = [scenario.name]
    for title, rows in (
        ("ADMITTED", [[g.demand, tenants[g.demand], _counted(g.nodes)] for g in plan.grants]),
        ("PREEMPTED", [[p.demand, tenants[p.demand], str(p)] for p in plan.preemptions]),
        ("MOVED", [[m.demand, tenants[m.demand], _move(m)] for m in plan.moves]),
        ("RESIZED", [[r.demand, tenants[r.demand], f"{r.before} -> {r.to} bundles"] for r in plan.resizes]),
        ("WAITING", [[name, tenants[name], wait.reason.value, wait.detail] for name, wait in plan.waiting.items()]),
        ("SHARE", [[t, f"entitled {s.entitled:.1%}", f"uses {s.used:.1%}"] for t, s in sorted(plan.shares.items())]),
        ("TERMS", _terms(plan.stats)),
    ):
        if rows:
            parts.append(_table(title, rows))
    parts.append(proof(plan.stats))
    if scenario.expect:
        bad = differences(scenario.expect, problem, plan)
        parts.append("as expected" if not bad else "NOT as expected:\n" + "\n".join(f"  {line}" for line in bad))
    return "\n\n".join(parts)


def proof(stats: SolveStats) -> str:
    """Return who answered, how good the answer is proven to be, and why the other planners' answers were not taken."""
    lines = [
        f"{stats.planner} answered in {stats.wall_s:.2f} s: {stats.status}, objective {stats.objective:.9g}, "
        f"no plan can have more than {stats.bound:.9g} (gap {stats.gap:.2%})"
    ]
    return "\n".join([*lines, *(f"  not {rung}" for rung in stats.fallbacks)])


def _terms(stats: SolveStats) -> list[list[str]]:
    facts = {term.name: term for term in TERMS}
    return [
        [
            name,
            f"{value + 0.0:g}",
            f"x {facts[name].weight:g}" if name in facts else "",
            facts[name].unit if name in facts else "",
        ]
        for name, value in stats.terms
    ]


def _move(move: Move) -> str:
    whom = ", ".join(move.beneficiaries)
    return f"to {_counted(move.nodes)} for {whom}; {move.cost_s:.0f} bundle-seconds are done again"


def _table(title: str, rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[idx]) for row in rows) for idx in range(len(rows[0]) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _counted(nodes: Sequence[str]) -> str:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node] = counts.get(node, 0) + 1
    shown = [name if n == 1 else f"{name} x{n}" for name, n in counts.items()]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
