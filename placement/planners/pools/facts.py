"""What a demand looks like to the compact programme: forms, kinds of bundles, sizes on offer; kept between turns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from placement.model import NODE_KEY, RAY_NODE_KEY, Bundle, Demand, DemandId, Running, Topology
from placement.throughput import scaled

MOST_SIZES = 5
"""How many numbers of bundles of an elastic gang are columns; decoding lets it grow by single bundles from there."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a demand: distinct bundles with their counts at each number of bundles on offer.

    Attributes
    ----------
    kinds : tuple of Bundle
        Distinct bundles, in the order of first appearance.
    which : tuple of int
        The kind of each bundle, in rank order; empty where there is one kind.
    sizes : tuple of (number of bundles, counts by kind, rate at speed 1)
    """

    number: int
    demand: Demand
    kinds: tuple[Bundle, ...]
    which: tuple[int, ...]
    sizes: tuple[tuple[int, tuple[int, ...], float], ...]

    def kind_of(self, idx: int) -> int:
        return self.which[idx] if self.which else 0


@dataclass(frozen=True, slots=True)
class Facts:
    """A demand's forms, where its bundles must be together or apart, and whether columns can say all of it.

    ``named``: it asks for nodes by their names. ``running``: it runs already, and its sizes are what it would grow to.
    """

    demand: Demand
    forms: tuple[Form, ...]
    pack: str | None
    spread: str | None
    wish: Topology | None
    simple: bool
    named: bool
    running: Running | None = None


def facts_of(demand: Demand) -> Facts:
    """Return what columns need to know of a demand."""
    forms = [_form(demand, 0, 1.0)]
    for number, shape in enumerate(demand.alternatives, 1):
        forms.append(_form(demand.form(number), number, shape.throughput))
    required = [t for t in demand.topologies if t.required]
    wishes = [t for t in demand.topologies if not t.required]
    packs = [t.key for t in required if t.kind == "pack"]
    spreads = [t.key for t in required if t.kind == "spread"]
    plain = len(required) <= 1 and not any(t.slice or t.skew is not None for t in required)
    by_name = any(
        requirement.key in (NODE_KEY, RAY_NODE_KEY)
        for form in forms
        for bundle in form.kinds
        for requirement in bundle.selector.requirements
    )
    wish = next((t for t in wishes if t.kind == "pack" and not t.slice), None)
    return Facts(
        demand,
        tuple(forms),
        packs[0] if packs else None,
        spreads[0] if spreads else None,
        None if required else wish,
        plain and not by_name,
        by_name,
    )


def growth_of(running: Running) -> Facts | None:
    """Return running elastic work as what it could have besides; None where it has all, or columns cannot say it."""
    demand, n, most = running.demand, len(running.nodes), len(running.demand.bundles)
    if n >= most or demand.bundles.count(demand.bundles[0]) != most or any(t.required for t in demand.topologies):
        return None
    now = scaled(demand, n)
    offers = sorted({n + 1, most, *(most >> k for k in range(1, 4) if most >> k > n)})
    sizes = tuple((k - n, (k - n,), scaled(demand, k) - now) for k in offers if scaled(demand, k) > now)
    facts = facts_of(demand)
    if not facts.simple or not sizes:
        return None
    return replace(facts, forms=(replace(facts.forms[0], sizes=sizes),), wish=None, running=running)


def _form(demand: Demand, number: int, throughput: float) -> Form:
    first = demand.bundles[0]
    if demand.bundles.count(first) == len(demand.bundles):
        kinds: tuple[Bundle, ...] = (first,)
        which: tuple[int, ...] = ()
    else:
        places: dict[Bundle, int] = {}
        which = tuple(places.setdefault(bundle, len(places)) for bundle in demand.bundles)
        kinds = tuple(places)
    sizes = []
    for n in _sizes(demand):
        counts = (n,) if not which else tuple(which[:n].count(kind) for kind in range(len(kinds)))
        sizes.append((n, counts, throughput * scaled(demand, n)))
    return Form(number, demand, kinds, which, tuple(sizes))


def _sizes(demand: Demand) -> tuple[int, ...]:
    """Return the numbers of bundles on offer: the least, the most, and between them in about equal ratios."""
    low, high = demand.min_bundles, len(demand.bundles)
    if low == high:
        return (high,)
    if high - low < MOST_SIZES:
        return tuple(range(low, high + 1))
    out = {low, high}
    n = high
    while n // 2 > low and len(out) < MOST_SIZES:
        n //= 2
        out.add(n)
    sizes = sorted(out)
    assert all(a < b for a, b in pairwise(sizes)), "sizes are distinct"
    return tuple(sizes)


class Memory:
    """Facts of demands seen before: an incremental question works out only what is new."""

    def __init__(self) -> None:
        self._known: dict[DemandId, Facts] = {}

    def recall(self, demands: tuple[Demand, ...]) -> list[Facts]:
        """Return each demand's facts, and forget those that are not asked for any more."""
        out: list[Facts] = []
        for demand in demands:
            known = self._known.get(demand.id)
            if known is None or (known.demand is not demand and known.demand != demand):
                known = facts_of(demand)
            out.append(known)
        self._known = {facts.demand.id: facts for facts in out}
        return out
