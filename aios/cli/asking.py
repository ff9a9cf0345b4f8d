"""What ``aios plan --what-if`` and ``aios plan --capacity`` show: two plans side by side, and which nodes lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aios.cli.options import Options
from aios.cli.output import clean, solved_in, table

if TYPE_CHECKING:
    from aios.asked import AdviceView, LotView, WhatIfView
    from aios.views import PlanView, ShareView

_MOST_UNCHANGED = 20


def what_if_text(options: Options, view: WhatIfView) -> str:
    """Return two plans side by side: what changes first."""
    parts = [clean(f"What if {', then '.join(view.changes)}: nothing is changed in the cluster.")]
    changed = [lot for lot in view.workloads if lot.changed]
    same = [lot for lot in view.workloads if not lot.changed]
    if changed:
        rows = [[lot.id, lot.tenant, *_both(lot)] for lot in changed]
        parts.append(table(options, ["CHANGES", "TENANT", "NOW", "THEN"], rows))
    else:
        parts.append("Nobody's lot changes.")
    if same:
        shown = same if options.output == "wide" else same[:_MOST_UNCHANGED]
        text = table(options, ["AS BEFORE", "TENANT", "IS"], [[lot.id, lot.tenant, _both(lot)[1]] for lot in shown])
        parts.append(text + (f"\nand {len(same) - len(shown)} more: -o wide" if len(same) > len(shown) else ""))
    parts.append(_shares(options, view.shares_now, view.shares_then))
    terms = [[term.name, f"{term.now + 0.0:g}", f"{term.then + 0.0:g}", term.unit] for term in view.terms]
    parts.append(table(options, ["TERM", "NOW", "THEN", "WHICH COUNTS"], terms))
    parts.append(clean(f"now:  {_proof(view.now)}\nthen: {_proof(view.then)}"))
    return "\n\n".join(part for part in parts if part)


def _both(lot: LotView) -> tuple[str, str]:
    return f"{lot.now} {lot.now_detail}".rstrip(), f"{lot.then} {lot.then_detail}".rstrip()


def _shares(options: Options, now: Sequence[ShareView], then: Sequence[ShareView]) -> str:
    before, after = {one.tenant: one for one in now}, {one.tenant: one for one in then}
    names = dict.fromkeys([*before, *after])
    if not names:
        return ""
    rows = [[name, *_percent(before.get(name)), *_percent(after.get(name))] for name in names]
    return table(options, ["TENANT", "ENTITLED NOW", "USED NOW", "ENTITLED THEN", "USED THEN"], rows)


def _percent(share: ShareView | None) -> list[str]:
    return ["-", "-"] if share is None else [f"{share.entitled:.0%}", f"{share.used:.0%}"]


def _proof(plan: PlanView) -> str:
    return f"{plan.planner}: {plan.status}, gap {plan.gap or 0:.1%}, solved in {solved_in(plan)}"


def advice_text(options: Options, view: AdviceView) -> str:
    """Return what to ask the autoscaler for, and what could go."""
    if view.add:
        nodes = ", ".join(f"{n} {name}" for name, n in view.add.items())
        proven = "the least there is" if view.cost <= view.bound + 1e-6 else f"at least {view.bound:g} is needed"
        parts = [clean(f"Add {nodes}: cost {view.cost:g} ({proven}).\nThen {', '.join(view.admits)} would start.")]
    else:
        parts = ["No node of the catalogue would help." if view.not_helped else "No more nodes are needed."]
    if view.not_helped:
        parts.append(table(options, ["STILL WAITS", "WHY"], list(view.not_helped.items())))
    if view.removable:
        rows = [[node, ", ".join(moves) or "nothing runs there"] for node, moves in view.removable.items()]
        parts.append(table(options, ["COULD GO", "WHAT WOULD MOVE"], rows))
    return "\n\n".join(parts)
