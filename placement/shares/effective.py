"""Max-min fairness over unlike accelerators: by the throughput that tenants get, not by the number of devices.

A tenant's work takes fractions of its demand on each accelerator type. What it gets there counts as much as its speed
on that type, divided by its mean speed over the cluster; so one that is much faster on a type is given that type
first, and all end up better than with equal parts of each.

References
----------
Narayanan et al., Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads (Gavel), OSDI 2020,
section 4.1 (max-min fairness over effective throughput).
"""

from __future__ import annotations

from collections.abc import Mapping

from placement.model import ACCELERATOR_KEY, NodeState, Problem, TenantId
from placement.model.demand import counted
from placement.shares.maxmin import FairLp
from placement.shares.tree import TenantTree, dominant

GPU = "GPU"


class EffectiveThroughput:
    """Guarantees first, the rest by weight, in effective throughput."""

    name = "max-min"

    def __call__(self, problem: Problem) -> Mapping[TenantId, float]:
        tree = TenantTree(problem)
        types = accelerator_types(problem, tree)
        lp = TypedLp(tree, {t.id: t.weight for t in problem.tenants}, types, relative_speeds(problem, types))
        asked = {tenant: sum(dominant(tree.own[m]) for m in tree.below(tenant)) for tenant in tree.by_id}
        return {tenant: min(got, asked[tenant], 1.0) for tenant, got in lp.solve().items()}


class TypedLp(FairLp):
    """The programme with a fraction of each tenant's demand on each accelerator type.

    Parameters
    ----------
    types : mapping of accelerator type to its part of the cluster's GPUs
    speeds : mapping of TenantId to (type, speed relative to the mean over the cluster)
    """

    def __init__(
        self,
        tree: TenantTree,
        weights: Mapping[TenantId, float],
        types: Mapping[str, float],
        speeds: Mapping[TenantId, Mapping[str, float]],
    ) -> None:
        self.types, self.speeds = types, speeds
        super().__init__(tree, weights)

    def best_share(self, tenant: TenantId) -> float:
        speeds = self.speeds.get(tenant)
        return super().best_share(tenant) * (max(speeds.values()) if speeds else 1.0)

    def define_own_shares(self) -> None:
        """Divide what uses GPUs over the types: the parts add up, and each counts by its speed."""
        lp, rows = self.lp, {}
        for name, part in self.types.items():
            rows[name] = lp.Constraint(-lp.infinity(), part)
        for tenant, alone in self.alone.items():
            speeds = self.speeds.get(tenant)
            if not speeds:
                self.define_own_share(tenant)
                continue
            whole, share = lp.Constraint(0.0, 0.0), lp.Constraint(0.0, 0.0)
            whole.SetCoefficient(self.fraction[tenant], -1.0)
            share.SetCoefficient(alone, -1.0)
            for name, speed in speeds.items():
                part = lp.NumVar(0.0, 1.0, f"fraction of {tenant} on {name}")
                whole.SetCoefficient(part, 1.0)
                share.SetCoefficient(part, dominant(self.tree.own[tenant]) * speed)
                rows[name].SetCoefficient(part, self.tree.own[tenant].get(GPU, 0.0))


def accelerator_types(problem: Problem, tree: TenantTree) -> dict[str, float]:
    """Return each accelerator type's part of the cluster's GPUs; GPUs without a label are a type of their own."""
    parts: dict[str, float] = {}
    for node in problem.nodes:
        gpus = node.resources.get(GPU)
        if gpus and node.state is not NodeState.DOWN:
            name = node.label(ACCELERATOR_KEY) or ""
            parts[name] = parts.get(name, 0.0) + gpus / tree.capacity.get(GPU, float(gpus))
    return parts


def relative_speeds(problem: Problem, types: Mapping[str, float]) -> dict[TenantId, dict[str, float]]:
    """Return the speed of each tenant's own GPU work by type, relative to its mean over the cluster.

    Work is weighed by its GPUs; on types that its selectors refuse it has no speed.
    """
    sample = {node.label(ACCELERATOR_KEY) or "": node for node in reversed(problem.nodes) if node.resources.get(GPU)}
    sums: dict[TenantId, dict[str, float]] = {}
    accepted: dict[tuple[int, str], bool] = {}
    for demand in (*problem.pending, *(running.demand for running in problem.running)):
        factors = dict(demand.speed)
        for bundle, n in counted(demand.bundles):
            gpus = bundle.resources.get(GPU) * n
            into = sums.setdefault(demand.tenant, dict.fromkeys(types, 0.0)) if gpus else {}
            for name in into:
                key = (id(bundle.selector), name)
                if key not in accepted:
                    accepted[key] = bundle.selector.accepts(sample[name])
                into[name] += gpus * factors.get(name, 1.0) * accepted[key]
    out: dict[TenantId, dict[str, float]] = {}
    whole = sum(types.values())
    for tenant, by_type in sums.items():
        mean = sum(types[name] * speed for name, speed in by_type.items()) / whole
        if mean > 0:
            out[tenant] = {name: speed / mean for name, speed in by_type.items()}
    return out
