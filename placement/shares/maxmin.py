"""Weighted max-min fairness down a tree as a sequence of linear programmes.

Variables are fractions of what each tenant itself asks for (at most 1); a subtree's share is the sum of the dominant
shares in it. Rows: no resource is used beyond the cluster, no subtree beyond its limits, and what an owner does not
lend is not used by others. On each level of the tree, first what quotas cover is raised, then everyone's share at a
speed equal to its weight, until it has all that it asks for or a row is tight; who is stuck stays, the others rise on.
The shares of a level stand before those of the next are raised.

Who gets all that it asks for is found by bisection over the order in which they would; who is stuck, by the dual
values of the rows. There are a few programmes for each resource that runs out, each with a variable per tenant.

References
----------
Nace and Pioro, Max-Min Fairness and Its Applications to Routing and Load-Balancing in Communication Networks, IEEE
Communications Surveys 10(4), 2008, doi:10.1109/SURV.2008.080403, algorithm 2 (successive programmes that fix what is
saturated, by duals). Ghodsi et al., Dominant Resource Fairness, NSDI 2011. Bhattacharya et al., Hierarchical
Scheduling for Diverse Datacenter Workloads, SoCC 2013, doi:10.1145/2523616.2523637.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from placement.model import ROOT, TenantId
from placement.shares.tree import TenantTree, dominant

CLOSE = 1e-8
"""Shares that differ by no more are equal: what programmes are solved to."""

TIGHT = 1e-7
"""A row with a dual value above this holds the level back."""


@dataclass(slots=True)
class _Riser:
    """A subtree (or what an inner tenant asks for itself) whose share rises from ``base`` at ``speed`` to ``most``."""

    share: Any
    base: float
    speed: float
    most: float
    row: Any = None
    stuck: bool = False

    @property
    def full_at(self) -> float:
        return (self.most - self.base) / self.speed


class FairLp:
    """The programme of one tenant tree; ``solve`` returns each tenant's share."""

    def __init__(self, tree: TenantTree, weights: Mapping[TenantId, float]) -> None:
        from ortools.linear_solver import pywraplp  # rarely needed where the planner has a process of its own

        self.tree, self.weights = tree, weights
        self.optimal: int = pywraplp.Solver.OPTIMAL
        self.lp: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.level = self.lp.NumVar(0.0, self.lp.infinity(), "level")
        self.lp.Objective().SetCoefficient(self.level, 1.0)
        self.lp.Objective().SetMaximization()
        self.fraction: dict[TenantId, Any] = {}
        self.alone: dict[TenantId, Any] = {}
        self.share: dict[TenantId, Any] = {}
        for tenant in tree.by_id:
            most = 0.0 if tenant in tree.absent else 1.0
            self.fraction[tenant] = self.lp.NumVar(0.0, most, f"fraction of {tenant}")
        for tenant in tree.children.get(ROOT, ()):
            self._shares(tenant)
        self.define_own_shares()
        self.no_more_than_there_is()
        self.within_limits()

    def _shares(self, tenant: TenantId) -> None:
        """Define the shares of a subtree: what its members have, and what it has itself."""
        lp, tree = self.lp, self.tree
        self.alone[tenant] = lp.NumVar(0.0, lp.infinity(), f"share of {tenant} itself")
        self.share[tenant] = lp.NumVar(0.0, lp.infinity(), f"share of {tenant}")
        row = lp.Constraint(0.0, 0.0)
        row.SetCoefficient(self.share[tenant], -1.0)
        row.SetCoefficient(self.alone[tenant], 1.0)
        for child in tree.children.get(tenant, ()):
            self._shares(child)
            row.SetCoefficient(self.share[child], 1.0)

    def best_share(self, tenant: TenantId) -> float:
        """Return the share that a tenant would have with all that it asks for itself."""
        return 0.0 if tenant in self.tree.absent else dominant(self.tree.own[tenant])

    def _plain_share(self, tenant: TenantId) -> float:
        members = (member for member in self.tree.below(tenant) if member not in self.tree.absent)
        return sum(dominant(self.tree.own[member]) for member in members)

    def define_own_shares(self) -> None:
        for tenant in self.alone:
            self.define_own_share(tenant)

    def define_own_share(self, tenant: TenantId) -> None:
        row = self.lp.Constraint(0.0, 0.0)
        row.SetCoefficient(self.alone[tenant], -1.0)
        row.SetCoefficient(self.fraction[tenant], self.best_share(tenant))

    def no_more_than_there_is(self) -> None:
        """Add up each resource over the cluster; an idle quota counts as used where it is not lent."""
        names = {name for tenant in self.share for name in self.tree.own[tenant]}
        for name in sorted(names):
            row = self.lp.Constraint(-self.lp.infinity(), 1.0)
            if any(name in self.tree.withheld[tenant] for tenant in self.share):
                for tenant in self.tree.children.get(ROOT, ()):
                    row.SetCoefficient(self._taken(tenant, name), 1.0)
            else:
                for tenant in self.share:
                    self._add_use(row, tenant, name)

    def _add_use(self, row: Any, tenant: TenantId, name: str) -> None:
        amount = self.tree.own[tenant].get(name, 0.0)
        if amount:
            row.SetCoefficient(self.fraction[tenant], amount)

    def _taken(self, tenant: TenantId, name: str) -> Any:
        """Return what a subtree uses or withholds, whichever is more."""
        withheld = min(1.0, self.tree.withheld[tenant].get(name, 0.0))
        taken = self.lp.NumVar(withheld, self.lp.infinity(), f"{name} taken by {tenant}")
        row = self.lp.Constraint(-self.lp.infinity(), 0.0)
        row.SetCoefficient(taken, -1.0)
        self._add_use(row, tenant, name)
        for child in self.tree.children.get(tenant, ()):
            row.SetCoefficient(self._taken(child, name), 1.0)
        return taken

    def within_limits(self) -> None:
        for tenant in self.share:
            for name, most in self.tree.limits[tenant].items():
                row = self.lp.Constraint(-self.lp.infinity(), most)
                for member in self.tree.below(tenant):
                    self._add_use(row, member, name)

    # -- raising, level by level -----------------------------------------------------------------------------------

    def solve(self) -> dict[TenantId, float]:
        level = [(ROOT, 1.0)]
        out: dict[TenantId, float] = {}
        while level:
            members = [self._members(parent, room) for parent, room in level]
            found = self._raise_level([member for group in members for member in group])
            level = []
            for tenant, got in found.items():
                out[tenant] = round(got, 7)
                if self.tree.children.get(tenant):
                    level.append((tenant, got))
        return out

    def _members(self, parent: TenantId, room: float) -> list[tuple[TenantId | None, Any, float, float, float]]:
        """Return (tenant, share, weight, guaranteed share, most) of each child, and of what the parent itself asks for.

        Weights are scaled so that the members of different parents would use up theirs at about the same level.
        """
        out: list[tuple[TenantId | None, Any, float, float, float]] = []
        for child in self.tree.children.get(parent, ()):
            most = sum(self.best_share(member) for member in self.tree.below(child))
            if most > 0:
                floor = self.tree.guaranteed(child) * min(most, self._plain_share(child))
                out.append((child, self.share[child], self.weights[child], floor, most))
            else:
                out.append((child, None, self.weights[child], 0.0, 0.0))
        if parent != ROOT and self.best_share(parent) > 0:
            out.append((None, self.alone[parent], self.weights[parent], 0.0, self.best_share(parent)))
        whole = sum(weight for _, _, weight, _, most in out if most > 0) or 1.0
        scale = max(room, 1e-6) / whole
        return [(tenant, share, weight * scale, floor, most) for tenant, share, weight, floor, most in out]

    def _raise_level(
        self, members: Sequence[tuple[TenantId | None, Any, float, float, float]]
    ) -> dict[TenantId, float]:
        asking = [member for member in members if member[4] > 0]
        floors = [_Riser(share, 0.0, floor, floor) if floor > 0 else None for _, share, _, floor, _ in asking]
        self._rise([riser for riser in floors if riser is not None])
        risers = []
        for (_, share, weight, _, most), floor in zip(asking, floors, strict=True):
            risers.append(_Riser(share, 0.0 if floor is None else floor.base, weight, most, floor and floor.row))
        self._rise(risers)
        got = {tenant: 0.0 for tenant, *_ in members if tenant is not None}
        got |= {member[0]: riser.base for member, riser in zip(asking, risers, strict=True) if member[0] is not None}
        return got

    def _rise(self, risers: Sequence[_Riser]) -> None:
        """Raise shares at their speeds until everyone is full or stuck; then ``base`` is what each has got."""
        for riser in risers:
            if riser.row is None:
                riser.row = self.lp.Constraint(0.0, self.lp.infinity())
                riser.row.SetCoefficient(riser.share, 1.0)
        rising = [riser for riser in risers if riser.most - riser.base > CLOSE]
        rising.sort(key=lambda riser: riser.full_at)
        while rising:
            n_full, level = self._highest(rising)
            for i, riser in enumerate(rising):
                got = riser.most if i < n_full else min(riser.most, riser.base + riser.speed * (level or 0.0))
                tight = level is None or abs(riser.row.dual_value()) > TIGHT
                riser.stuck = i < n_full or riser.most - got <= CLOSE or tight
                riser.base = got
            if not any(riser.stuck for riser in rising):
                # Rounding hid which row is tight: all stay where they are, which is within CLOSE of the truth.
                for riser in rising:
                    riser.stuck = True
            for riser in rising:
                riser.row.SetCoefficient(self.level, 0.0)
                riser.row.SetLb(max(0.0, riser.base - CLOSE))
            rising = [riser for riser in rising if not riser.stuck]
            rising.sort(key=lambda riser: riser.full_at)

    def _highest(self, rising: Sequence[_Riser]) -> tuple[int, float | None]:
        """Return how many get all that they ask for, and the level that the others reach; leaves that solved.

        The level is None where rounding leaves no room at all.
        """
        low, high = 0, len(rising)
        # All of them first: mostly there is enough.
        while low < high:
            middle = len(rising) if high == len(rising) else (low + high + 1) // 2
            level = self._level(rising, middle)
            if level is not None and level >= rising[middle - 1].full_at - CLOSE:
                low = middle
            else:
                high = middle - 1
        return low, self._level(rising, low)

    def _level(self, rising: Sequence[_Riser], n_full: int) -> float | None:
        """Solve with the first ``n_full`` full; None where that can't be."""
        for i, riser in enumerate(rising):
            riser.row.SetCoefficient(self.level, 0.0 if i < n_full else -riser.speed)
            riser.row.SetLb((riser.most if i < n_full else riser.base) - CLOSE)
        all_full = n_full == len(rising)
        self.level.SetUb(rising[-1].full_at if all_full else self.lp.infinity())
        if self.lp.Solve() != self.optimal:
            return None
        return float(self.level.solution_value())
