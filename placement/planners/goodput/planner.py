"""The planner of rounds: from tenants' rights and the programme's choice to a plan that the judge passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from placement.check import violations
from placement.model import ROOT, Demand, Plan, Problem, SolveStats, TenantId
from placement.planners.base import Budget
from placement.planners.goodput.constants import MOST_JOBS, ROUND_S
from placement.planners.goodput.options import Job, Option, Pools, Row, jobs_of
from placement.planners.goodput.programme import Answer, Bound, Round, by_worth, solve
from placement.planners.goodput.seating import Seating
from placement.planners.goodput.worth import Worth, next_arrival_s, worths
from placement.planners.tree import Tree, add

MOST_TRIES = 8
"""Plans made for one question. The second leaves all where it is, each further one leaves out one newcomer more, as the
judge did not agree with the one before."""


class Goodput:
    """Chooses for each round who works, where and how large; see ``programme`` for what it optimises.

    Priorities are strict: each class has its own programme on what the higher ones left. Between classes and equals,
    work yields only after its time slice. Nothing is remembered: what was missed is in the next question's remaining
    work.
    """

    name = "goodput"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        left_out: list[Demand] = []
        plan, may_move = Plan(), True
        for _ in range(MOST_TRIES):
            asked = replace(problem, pending=tuple(d for d in problem.pending if d not in left_out))
            seating, answers = decide(asked, may_move)
            plan = seating.plan(problem, _stats(answers))
            if not (seating.order or plan.moves) or not violations(problem, plan):
                break
            if plan.moves:
                may_move = False
                continue
            left_out.append(seating.order[-1])
        return plan


def decide(problem: Problem, may_move: bool = True) -> tuple[Seating, list[Answer]]:
    """Choose class by class, seat who was chosen, and fill what is left."""
    tree = Tree(problem)
    pools = Pools(problem, tree)
    jobs = jobs_of(problem, pools, may_move)
    capacity = pools.capacity()
    round_s = problem.policy.time_slice_s or ROUND_S
    worth = worths(problem, jobs, capacity, round_s)
    next_s = next_arrival_s(problem, jobs, round_s)
    seating = Seating(problem, tree, pools, jobs, worth)
    answers, free = [], dict(capacity)
    for priority in sorted({job.demand.priority for job in jobs}, reverse=True):
        members = [idx for idx, job in enumerate(jobs) if job.demand.priority == priority]
        below = [job for job in jobs if job.demand.priority < priority and job.must_run]
        question, idxs = _question(tree, seating, jobs, worth, members, _less(free, below), round_s)
        answer = solve(replace(question, next_s=next_s))
        chosen = {idxs[at]: option for at, option in answer.chosen.items()}
        seating.seat(chosen, members)
        answers.append(answer)
        for idx, option in chosen.items():
            for row, amount in jobs[idx].options[option].use:
                free[row] = max(0, free.get(row, 0) - amount)
    seating.fill(by_worth(Round(jobs, worth, capacity, round_s)))
    return seating, answers


def _less(free: Mapping[Row, int], jobs: list[Job]) -> dict[Row, int]:
    """Return what is free but for work of lower classes that can't be stopped now."""
    out = dict(free)
    for job in jobs:
        for row, amount in _least(job).use:
            out[row] = max(0, out.get(row, 0) - amount)
    return out


def _least(job: Job) -> Option:
    assert job.running is not None, "only running work must run"
    return next(option for option in job.options if option.n_bundles == len(job.running.nodes))


def _question(
    tree: Tree,
    seating: Seating,
    jobs: list[Job],
    worth: list[Worth],
    members: list[int],
    free: dict[Row, int],
    round_s: float,
) -> tuple[Round, list[int]]:
    """Return the class's programme and the jobs in it: what runs, and the worthiest that wait."""
    held: dict[Row, int] = {}
    for idx in members:
        if jobs[idx].must_run:
            for row, amount in _least(jobs[idx]).use:
                held[row] = held.get(row, 0) + amount
    free = {row: max(amount, held.get(row, 0)) for row, amount in free.items()}
    waiting = [idx for idx in members if jobs[idx].running is None and jobs[idx].options]
    if len(waiting) > MOST_JOBS:
        mine = Round([jobs[i] for i in waiting], [worth[i] for i in waiting], free, round_s)
        waiting = sorted(waiting[at] for at in by_worth(mine)[:MOST_JOBS])
    idxs = [idx for idx in members if jobs[idx].running is not None] + waiting
    limits, floors = _bounds(tree, seating, members, jobs)
    question = Round([jobs[i] for i in idxs], [worth[i] for i in idxs], free, round_s, limits, floors)
    return question, idxs


def _bounds(
    tree: Tree, seating: Seating, members: list[int], jobs: list[Job]
) -> tuple[tuple[Bound, ...], tuple[Bound, ...]]:
    """Return what is left of each tenant's limits and guarantee once the other classes have what they hold."""
    mine = {jobs[idx].demand.id for idx in members}
    others: dict[TenantId, dict[str, int]] = {tenant: {} for tenant in tree.tenants}
    for demand, n in seating.held():
        if demand.id not in mine:
            for tenant in tree.paths[demand.tenant]:
                add(others[tenant], demand.resources(n))
    limits, floors = list[Bound](), list[Bound]()
    for tenant, facts in tree.tenants.items():
        below = frozenset(t for t in tree.tenants if tenant in tree.paths[t] and tenant != ROOT)
        quota = tree.quota[tenant]
        most = dict(facts.limit or ())
        for name, amount in facts.borrow_limit or ():
            most[name] = min(most.get(name, quota.get(name, 0) + amount), quota.get(name, 0) + amount)
        limits += [Bound(below, name, amount - others[tenant].get(name, 0)) for name, amount in most.items()]
        floors += [Bound(below, name, amount - others[tenant].get(name, 0)) for name, amount in quota.items()]
    return tuple(limits), tuple(floors)


def _stats(answers: list[Answer]) -> SolveStats:
    value, bound = sum(a.value for a in answers), sum(max(a.value, a.bound) for a in answers)
    gap = (bound - value) / bound if bound > 0 else 0.0
    return SolveStats("goodput", "feasible" if gap > 1e-9 else "optimal", value, bound, gap)
