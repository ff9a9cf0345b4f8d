r"""The linear programme of one round: who works now, so that little is left later and nobody's end is put off.

Sets and data: jobs j with options o (a pool and a size), rate r_jo, use u_jor of resource r of a pool, work left L_j,
worth w_jo of a round; capacity c_r; the round lasts H.

First the batch: how soon could all that is known be done?

    min M   s.t.   sum_o r_jo y_jo >= L_j,    sum_o y_jo <= M,    sum_jo u_jor y_jo <= c_r M,    y >= 0

which is Gavel's makespan policy (OSDI'20, section 4.2) without its search. Then two periods: x is this round, in
fractions of it, and y all that comes after, in rounds, until N = max(M* - H, 0) / H rounds from its end:

    max  sum_jo w_jo x_jo - p late - FLOOR_PRICE sum_t short_t,    p = LATE_PRICE sum_j w_j P(nobody comes until M*)
    s.t. sum_o x_jo <= 1                                       (= 1 for work that can't be stopped now)
         sum_jo u_jor x_jo <= c_r
         sum_o r_jo H (x_jo + y_jo) >= L_j
         sum_o y_jo <= N + late
         sum_jo u_jor y_jo <= c_r (N + late)
         sum_{j of t} u_jor x_jo <= limit_tr                    for each tenant's limit
         sum_{j of t} u_jor x_jo / c_r + short_t >= quota_tr / c_r

Unlike time fractions that hold for the whole future (Gavel), short work goes first and long work later on the nodes
where it loses least: a batch keeps its makespan and most of the mean completion time of shortest-remaining-first. What
a job did not get in one round is in the next one's L_j, so that no account of rounds received is kept.

The programme is solved over fractions first. What is above 0 then, and the ``KERNEL`` options with the best reduced
cost, are solved again over whole x (y stays fluid); the fractions' value bounds what any round is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from ortools.linear_solver import pywraplp

from placement.model import TenantId
from placement.planners.goodput.constants import FLOOR_PRICE, GAP, KERNEL, LATE_PRICE, MOST_BRANCHES, WHOLE
from placement.planners.goodput.options import Job, Option, Row, dominant
from placement.planners.goodput.worth import Worth

Choice = dict[int, int]
"""Job's index to its option's."""

Key = tuple[int, int]
"""A job's index and its option's."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A tenant's limit or guarantee of a resource over its subtree: ``amount``, in all pools together."""

    tenants: frozenset[TenantId]
    resource: str
    amount: int


@dataclass(frozen=True, slots=True)
class Round:
    """What one programme decides about.

    ``capacity`` is what the jobs may use; ``limits`` and ``floors`` what is left of the tenants' limits and guarantees;
    ``next_s`` in how many seconds the next arrival is expected, infinite for a batch that came all at once; arrivals
    are taken as a Poisson process.
    """

    jobs: Sequence[Job]
    worths: Sequence[Worth]
    capacity: Mapping[Row, int]
    round_s: float
    limits: Sequence[Bound] = ()
    floors: Sequence[Bound] = ()
    next_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Answer:
    """Who works now and in which option; ``bound`` is the programme's value over fractions."""

    chosen: Choice
    value: float
    bound: float
    batch_s: float


def solve(question: Round) -> Answer:
    """Return who works in this round."""
    if not question.jobs:
        return Answer({}, 0.0, 0.0, 0.0)
    batch_s = shortest_batch_s(question)
    fluid = _TwoPeriods(question, batch_s)
    if not fluid.solve():
        return Answer({}, 0.0, 0.0, batch_s)
    fractions = fluid.fractions()
    if all(fraction > 1 - WHOLE for fraction in fractions.values()):
        return Answer(dict(sorted(fractions)), fluid.value(), fluid.value(), batch_s)
    whole = _TwoPeriods(question, batch_s, _kernel(question, fluid, fractions))
    if not whole.solve():
        return Answer(_rounded(question, fractions), 0.0, fluid.value(), batch_s)
    return Answer(dict(sorted(whole.fractions())), whole.value(), fluid.value(), batch_s)


def shortest_batch_s(question: Round) -> float:
    """Return how soon all known work could be done, in seconds; gangs as fluids, so no plan is faster."""
    solver = pywraplp.Solver.CreateSolver("GLOP")
    batch = solver.NumVar(0, solver.infinity(), "batch")
    solver.Minimize(batch)
    rows = {row: solver.Constraint(-solver.infinity(), 0) for row in question.capacity}
    for constraint in rows.values():
        constraint.SetCoefficient(batch, -1.0)
    for job, worth in zip(question.jobs, question.worths, strict=True):
        if not job.options:
            continue
        work, time = solver.Constraint(1, solver.infinity()), solver.Constraint(-solver.infinity(), 0)
        time.SetCoefficient(batch, -1.0)
        for option in job.options:
            rounds = solver.NumVar(0, solver.infinity(), "")
            work.SetCoefficient(rounds, option.rate * question.round_s / worth.left_s)
            time.SetCoefficient(rounds, 1.0)
            _use(rows, rounds, option, question.capacity)
    solved = solver.Solve() == pywraplp.Solver.OPTIMAL
    return float(batch.solution_value()) * question.round_s if solved else 0.0


def _use(
    rows: Mapping[Row, pywraplp.Constraint], variable: pywraplp.Variable, option: Option, capacity: Mapping[Row, int]
) -> None:
    for row, amount in option.use:
        if row in rows:
            rows[row].SetCoefficient(variable, amount / capacity[row] if capacity[row] else 1.0)


class _TwoPeriods:
    """The programme of this round and all that comes after: over fractions, or over whole options of a kernel."""

    def __init__(self, question: Round, batch_s: float, kernel: frozenset[Key] | None = None) -> None:
        self.question, self.kernel = question, kernel
        self.solver = pywraplp.Solver.CreateSolver("GLOP" if kernel is None else "SCIP")
        self.infinity = self.solver.infinity()
        self.n_later = max(0.0, batch_s / question.round_s - 1.0)
        self.now: dict[Key, pywraplp.Variable] = {}
        self.objective = self.solver.Objective()
        self.objective.SetMaximization()
        self.late = self.solver.NumVar(0, self.infinity, "late")
        price = LATE_PRICE * sum(worth.weight for worth in question.worths) * exp(-batch_s / question.next_s)
        self.objective.SetCoefficient(self.late, -price)
        self.capacity_now_and_later()
        for idx, job in enumerate(question.jobs):
            if job.options:
                self.one_option_at_a_time_and_all_work_done(idx, job)
        self.limits_of_tenants()
        self.guarantees_of_tenants()

    def capacity_now_and_later(self) -> None:
        self.rows_now, self.rows_later = {}, {}
        for row, amount in self.question.capacity.items():
            self.rows_now[row] = self.solver.Constraint(-self.infinity, 1.0 if amount else 0.0)
            self.rows_later[row] = self.solver.Constraint(-self.infinity, self.n_later if amount else 0.0)
            if amount:
                self.rows_later[row].SetCoefficient(self.late, -1.0)

    def one_option_at_a_time_and_all_work_done(self, idx: int, job: Job) -> None:
        question, worth = self.question, self.question.worths[idx]
        once = self.solver.Constraint(1.0 if job.must_run else -self.infinity, 1.0)
        later = self.solver.Constraint(-self.infinity, self.n_later)
        later.SetCoefficient(self.late, -1.0)
        work = self.solver.Constraint(1.0, self.infinity)
        for at, option in enumerate(job.options):
            share = option.rate * question.round_s / worth.left_s
            rounds = self.solver.NumVar(0, self.infinity, "")
            later.SetCoefficient(rounds, 1.0)
            work.SetCoefficient(rounds, share)
            _use(self.rows_later, rounds, option, question.capacity)
            if at < job.n_now and (self.kernel is None or (idx, at) in self.kernel):
                now = self.solver.NumVar(0, 1, "") if self.kernel is None else self.solver.BoolVar("")
                self.now[idx, at] = now
                self.objective.SetCoefficient(now, worth.values[at])
                once.SetCoefficient(now, 1.0)
                work.SetCoefficient(now, share)
                _use(self.rows_now, now, option, question.capacity)

    def limits_of_tenants(self) -> None:
        for bound in self.question.limits:
            held = sum(_of(job, 0, bound) for job in self.question.jobs if job.must_run)
            row = self.solver.Constraint(-self.infinity, float(max(0, bound.amount, held)))
            self._sum(row, bound, 1.0)

    def guarantees_of_tenants(self) -> None:
        for bound in self.question.floors:
            whole = sum(amount for (_, name), amount in self.question.capacity.items() if name == bound.resource)
            if whole and bound.amount > 0:
                short = self.solver.NumVar(0, self.infinity, "")
                self.objective.SetCoefficient(short, -FLOOR_PRICE)
                row = self.solver.Constraint(bound.amount / whole, self.infinity)
                row.SetCoefficient(short, 1.0)
                self._sum(row, bound, 1.0 / whole)

    def _sum(self, row: pywraplp.Constraint, bound: Bound, scale: float) -> None:
        for (idx, at), variable in self.now.items():
            row.SetCoefficient(variable, _of(self.question.jobs[idx], at, bound) * scale)

    def solve(self) -> bool:
        """Solve within a number of branches that is the same on every machine; return whether there is an answer."""
        parameters = pywraplp.MPSolverParameters()
        if self.kernel is not None:
            parameters.SetDoubleParam(parameters.RELATIVE_MIP_GAP, GAP)
            self.solver.SetSolverSpecificParametersAsString(f"limits/nodes = {MOST_BRANCHES}\n")
        return self.solver.Solve(parameters) in (pywraplp.Solver.OPTIMAL, pywraplp.Solver.FEASIBLE)

    def fractions(self) -> dict[Key, float]:
        """Return what is above 0 now."""
        least = WHOLE if self.kernel is None else 0.5
        values = {key: float(variable.solution_value()) for key, variable in self.now.items()}
        return {key: value for key, value in values.items() if value > least}

    def value(self) -> float:
        return float(self.objective.Value())


def _of(job: Job, at: int, bound: Bound) -> int:
    """Return what an option takes of what a tenant's bound is about."""
    if job.demand.tenant not in bound.tenants:
        return 0
    return sum(amount for (_, name), amount in job.options[at].use if name == bound.resource)


def _kernel(question: Round, fluid: _TwoPeriods, fractions: Mapping[Key, float]) -> frozenset[Key]:
    """Return the options that are likely in a good round; of work that must run, all of them."""
    costs = {key: float(variable.reduced_cost()) for key, variable in fluid.now.items() if key not in fractions}
    near = sorted(costs, key=lambda key: (-round(costs[key], 9), key))[:KERNEL]
    forced = [key for key in fluid.now if question.jobs[key[0]].must_run]
    return frozenset([*fractions, *near, *forced])


def _rounded(question: Round, fractions: Mapping[Key, float]) -> Choice:
    """Return the largest fractions that fit together."""
    free, chosen = dict(question.capacity), Choice()
    for idx, at in sorted(fractions, key=lambda key: (not question.jobs[key[0]].must_run, -fractions[key], key)):
        option = question.jobs[idx].options[at]
        if idx not in chosen and _fits(free, option):
            _take(free, option)
            chosen[idx] = at
    return chosen


def _fits(free: Mapping[Row, int], option: Option) -> bool:
    return all(amount <= free.get(row, 0) for row, amount in option.use)


def _take(free: dict[Row, int], option: Option) -> None:
    for row, amount in option.use:
        free[row] = free.get(row, 0) - amount


def by_worth(question: Round) -> list[int]:
    """Return the jobs by worth for what they take, the most first."""

    def rank(idx: int) -> tuple[float, int]:
        job = question.jobs[idx]
        size = min((dominant(option.use, question.capacity) for option in job.options), default=1.0)
        return -question.worths[idx].weight / max(1e-12, size), idx

    return sorted(range(len(question.jobs)), key=rank)
