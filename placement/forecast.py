"""When a waiting workload is likely to start, and whom it waits for, from the run times that are known."""

from __future__ import annotations

from dataclasses import dataclass

from placement.hints import duration, who_has_to_end
from placement.model import Demand, DemandId
from placement.planners.claims import UNKNOWN, Claim, claim, startable
from placement.planners.under import state_under
from placement.score import order_of_service
from placement.situation import Situation, needs

MOST_AHEAD = 8
"""Waiting workloads whose places are foreseen before its own; with more of them ahead nothing is foretold."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What has to happen first.

    Attributes
    ----------
    in_s : float or None
        Seconds until it is likely to start; None where a run time is unknown, or too many are ahead.
    behind : tuple of DemandId
        Waiting workloads that come before it and want some of the same.
    until : tuple of DemandId
        Running or starting work that has to end, what ends first, first.
    """

    in_s: float | None = None
    behind: tuple[DemandId, ...] = ()
    until: tuple[DemandId, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return what a person is told."""
        out = []
        if self.behind:
            out.append(f"ahead of it {'waits' if len(self.behind) == 1 else 'wait'} {_named(self.behind)}")
        if self.until:
            out.append(f"it waits for {_named(self.until)} to end")
        if self.in_s is not None:
            when = "with the next plan" if self.in_s <= 0 else f"in {duration(self.in_s)}"
            out.append(f"likely to start {when}, by the run times that are known")
        elif self.until:
            out.append("when it starts cannot be foretold: a run time is not known, or too many are ahead")
        return tuple(out)


def forecast(now: Situation, demand: Demand) -> Forecast:
    """Return when the workload is likely to start behind those that are served before it."""
    asked, ahead = set(needs(demand)), list[Demand]()
    for other in order_of_service(now.problem):
        if other.id == demand.id:
            break
        if other.id in now.plan.waiting and asked & set(needs(other)):
            ahead.append(other)
    until = tuple(work[0].id for _, work in who_has_to_end(now, demand))
    return Forecast(_in_s(now, demand, ahead), tuple(other.id for other in ahead), until)


def _in_s(now: Situation, demand: Demand, ahead: list[Demand]) -> float | None:
    if len(ahead) > MOST_AHEAD:
        return None
    state, held = state_under(now.problem, now.plan), list[Claim]()
    for other in ahead:
        found = claim(state, other, tuple(held))
        if found is not None:
            held.append(found)
    if not held and startable(state, demand) is not None:
        return 0.0
    own = claim(state, demand, tuple(held))
    if own is None or own.start[0] == UNKNOWN:
        return None
    return max(0.0, own.start[0] - now.problem.now_s)


def _named(names: tuple[DemandId, ...], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
