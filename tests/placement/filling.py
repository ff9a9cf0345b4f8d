"""Progressive filling: the same entitlements by another way, as a check on the programmes.

Exact where every tenant and every subtree asks for resources in one proportion, and nobody withholds idle quota.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from placement.model import ROOT, Problem, TenantId
from placement.shares.tree import Amounts, TenantTree, dominant


@dataclass(slots=True)
class _Asker:
    tenant: TenantId
    asks: Amounts
    floor: float
    most: float
    weight: float
    got: float = 0.0


def filled(problem: Problem) -> Mapping[TenantId, float]:
    shares: dict[TenantId, float] = {}
    tree = TenantTree(problem)
    _divide(tree, ROOT, dict.fromkeys(tree.capacity, 1.0), shares)
    return shares


def _divide(tree: TenantTree, parent: TenantId, room: Amounts, shares: dict[TenantId, float]) -> None:
    children = tree.children.get(parent, [])
    askers = [_asker(tree, child) for child in children]
    if parent != ROOT and children and tree.own[parent]:
        askers.append(_Asker(ROOT, tree.own[parent], 0.0, 1.0, tree.by_id[parent].weight))
    left = dict(room)
    _raise([(a, a.floor, a.floor) for a in askers if a.floor > 0], left)
    _raise([(a, a.weight / dominant(a.asks), a.most) for a in askers if dominant(a.asks) > 0], left)
    for asker in askers:
        if asker.tenant != ROOT:
            shares[asker.tenant] = asker.got * dominant(asker.asks)
            if tree.children.get(asker.tenant):
                below = {name: amount * asker.got for name, amount in asker.asks.items()}
                _divide(tree, asker.tenant, below, shares)


def _asker(tree: TenantTree, tenant: TenantId) -> _Asker:
    asks = tree.asks(tenant)
    bounds = [most / asks[name] for name, most in tree.limits[tenant].items() if asks.get(name)]
    bounds += [0.0] if tenant in tree.absent else []
    most = min([1.0, *bounds])
    return _Asker(tenant, asks, min(most, tree.guaranteed(tenant)), most, tree.by_id[tenant].weight)


def _raise(rising: Sequence[tuple[_Asker, float, float]], left: Amounts) -> None:
    active = [entry for entry in rising if entry[0].got < entry[2] - 1e-12]
    while active:
        rate: Amounts = {}
        for asker, speed, _ in active:
            for name, amount in asker.asks.items():
                rate[name] = rate.get(name, 0.0) + speed * amount
        step = min((most - asker.got) / speed for asker, speed, most in active)
        step = min([step, *(max(0.0, left.get(name, 0.0)) / r for name, r in rate.items() if r > 0)])
        for asker, speed, _ in active:
            asker.got += speed * step
        for name, r in rate.items():
            left[name] = left.get(name, 0.0) - r * step
        dry = {name for name in rate if left.get(name, 0.0) <= 1e-9 * max(1.0, rate[name])}
        active = [e for e in active if e[0].got < e[2] - 1e-12 and not dry & {n for n, a in e[0].asks.items() if a > 0}]
