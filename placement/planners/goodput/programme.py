r"""The linear programme of one round: who works now, so that little is left later and nobody's end is put off.

Sets and data: jobs j with options o (a pool and a size), rate r_jo, use u_jor of resource r of a pool, work left L_j,
worth w_jo of a round; capacity c_r; the round lasts H.

First the batch: how soon could all that is known be done?

    min M   s.t.   sum_o r_jo y_jo >= L_j,    sum_o y_jo <= M,    sum_jo u_jor y_jo <= c_r M,    y >= 0

which is Gavel's makespan policy (OSDI'20, section 4.2) without its search. Then two periods: x is this round, in
fractions of it, and y all that comes after, in rounds, until N = max(M* - (1 - SLACK) H, 0) / H rounds from its end:

    max  sum_jo w_jo x_jo - LATE_PRICE late - FLOOR_PRICE sum_t short_t
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

Rounding dives: what the programme gives whole is fixed, else the largest fraction, and the programme solved again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ortools.linear_solver import pywraplp

from placement.model import TenantId
from placement.planners.goodput.constants import FLOOR_PRICE, LATE_PRICE, MOST_DIVES, SLACK, WHOLE
from placement.planners.goodput.options import Job, Option, Row, dominant
from placement.planners.goodput.worth import Worth

Choice = dict[int, int]
"""Job's index to its option's."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A tenant's limit or guarantee of a resource over its subtree: ``amount``, in all pools together."""

    tenants: frozenset[TenantId]
    resource: str
    amount: int


@dataclass(frozen=True, slots=True)
class Round:
    """What one programme decides about.

    ``capacity`` is what the jobs may use; ``limits`` and ``floors`` what is left of the tenants' limits and guarantees.
    """

    jobs: Sequence[Job]
    worths: Sequence[Worth]
    capacity: Mapping[Row, int]
    round_s: float
    limits: Sequence[Bound] = ()
    floors: Sequence[Bound] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """Who works now and in which option; ``bound`` is the programme's value before rounding."""

    chosen: Choice
    value: float
    bound: float
    batch_s: float


def solve(question: Round) -> Answer:
    """Return who works in this round."""
    if not question.jobs:
        return Answer({}, 0.0, 0.0, 0.0)
    batch_s = shortest_batch_s(question)
    chosen, bound = _dive(question, _TwoPeriods(question, batch_s))
    value = sum(question.worths[j].values[o] for j, o in chosen.items())
    return Answer(chosen, value, bound, batch_s)


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
    """The programme of this round and all that comes after; variables can be fixed between solves."""

    def __init__(self, question: Round, batch_s: float) -> None:
        self.question = question
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        self.infinity = self.solver.infinity()
        self.n_later = max(0.0, batch_s / question.round_s - (1.0 - SLACK))
        self.now: dict[tuple[int, int], pywraplp.Variable] = {}
        self.objective = self.solver.Objective()
        self.objective.SetMaximization()
        self.late = self.solver.NumVar(0, self.infinity, "late")
        self.objective.SetCoefficient(self.late, -LATE_PRICE)
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
            if at < job.n_now:
                now = self.solver.NumVar(0, 1, "")
                self.now[idx, at] = now
                self.objective.SetCoefficient(now, worth.values[at])
                once.SetCoefficient(now, 1.0)
                work.SetCoefficient(now, share)
                _use(self.rows_now, now, option, question.capacity)

    def limits_of_tenants(self) -> None:
        for bound in self.question.limits:
            row = self.solver.Constraint(-self.infinity, float(max(0, bound.amount)))
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
            job = self.question.jobs[idx]
            if job.demand.tenant in bound.tenants:
                amount = sum(a for (_, name), a in job.options[at].use if name == bound.resource)
                row.SetCoefficient(variable, amount * scale)

    def fractions(self) -> dict[tuple[int, int], float]:
        """Solve and return what is above 0 now; nothing where the solver gave up."""
        if self.solver.Solve() != pywraplp.Solver.OPTIMAL:
            return {}
        values = {key: float(variable.solution_value()) for key, variable in self.now.items()}
        return {key: value for key, value in values.items() if value > WHOLE}

    def value(self) -> float:
        """Return the worth of the round in the last solution."""
        return sum(self.question.worths[j].values[o] * float(v.solution_value()) for (j, o), v in self.now.items())


def _dive(question: Round, programme: _TwoPeriods) -> tuple[Choice, float]:
    free, chosen = dict(question.capacity), Choice()
    for idx, job in enumerate(question.jobs):
        if job.must_run and job.n_now == 1:
            _take(free, job.options[0])
            chosen[idx] = 0
    fractions = programme.fractions()
    bound = programme.value() if fractions else 0.0
    for dive in range(MOST_DIVES):
        order = sorted(
            (key for key in fractions if key[0] not in chosen),
            key=lambda key: (-round(fractions[key], 6), -question.worths[key[0]].values[key[1]], key),
        )
        whole = [key for key in order if fractions[key] > 1 - WHOLE]
        if not order:
            break
        last = dive == MOST_DIVES - 1
        for idx, at in order if last else whole or order[:1]:
            if idx in chosen:
                continue
            if _fits(free, question.jobs[idx].options[at]):
                _take(free, question.jobs[idx].options[at])
                chosen[idx] = at
                programme.now[idx, at].SetBounds(1, 1)
            else:
                programme.now[idx, at].SetBounds(0, 0)
        for (idx, at), variable in programme.now.items():
            job = question.jobs[idx]
            if idx not in chosen and not job.must_run and not _fits(free, job.options[at]):
                variable.SetBounds(0, 0)
        fractions = programme.fractions()
    return chosen, bound


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
