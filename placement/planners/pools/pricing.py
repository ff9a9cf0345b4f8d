"""Which patterns of victims are worth a column at the prices of the relaxation, and what is missed without the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from placement.planners.pools.departures import Departure, best_first
from placement.planners.pools.lp import Relaxed
from placement.planners.pools.programme import Programme
from placement.planners.pools.victims import Clearing, Pattern
from placement.planners.pools.view import Floats, Ints, blocks

MOST_PER_NODE = 3
"""How many patterns of one node may become columns in one round."""
MOST_CLEARED = 16
"""How many nodes of one domain may be cleared together."""
LEAST_GAIN = 1e-6
MOST_LEAVING = 10_000
"""How many gangs on several nodes may become columns in one round, the best first."""


@dataclass(frozen=True, slots=True)
class Priced:
    """Columns worth adding, and how much more any columns could add to the relaxation's worth."""

    found: tuple[Pattern | Clearing | Departure, ...]
    missed: float


def price(programme: Programme, relaxed: Relaxed, least: float = LEAST_GAIN, per_node: int = MOST_PER_NODE) -> Priced:
    """Price all patterns of victims at once; the sum of the best reduced worths bounds what is missed.

    ``least`` is the reduced worth from which on a pattern is worth a column: below 0, no relaxation is better for it,
    but whole numbers may be.
    """
    leaving, missed = _departures(programme, relaxed, least)
    yard = programme.yard
    if not len(yard.node):
        return Priced(leaving, missed)
    rows = [programme.accounts.yields[group] for group in yard.groups]
    best, mask = yard.cheapest(relaxed.price[rows])
    profit = yard.profits(relaxed.price, best)
    paid_nodes, paid_domains = _paid(programme, relaxed)
    paid = np.array([paid_nodes.get(i, 0.0) for i in yard.node.tolist()])
    gain = profit - paid[:, None]
    _paid_by_departures(programme, relaxed, gain, paid, paid_domains)
    most = np.maximum(0.0, gain.max(axis=1))
    found: list[Pattern | Clearing | Departure] = list(leaving)
    gain[:, 0] = -np.inf
    for row in np.flatnonzero(gain.max(axis=1) > least).tolist():
        promising = np.argsort(-gain[row], kind="stable")[:per_node]
        for freed in promising.tolist():
            if gain[row, freed] <= least:
                break
            found.append(yard.pattern(row, freed, int(mask[row, freed])))
    missed += float(most.sum())
    for clearing, worth in _clearings(programme, relaxed, best, mask, paid, paid_domains):
        if worth > LEAST_GAIN:
            found.append(clearing)
            missed += worth
    return Priced(tuple(found), missed)


def _departures(programme: Programme, relaxed: Relaxed, least: float) -> tuple[tuple[Departure, ...], float]:
    """Return gangs on several nodes whose going pays at the prices, the best first, and what the new ones could add."""
    departures = programme.departures
    if not departures.all:
        return (), 0.0
    reduced = departures.reduced(relaxed.price, programme.yields_row, programme.node_row, programme.domain_row)
    new = [i for i in best_first(reduced, least).tolist() if not programme.knows(departures.all[i])]
    missed = sum(max(0.0, float(reduced[i])) for i in new)
    return tuple(departures.all[i] for i in new[:MOST_LEAVING]), missed


def _paid(programme: Programme, relaxed: Relaxed) -> tuple[dict[int, float], dict[tuple[int, int], float]]:
    """Return what the relaxation pays already for each node and domain: the price of its row, and of full columns."""
    nodes = {node: float(relaxed.price[row]) for node, row in programme.node_row.items()}
    domains = {domain: float(relaxed.price[row]) for domain, row in programme.domain_row.items()}
    for column, found in programme.patterns.items():
        full = max(0.0, float(relaxed.reduced[column])) if column < len(relaxed.reduced) else 0.0
        if isinstance(found, Clearing):
            domains[found.domain] += full
        elif isinstance(found, Pattern):
            nodes[found.node] += full
    return nodes, domains


def _paid_by_departures(
    programme: Programme, relaxed: Relaxed, gain: Floats, paid: Floats, domains: dict[tuple[int, int], float]
) -> None:
    """Take what full columns of gangs on several nodes are worth off what others could gain on the same nodes.

    Such a column's reduced worth may be the price of any of its rows: it goes first where it is needed.
    """
    row_of = {node: row for row, node in enumerate(programme.yard.node.tolist())}
    for column, found in programme.patterns.items():
        if not isinstance(found, Departure) or column >= len(relaxed.reduced):
            continue
        left = max(0.0, float(relaxed.reduced[column]))
        for node in found.nodes:
            row = row_of.get(node)
            if row is not None and left > 0:
                part = min(left, max(0.0, float(gain[row].max())))
                gain[row] -= part
                paid[row] += part
                left -= part
        for domain in found.domains:
            domains[domain] = domains.get(domain, 0.0) + left / len(found.domains)


def _clearings(
    programme: Programme,
    relaxed: Relaxed,
    best: Floats,
    mask: Ints,
    paid_nodes: Floats,
    paid_domains: Mapping[tuple[int, int], float],
) -> Iterator[tuple[Clearing, float]]:
    """Return for each domain the best number of cheapest nodes to clear together, with its reduced worth."""
    yard, view, rows = programme.yard, programme.view, programme.blocks
    if rows.key is None:
        return
    domain = view.domains(rows.key)[0][yard.node]
    for y, pool in enumerate(view.pools):
        first, levels, above = rows.first[y], rows.levels[y], rows.above[y]
        if not above or not levels:
            continue
        prices = relaxed.price[first + levels - 1 : first + levels + above]
        if max(prices[k] - prices[0] * 2**k for k in range(above + 1)) <= LEAST_GAIN:
            continue
        here = np.flatnonzero((yard.pool == y) & (domain >= 0))
        freed = (yard.free[here] // pool.top + 1) * pool.top - yard.free[here]
        able = freed <= yard.most
        here, freed = here[able], freed[able]
        below = relaxed.price[first : first + levels - 1] @ blocks(yard.free[here], pool.top)[:-1]
        cost = best[here, freed] + below + paid_nodes[here]
        order = np.lexsort((here, cost, domain[here]))
        counts = np.arange(int(max(programme.free_nodes.values(), default=0)) + MOST_CLEARED + 1)
        worth = prices @ blocks(counts, 1 << above)
        for d in np.unique(domain[here]).tolist():
            mine = order[domain[here][order] == d][:MOST_CLEARED]
            mine = mine[np.isfinite(cost[mine])]
            if not len(mine):
                continue
            n_free = programme.free_nodes.get((y, d), 0)
            gains = worth[n_free + 1 : n_free + len(mine) + 1] - worth[n_free] - np.cumsum(cost[mine])
            j = int(np.argmax(gains)) + 1
            paid = paid_domains.get((y, d), 0.0)
            if gains[j - 1] - paid > LEAST_GAIN:
                parts = tuple(
                    yard.pattern(int(here[k]), int(freed[k]), int(mask[here[k], freed[k]])) for k in mine[:j].tolist()
                )
                yield _clearing(programme, (y, d), parts, n_free), float(gains[j - 1] - paid)


def _clearing(programme: Programme, domain: tuple[int, int], parts: tuple[Pattern, ...], n_free: int) -> Clearing:
    y = domain[0]
    rows = programme.blocks
    whole = rows.first[y] + rows.levels[y] - 1
    change = blocks(np.array([n_free, n_free + len(parts)]), 1 << rows.above[y])
    delta = {whole + k: float(change[k, 1] - change[k, 0]) for k in range(len(change)) if change[k, 1] != change[k, 0]}
    for part in parts:
        for row, amount in part.delta:
            if row != whole:
                delta[row] = delta.get(row, 0.0) + amount
    return Clearing(domain, parts, tuple(sorted(delta.items())))
