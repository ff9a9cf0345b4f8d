"""The policy of a scenario: the rules of the whole cluster, read strictly."""

from __future__ import annotations

from placement.model import Borrow, Objective, Policy, PreemptionPolicy, Reclaim, Within
from placement.reading import Value, suggestion
from placement.shares import POLICIES

_FAIRNESS = tuple(policy.name for policy in POLICIES)
_POLICY = (
    "fairness",
    "preemption",
    "backfill",
    "migration",
    "objective",
    "ageing_s",
    "time_slice_s",
    "interference",
)
_PREEMPTION = ("within", "reclaim", "borrow")
_LEAST_S = 1e-3
_MOST_S = 1e12


def read_policy(value: Value | None) -> Policy:
    """Read the ``policy`` section; what it leaves out has the default."""
    if value is None:
        return Policy()
    fields = value.fields(_POLICY)
    fairness = fields["fairness"].text() if "fairness" in fields else _FAIRNESS[0]
    if fairness not in _FAIRNESS:
        fields["fairness"].fail(f"{fairness!r} is no fairness policy", suggestion(fairness, _FAIRNESS))
    return Policy(
        fairness=fairness,
        preemption=read_preemption(fields.get("preemption"), PreemptionPolicy()),
        backfill=fields["backfill"].flag() if "backfill" in fields else True,
        migration=fields["migration"].flag() if "migration" in fields else False,
        objective=fields["objective"].choice(Objective) if "objective" in fields else Objective.STRICT,
        ageing_s=fields["ageing_s"].number(_LEAST_S, _MOST_S) if "ageing_s" in fields else None,
        time_slice_s=fields["time_slice_s"].number(_LEAST_S, _MOST_S) if "time_slice_s" in fields else None,
        interference=_interference(fields.get("interference")),
    )


def read_preemption(value: Value | None, default: PreemptionPolicy) -> PreemptionPolicy:
    """Read who may displace whom; what it leaves out is as in ``default``."""
    if value is None:
        return default
    fields = value.fields(_PREEMPTION)
    return PreemptionPolicy(
        within=fields["within"].choice(Within) if "within" in fields else default.within,
        reclaim=fields["reclaim"].choice(Reclaim) if "reclaim" in fields else default.reclaim,
        borrow=fields["borrow"].choice(Borrow) if "borrow" in fields else default.borrow,
    )


def _interference(value: Value | None) -> tuple[tuple[str, str, float], ...]:
    """Read ``[[profile, profile, factor], ...]``."""
    if value is None:
        return ()
    out: dict[tuple[str, str], float] = {}
    for item in value.items():
        triple = list(item.items())
        if len(triple) != 3:
            item.fail(f"has {len(triple)} entries", "write [profile, its neighbour's profile, factor from 0 to 1]")
        pair = triple[0].text(), triple[1].text()
        if pair in out:
            item.fail(f"says twice how {pair[0]} runs beside {pair[1]}", "keep one of the two")
        out[pair] = triple[2].number(0.0, 1.0)
    return tuple((one, other, factor) for (one, other), factor in out.items())
