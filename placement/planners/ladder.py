"""The ladder of planners: the best answer that passes the judge, and never a worse one than greedy's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from placement.ageing import aged
from placement.check import violations
from placement.inuse import used_shares
from placement.model import Objective, Plan, Problem, Share, TenantId
from placement.planners.arrays.usable import gentler
from placement.planners.base import Budget, Planner
from placement.planners.bulk import is_large
from placement.planners.cpsat import CpSat
from placement.planners.goodput import Goodput
from placement.planners.greedy import Greedy
from placement.planners.moves import with_moves
from placement.planners.pools import Pools
from placement.score import Score, most_there_can_be, score
from placement.shares import entitlements

PLANNERS: tuple[Planner, ...] = (CpSat(), Greedy())
"""Every planner of the laws' order, the best first; the last one always answers."""

ROUNDS: tuple[Planner, ...] = (Goodput(), Greedy())
"""The planners where goodput is the aim: the first whose plan the judge passes answers, as the score of the laws' order
of service says nothing of goodput."""

WEIGHTED: tuple[Planner, ...] = (Pools(), Greedy())
"""The planners where the largest total value is the aim."""

EXACT: tuple[Planner, ...] = (Pools(), CpSat(), Greedy())
"""The same for small questions, where it is proven whose loss is the least."""

MOST_EXACT = 500
"""Nodes times work up to which that is asked."""

MOST_COMPARED = 5_000
"""Nodes times work up to which the greedy planner of the laws is asked as well where value is the aim."""

STEEP = 512.0
"""How many times the class below it a priority class is worth where value stands in for the laws' order."""

LARGE: tuple[Planner, ...] = (Pools(STEEP), Greedy())
"""The planners of the laws' order where the clusters are too large to prove decision by decision."""


def plan(
    problem: Problem,
    budget: Budget = Budget(),  # noqa: B008  # frozen
    clock: Callable[[], float] = lambda: 0.0,
    planners: Sequence[Planner] = PLANNERS,
) -> Plan:
    """Return the best plan by score of those that pass the judge, with shares and the way it was reached.

    Parameters
    ----------
    problem, budget
        The question, and how long each planner may think.
    clock : callable
        Seconds, for the time that the answer states; nothing else depends on it.
    planners : sequence of Planner
        The last one answers even where the judge objects, and its answer says so.
    """
    problem = aged(problem)
    began, fallbacks = clock(), list[str]()
    entitled = _entitled(problem, fallbacks)
    best: tuple[Score, Plan] | None = None
    best_is_sound = False
    rungs, first_is_best = rungs_for(problem) if planners is PLANNERS else (planners, False)
    for planner in rungs if first_is_best else reversed(rungs):
        try:
            proposed = planner(problem, budget)
            broken, used = violations(problem, proposed), used_shares(problem, proposed)
            value = score(problem, proposed, entitled, used)
        except Exception as error:  # a planner's fault must not stop the cluster: the next rung answers
            fallbacks.append(f"{planner.name}: {type(error).__name__}: {error}")
            continue
        if broken:
            fallbacks.append(f"{planner.name}: {broken[0]}")
            if best is not None and not first_is_best:
                continue
        if first_is_best and not broken:
            return _with_stats(problem, entitled, value, proposed, tuple(fallbacks), clock() - began, used)
        if best is None or not best_is_sound or value >= best[0]:
            best, best_is_sound = (value, proposed), not broken
        else:
            fallbacks.append(f"{planner.name}: no better than {best[1].stats.planner}")
    if best is None:
        raise RuntimeError(f"no planner answered ({'; '.join(fallbacks)}): report this problem")
    if best_is_sound:
        best = _moved(problem, best, budget, entitled, fallbacks)
        best = _gentler(problem, best, entitled, fallbacks)
    return _with_stats(problem, entitled, *best, tuple(fallbacks), clock() - began)


def _entitled(problem: Problem, fallbacks: list[str]) -> Mapping[TenantId, float]:
    """Return what each tenant is entitled to; nobody is short of anything where that cannot be worked out."""
    try:
        return entitlements(problem)
    except Exception as error:  # shares only compare plans: without them there is still a plan
        fallbacks.append(f"shares: {type(error).__name__}: {error}")
        return {}


def rungs_for(problem: Problem) -> tuple[Sequence[Planner], bool]:
    """Return the planners for a problem, the best first, and whether the first sound answer is the answer.

    It is where greedy's cannot be better: goodput is no part of its score, and of a large problem's value the planner
    of pools compares with a greedy answer of its own, but where that could be better by a thousandth at most.
    """
    if problem.policy.objective is Objective.GOODPUT:
        return ROUNDS, True
    if problem.policy.objective is Objective.WEIGHTED:
        size = len(problem.nodes) * (len(problem.pending) + len(problem.running))
        return EXACT if size <= MOST_EXACT else WEIGHTED, size > MOST_COMPARED
    return (LARGE if is_large(problem) else PLANNERS), False


def _moved(
    problem: Problem,
    best: tuple[Score, Plan],
    budget: Budget,
    entitled: Mapping[TenantId, float],
    fallbacks: list[str],
) -> tuple[Score, Plan]:
    """Return the plan with running work moved where that lets more in, if the judge passes it."""
    try:
        proposed = with_moves(problem, best[1], budget)
    except Exception as error:  # the plan stands without its moves
        fallbacks.append(f"moves: {type(error).__name__}: {error}")
        return best
    broken = violations(problem, proposed) if proposed is not best[1] else ()
    if broken:
        fallbacks.append(f"moves: {broken[0]}")
    return best if broken or proposed is best[1] else (score(problem, proposed, entitled), proposed)


def _gentler(
    problem: Problem, best: tuple[Score, Plan], entitled: Mapping[TenantId, float], fallbacks: list[str]
) -> tuple[Score, Plan]:
    """Return the plan with single bundles where they leave the most for what is expected, if nothing else suffers."""
    value, chosen = best
    if not problem.expected or problem.policy.objective is Objective.GOODPUT:
        return best
    try:
        proposed = gentler(problem, chosen)
        if proposed == chosen or violations(problem, proposed):
            return best
        other = score(problem, proposed, entitled)
    except Exception as error:  # the plan stands as it is
        fallbacks.append(f"fragmentation: {type(error).__name__}: {error}")
        return best
    if other.fragmentation < value.fragmentation or replace(other, nodes=0, fragmentation=0.0) < replace(
        value, nodes=0, fragmentation=0.0
    ):
        return best
    stats = chosen.stats
    if stats.planner != Pools.name:
        bound = max(stats.bound, other.total)
        gap = (bound - other.total) / abs(bound) if bound else 0.0
        status = stats.status if stats.planner == Greedy.name else "optimal" if gap <= 1e-6 else "feasible"
        stats = replace(stats, status=status, objective=other.total, bound=bound, gap=gap)
    return other, replace(proposed, stats=stats)


def _with_stats(
    problem: Problem,
    entitled: Mapping[TenantId, float],
    value: Score,
    chosen: Plan,
    fallbacks: tuple[str, ...],
    wall_s: float,
    used: Mapping[TenantId, float] | None = None,
) -> Plan:
    used = used_shares(problem, chosen) if used is None else used
    shares = {tenant: Share(entitled.get(tenant, 0.0), share) for tenant, share in used.items()}
    stats = chosen.stats
    strict = problem.policy.objective is Objective.STRICT
    unlike = stats.planner == (Pools.name if strict else CpSat.name)
    moves = problem.policy.migration and stats.planner not in (Goodput.name, CpSat.name)
    if unlike or stats.planner == Greedy.name or moves:
        # Only the exact planner's bound holds for plans that may move running work, and none for another aim.
        bound = max(value.total, most_there_can_be(problem))
        gap = (bound - value.total) / bound if bound else 0.0
        status = stats.status if stats.planner == Greedy.name else "optimal" if gap <= 1e-6 else "feasible"
        stats = replace(stats, status=status, objective=value.total, bound=bound, gap=gap)
    elif problem.policy.migration and stats.planner == CpSat.name:
        bound = max(value.total, stats.bound)
        gap = (bound - value.total) / abs(bound) if bound else 0.0
        status = "optimal" if gap <= 1e-6 else "feasible"
        stats = replace(stats, status=status, objective=value.total, bound=bound, gap=gap)
    return replace(chosen, shares=shares, stats=replace(stats, wall_s=wall_s, terms=value.terms, fallbacks=fallbacks))
