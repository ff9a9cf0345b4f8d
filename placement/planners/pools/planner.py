"""The planner for large clusters: one programme over pools of like nodes, proved near its bound, decoded to nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from placement.model import Plan, Problem, SolveStats
from placement.planners.base import Budget
from placement.planners.pools import accounts as tenants
from placement.planners.pools import kernel
from placement.planners.pools.accounts import Accounts
from placement.planners.pools.awkward import in_order
from placement.planners.pools.candidates import Victim, victims_of
from placement.planners.pools.decode import Decoder, by_density
from placement.planners.pools.departures import Departure
from placement.planners.pools.facts import Facts, Memory, growth_of
from placement.planners.pools.lp import Relaxed, extended, relax
from placement.planners.pools.options import Columns, Offers, pack_key, rows_of_blocks
from placement.planners.pools.pricing import MOST_PER_NODE, price
from placement.planners.pools.programme import Programme
from placement.planners.pools.victims import Clearing, Yard
from placement.planners.pools.view import Floats, Ints, View
from placement.planners.tree import Tree
from placement.qualities import most_performance
from placement.throughput import scaled
from placement.value import Values, plan_terms
from placement.weights import PRIORITY_BASE

ROUNDS = 4
"""How often columns for victims are priced before what is still missed is only counted in the bound."""
CLOSE = 5e-4
"""Part of the bound below which missed columns no longer matter."""
GOOD_ENOUGH = 1e-3
"""Relative gap at which no more time is spent."""
MOST_MORE = 500
"""Patterns of victims that no relaxation asks for, but whole numbers might."""
EVERY_SIZE = 16
"""Patterns on a node where work has to go before its tenant gets anything: of as many sizes as there are GPUs."""
MOST_IN_DOUBT = 1000
"""Columns that the whole-number programme decides; the others keep the relaxation's answer."""
FEW_IN_DOUBT = 300
"""The same for a sheet of ``LARGE`` columns: its gap is small by itself, and with more the solver found nothing."""
LARGE = 25_000

MOST_GREEDY = 10_000_000
"""Nodes times gangs up to which greedy is asked too wherever the gap is not closed; beyond, where it is not small."""


@dataclass(slots=True)
class Question:
    """One problem in the terms of this package."""

    problem: Problem
    facts: list[Facts]
    values: Values
    view: View
    accounts: Accounts
    victims: list[Victim]


class Pools:
    """Largest total value by programmes over pools; who waits and who yields is one decision."""

    name = "pools"

    def __init__(self, base: float = PRIORITY_BASE) -> None:
        self._memory, self._base = Memory(), base

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        asked = question(problem, self._memory, self._base)
        programme = written(asked)
        relaxed, missed = relaxed_with_victims(programme, budget)
        best = valued(asked, decoded(asked, programme, relaxed, np.floor(relaxed.x + 1e-6).astype(np.int64)))
        bound = relaxed.worth + missed - held(asked) + beyond(asked)
        open_ = bound - best.worth
        if open_ > GOOD_ENOUGH * bound:
            # A relaxation asks for a fraction of what a tenant has above its limit; whole numbers ask for all of it.
            per_node = EVERY_SIZE if asked.accounts.gated else MOST_PER_NODE
            for found in price(programme, relaxed, -open_, per_node).found[:MOST_MORE]:
                programme.add(found)
            relaxed = extended(programme.sheet, relaxed)
            answer = kernel.solve(
                programme.sheet,
                relaxed,
                free_columns(programme, relaxed, open_),
                budget,
                GOOD_ENOUGH / 2 * bound,
            )
            if answer.x is not None:
                other = valued(asked, decoded(asked, programme, relaxed, answer.x))
                best = max(best, other, key=lambda found: found.worth)
        plan, worth, terms = best.plan, best.worth, best.terms
        could_win = bound > worth and self._greedy_could_win(problem, bound, worth)
        if could_win and most_by_value(asked, programme.columns) > worth:
            greedy = by_value(asked, programme.columns)
            if greedy.stats.objective > worth:
                plan, worth, terms = greedy, greedy.stats.objective, greedy.stats.terms
        bound = max(bound, worth)
        gap = (bound - worth) / bound if bound > 0 else 0.0
        status = "optimal" if gap <= 1e-6 else "feasible"
        return replace(plan, stats=SolveStats(self.name, status, worth, bound, gap, 0.0, terms))

    @staticmethod
    def _greedy_could_win(problem: Problem, bound: float, worth: float) -> bool:
        """Return whether greedy is worth asking: it can win by the gap at most, and costs by the size."""
        small = len(problem.nodes) * len(problem.pending) <= MOST_GREEDY
        return small or bound - worth > GOOD_ENOUGH * bound


class ByValue:
    """Greedy on the same view: whoever is worth most per accelerator first, nobody displaced."""

    name = "by value"

    def __init__(self, base: float = PRIORITY_BASE) -> None:
        self._memory, self._base = Memory(), base

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        return by_value(question(problem, self._memory, self._base, displaces=False))


def by_value(asked: Question, columns: Columns | None = None) -> Plan:
    """Return greedy's plan for a question that was looked at already; its victims stay.

    It reads of the columns who may start in which way: what they take of rows does not matter.
    """
    if columns is None:
        columns = Offers(asked.view, asked.values, rows_of_blocks(asked.view, None), {}).columns(asked.facts)
    order = by_density(columns, sizes(asked, columns))
    decoder = Decoder(asked.view, asked.facts, asked.accounts, columns, (), order)
    decoder.run((), (), in_order(asked.facts, asked.values))
    plan = decoder.plan(asked.problem, decoder.settled())
    terms = terms_of(asked, plan)
    return replace(plan, stats=SolveStats(ByValue.name, "greedy", sum(a for _, a in terms), terms=terms))


def most_by_value(asked: Question, columns: Columns) -> float:
    """Return what greedy's plan is worth at most: the densest gangs fill the idle accelerators as if they were sand.

    Work without accelerators counts in full.
    """
    n_gangs = int(columns.gang.max()) + 1 if len(columns.gang) else 0
    gpus = columns.of_each(
        lambda way: sum(b.resources.get("GPU") * n for b, n in zip(way.form.kinds, way.counts, strict=True))
    )
    plain, density, most = np.zeros(n_gangs), np.zeros(n_gangs), np.zeros(n_gangs)
    np.maximum.at(plain, columns.gang[gpus == 0], columns.value[gpus == 0])
    np.maximum.at(density, columns.gang[gpus > 0], columns.value[gpus > 0] / gpus[gpus > 0])
    np.maximum.at(most, columns.gang, gpus)
    order = np.argsort(-density, kind="stable")
    idle = float(sum(max(0, free[0]) for free in asked.view.free))
    before = np.concatenate([[0.0], np.cumsum(most[order])[:-1]]) if n_gangs else np.zeros(0)
    filled = np.clip(idle - before, 0.0, most[order])
    return float(plain.sum() + (filled * density[order]).sum())


def question(problem: Problem, memory: Memory, base: float, displaces: bool = True) -> Question:
    """Look at a problem: what is asked, what is free, who might yield."""
    facts, values = memory.recall(problem.pending), Values(problem, base)
    facts += [fact for fact in map(growth_of, problem.running) if fact is not None]
    view, accounts = View(problem, facts), tenants.accounts_of(problem, Tree(problem))
    victims = victims_of(view, values, accounts.may_yield, accounts.resource) if displaces else []
    return Question(problem, facts, values, view, accounts, victims)


def written(asked: Question) -> Programme:
    blocks = rows_of_blocks(asked.view, pack_key(asked.facts))
    yard = Yard(asked.view, blocks, asked.victims)
    return Programme(asked.view, asked.facts, asked.values, asked.accounts, yard, blocks)


def relaxed_with_victims(programme: Programme, budget: Budget) -> tuple[Relaxed, float]:
    """Solve the relaxation, adding columns for victims while they pay; return what others might still add."""
    relaxed = relax(programme.sheet, budget.wall_s)
    for _ in range(ROUNDS):
        priced = price(programme, relaxed)
        if priced.missed <= CLOSE * max(1.0, relaxed.worth):
            return relaxed, priced.missed
        added = [programme.add(found) for found in priced.found]
        if not any(added):
            return relaxed, priced.missed
        relaxed = relax(programme.sheet, budget.wall_s)
    return relaxed, price(programme, relaxed).missed


def held(asked: Question) -> float:
    """Return what use within quotas is worth before the plan: the programme counts it in."""
    out = 0.0
    for tenant, facts in asked.values.entitled.items():
        out += facts.worth * min(facts.quota, asked.accounts.use[tenant].get(facts.name, 0))
    return out


def beyond(asked: Question) -> float:
    """Return the most that work which no column says could add: awkward gangs, and running work that could grow."""
    values, out = asked.values, 0.0
    for fact in asked.facts:
        if not fact.simple:
            out += values.of(fact.demand, most_performance(fact.demand) / len(fact.demand.bundles))
    said = {fact.demand.id for fact in asked.facts if fact.running is not None}
    for running in asked.problem.running:
        demand, n = running.demand, len(running.nodes)
        if n < len(demand.bundles) and demand.id not in said:
            more = max(scaled(demand, k) for k in range(n, len(demand.bundles) + 1)) - scaled(demand, n)
            out += values.whole(demand) * values.weight(demand, waits=False) * more
    return out


def free_columns(programme: Programme, relaxed: Relaxed, open_: float) -> Ints:
    """Return what the whole-number programme decides: all auxiliary columns, and choices and victims in doubt."""
    first, n = programme.first_choice, len(programme.columns.gang)
    choices = np.arange(first, programme.sheet.n_columns, dtype=np.int64)
    likeness = np.zeros(len(choices), dtype=np.int64)
    likeness[:n] = programme.columns.profile + 1
    most = MOST_IN_DOUBT if programme.sheet.n_columns < LARGE else FEW_IN_DOUBT
    in_doubt = kernel.in_doubt(relaxed, choices, likeness, most, open_)
    assert n <= len(choices), "every choice is a column"
    return np.sort(np.concatenate([np.arange(first, dtype=np.int64), in_doubt]))


def decoded(asked: Question, programme: Programme, relaxed: Relaxed, x: Ints) -> Plan:
    """Carry out the columns that an answer has chosen, and fill up in the order of reduced worth."""
    first, columns = programme.first_choice, programme.columns
    reduced = relaxed.reduced[first : first + len(columns.gang)]
    order = np.lexsort((np.arange(len(reduced)), -columns.value, -np.round(reduced, 6))).astype(np.int64)
    decoder = Decoder(asked.view, asked.facts, asked.accounts, columns, asked.victims, order)
    chosen = np.flatnonzero(x[first : first + len(columns.gang)] > 0).tolist()
    displaced: dict[int, None] = {}
    for column, found in programme.patterns.items():
        if x[column] > 0:
            if isinstance(found, Departure):
                displaced[found.victim] = None
                continue
            for part in found.patterns if isinstance(found, Clearing) else (found,):
                displaced.update(dict.fromkeys(part.victims))
    decoder.run(chosen, displaced, in_order(asked.facts, asked.values))
    verdict = decoder.settled()
    return decoder.plan(asked.problem, verdict)


@dataclass(frozen=True, slots=True)
class Valued:
    """A plan and what it is worth."""

    plan: Plan
    terms: tuple[tuple[str, float], ...]
    worth: float


def terms_of(asked: Question, plan: Plan) -> tuple[tuple[str, float], ...]:
    """Return the terms of a plan's value, from what is known of the question."""
    use = {tenant: asked.accounts.use[tenant].get(facts.name, 0) for tenant, facts in asked.values.entitled.items()}
    return plan_terms(asked.problem, plan, asked.values.base, asked.values, use)


def valued(asked: Question, plan: Plan) -> Valued:
    terms = terms_of(asked, plan)
    return Valued(plan, terms, sum(amount for _, amount in terms))


def sizes(asked: Question, columns: Columns) -> Floats:
    """Return the size of what each column takes, in accelerators."""
    size = asked.values.size
    return columns.of_each(
        lambda way: sum(size(b.resources) * n for b, n in zip(way.form.kinds, way.counts, strict=True))
    )
