"""A what-if and a capacity advice as people read them, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence

from placement.answer import proof
from placement.capacity import Advice
from placement.model import Share
from placement.whatif import Difference, Fate, Lot

_MOST_UNCHANGED = 20


def difference_text(difference: Difference, changes: Sequence[str]) -> str:
    """Return two plans side by side: what changed first, then the rest in short."""
    changed = difference.changed
    same = [lot for lot in difference.lots if not lot.changed]
    parts = [f"What if {', then '.join(changes)}: nothing is changed in the cluster."]
    if changed:
        parts.append(columns(["CHANGES", "TENANT", "NOW", "THEN"], [_row(lot) for lot in changed]))
    else:
        parts.append("Nobody's lot changes.")
    if same:
        shown = [[lot.demand, lot.tenant, str(lot.after)] for lot in same[:_MOST_UNCHANGED]]
        more = f"\n  and {len(same) - _MOST_UNCHANGED} more" if len(same) > _MOST_UNCHANGED else ""
        parts.append(columns(["AS BEFORE", "TENANT", ""], shown) + more)
    if difference.shares:
        rows = [[name, *_share(before), *_share(after)] for name, before, after in difference.shares]
        parts.append(columns(["TENANT", "ENTITLED NOW", "USES NOW", "ENTITLED THEN", "USES THEN"], rows))
    terms = [[name, f"{was + 0.0:g}", f"{becomes + 0.0:g}", unit] for name, unit, was, becomes in difference.terms]
    parts.append(columns(["TERM", "NOW", "THEN", "WHICH COUNTS"], terms))
    parts.append(f"now:  {proof(difference.before.stats)}\nthen: {proof(difference.after.stats)}")
    return "\n\n".join(parts)


def _row(lot: Lot) -> list[str]:
    return [lot.demand, lot.tenant, str(lot.before), str(lot.after)]


def _share(share: Share | None) -> list[str]:
    return ["-", "-"] if share is None else [f"{share.entitled:.1%}", f"{share.used:.1%}"]


def difference_json(difference: Difference, changes: Sequence[str]) -> dict[str, object]:
    """Return two plans side by side for programs."""
    return {
        "changes": list(changes),
        "workloads": [
            {
                "name": lot.demand,
                "tenant": lot.tenant,
                "changed": lot.changed,
                "now": _fate(lot.before),
                "then": _fate(lot.after),
            }
            for lot in difference.lots
        ],
        "shares": {
            name: {"now": _share_json(before), "then": _share_json(after)} for name, before, after in difference.shares
        },
        "terms": {name: {"unit": unit, "now": was, "then": now} for name, unit, was, now in difference.terms},
        "solver": {
            when: {"planner": plan.stats.planner, "status": plan.stats.status, "gap": _finite(plan.stats.gap)}
            for when, plan in (("now", difference.before), ("then", difference.after))
        },
    }


def _fate(fate: Fate) -> dict[str, str]:
    return {"state": fate.state, "detail": fate.detail}


def _share_json(share: Share | None) -> dict[str, float | None] | None:
    return None if share is None else {"entitled": _finite(share.entitled), "used": _finite(share.used)}


def advice_text(advice: Advice) -> str:
    """Return what to ask for and what could go, in a few lines."""
    if advice.add:
        nodes = ", ".join(f"{n} {name}" for name, n in advice.add)
        exact = "the least there is" if advice.cost <= advice.bound + 1e-6 else f"at least {advice.bound:g} is needed"
        lines = [f"Add {nodes}: cost {advice.cost:g} ({exact})."]
        lines.append(f"Then {_names(advice.admits)} would start.")
    else:
        lines = ["No more nodes are needed." if not advice.not_helped else "No node of the catalogue would help."]
    if advice.not_helped:
        lines.append("\n" + columns(["STILL WAITS", "WHY"], [[name, why] for name, why in advice.not_helped]))
    if advice.removable:
        rows = [[r.node, _names(r.moves) if r.moves else "nothing runs there"] for r in advice.removable]
        lines.append("\n" + columns(["COULD GO", "WHAT WOULD MOVE"], rows))
    return "\n".join(lines)


def _names(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def advice_json(advice: Advice) -> dict[str, object]:
    """Return an advice for programs."""
    return {
        "add": dict(advice.add),
        "cost": advice.cost,
        "bound": advice.bound,
        "admits": list(advice.admits),
        "not_helped": dict(advice.not_helped),
        "removable": {one.node: list(one.moves) for one in advice.removable},
    }


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns under their heads, the last one as wide as it is."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[idx]) for line in lines) for idx in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
