"""Reclaiming: how fast it is proven that nothing helps, how fast a huge gang finds its victims, and how few they are.

``python -m benchmarks.reclaim`` prints all three. Times are CPU seconds of this process.

The first two settings are those of NVIDIA KAI's published scale tests (500 nodes of 8 GPUs). The third compares with
Kueue's classical rule (``pkg/scheduler/preemption``): candidates of other queues first, the least important, the newest
first; remove until it fits; then put back in reverse order whom it fits with. The laws (``strict``) let the fewest
workloads go; by value (``weighted``) a victim costs its size, so that the exact planner lets the fewest GPUs go. The
whole ladder also weighs what a tenant loses of its guarantee: it may let more go, or nobody, where that is worth more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from placement.explain import explain_plan
from placement.model import (
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    Objective,
    Plan,
    Policy,
    Problem,
    Resources,
    Running,
    Tenant,
    TenantId,
)
from placement.planners.base import Budget
from placement.planners.bulk.plan import plan as in_bulk
from placement.planners.cpsat import CpSat
from placement.planners.ladder import plan as by_ladder

GPU = 1000
NOW_S = 2000.0


@dataclass(frozen=True, slots=True)
class Timed:
    """One measured case."""

    case: str
    cpu_s: float
    said: str

    def __str__(self) -> str:
        return f"{self.case:<46} {self.cpu_s:8.3f} s  {self.said}"


def _gang(name: str, tenant: str, n: int, gpus: int, priority: int = 0, preemptible: bool = True) -> Demand:
    bundle = Bundle(Resources.of({"GPU": gpus * GPU}))
    return Demand(DemandId(name), TenantId(tenant), (bundle,) * n, priority, preemptible=preemptible)


def _nodes(n: int, gpus: int = 8) -> tuple[Node, ...]:
    return tuple(Node(NodeId(f"n{i}"), Resources.of({"GPU": gpus * GPU})) for i in range(n))


def _tenant(name: str, gpus: int) -> Tenant:
    return Tenant(TenantId(name), quota=Resources.of({"GPU": gpus * GPU}))


# Proof that nothing helps, and a huge gang


def nothing_helps(n_nodes: int = 500, may_go: int = 79) -> Problem:
    """Return a full cluster of one-GPU work whose tenant is ``may_go`` GPUs above its quota, a gang of ten."""
    total = 8 * n_nodes
    running = tuple(
        Running(_gang(f"r{i}", "guest", 1, 1), (NodeId(f"n{i // 8}"),), started_s=float(i)) for i in range(total)
    )
    tenants = (_tenant("guest", total - may_go), _tenant("owner", may_go + 1))
    return Problem(_nodes(n_nodes), tenants, running, (_gang("gang", "owner", 10, 8),), now_s=1e6)


def huge_gang(n_nodes: int = 500, seed: int = 0) -> tuple[Problem, int]:
    """Return a full cluster of mixed victims and a gang of half its nodes, with the fewest victims there can be."""
    rng = np.random.default_rng(seed)
    running: list[Running] = []
    on_node: list[int] = []
    for node in range(n_nodes):
        left, n_here = 8, 0
        while left:
            gpus = int(min(left, rng.choice([1, 2, 4, 8])))
            name = f"r{len(running)}"
            victim = _gang(name, "guest", 1, gpus)
            running.append(Running(victim, (NodeId(f"n{node}"),), started_s=float(len(running))))
            left, n_here = left - gpus, n_here + 1
        on_node.append(n_here)
    tenants = (_tenant("guest", 0), _tenant("owner", 8 * n_nodes))
    pending = (_gang("gang", "owner", n_nodes // 2, 8),)
    fewest = sum(sorted(on_node)[: n_nodes // 2])
    return Problem(_nodes(n_nodes), tenants, tuple(running), pending, now_s=1e6), fewest


def speed(ladder: Callable[[Problem], Plan] = by_ladder) -> list[Timed]:
    """Measure both, with the bulk planner alone and with the whole ladder."""
    out: list[Timed] = []
    problem = nothing_helps()
    for name, planner in (("bulk", in_bulk), ("ladder and reason", ladder)):
        began_s = time.process_time()
        answer = planner(problem)
        said = "admitted, which is wrong" if answer.grants else "infeasible"
        if planner is ladder and not answer.grants:
            why = explain_plan(problem, answer).waiting[DemandId("gang")]
            said += f": {why.reason.value}: {why.detail}"
        out.append(Timed(f"79 of 80 GPUs may go, {name}", time.process_time() - began_s, said))
    problem, fewest = huge_gang()
    for name, planner in (("bulk", in_bulk), ("ladder", ladder)):
        began_s = time.process_time()
        answer = planner(problem)
        said = f"{len(answer.preemptions)} victims, the fewest are {fewest}"
        out.append(Timed(f"250 nodes of 500 for one gang, {name}", time.process_time() - began_s, said))
    return out


# Least harm


def small_tree(rng: np.random.Generator) -> Problem:
    """Return one pool of GPUs, full of work of three tenants, and a newcomer within its own quota.

    All work is equally important and has just been saved, so that a victim costs its size.
    """
    quotas = [int(q) for q in rng.integers(6, 17, size=3)]
    total = sum(quotas)
    running: list[Running] = []
    left, most = total, quotas[0]
    while left and len(running) < 12:
        gpus = int(min(left, rng.choice([1, 2, 4, 8])))
        own = rng.random() < 0.15 and gpus < most
        tenant = "t0" if own else f"t{int(rng.choice([1, 2]))}"
        started_s = float(rng.integers(0, 1000))
        work = _gang(f"r{len(running)}", tenant, 1, gpus)
        running.append(Running(work, (NodeId("n0"),), started_s, checkpointed_s=NOW_S))
        left, most = left - gpus, most - gpus * own
    tenants = tuple(_tenant(f"t{i}", quota) for i, quota in enumerate(quotas))
    pending = (_gang("new", "t0", int(rng.integers(1, most + 1)), 1),)
    return Problem(_nodes(1, total), tenants, tuple(running), pending, NOW_S)


def _lawful_sets(problem: Problem) -> list[tuple[Running, ...]]:
    others = [r for r in problem.running if r.demand.tenant != problem.pending[0].tenant]
    return [
        chosen
        for n in range(len(others) + 1)
        for chosen in combinations(others, n)
        if _fits(problem, chosen) and _in_turn(problem, chosen)
    ]


def _gpus(running: Running) -> int:
    return running.resources.get("GPU") // GPU


def _fits(problem: Problem, gone: Sequence[Running]) -> bool:
    total = problem.nodes[0].resources.get("GPU") // GPU
    used = sum(map(_gpus, problem.running)) - sum(map(_gpus, gone))
    return used + len(problem.pending[0].bundles) <= total


def _in_turn(problem: Problem, gone: Sequence[Running]) -> bool:
    """Return whether each victim's tenant is above its quota when it goes, the smallest going first."""
    for tenant in problem.tenants:
        assert tenant.quota is not None, "every tenant of this benchmark has one"
        above = sum(_gpus(r) for r in problem.running if r.demand.tenant == tenant.id)
        above -= tenant.quota.get("GPU") // GPU
        for gpus in sorted(_gpus(r) for r in gone if r.demand.tenant == tenant.id):
            if above <= 0:
                return False
            above -= gpus
    return True


def kueue(problem: Problem) -> list[Running]:
    """Return the victims of Kueue's classical rule; empty where it finds none."""
    newcomer = problem.pending[0].tenant
    candidates = [r for r in problem.running if r.demand.tenant != newcomer]
    candidates.sort(key=lambda r: (r.demand.priority, -r.started_s, r.demand.id))
    chosen: list[Running] = []
    for candidate in candidates:
        if _fits(problem, chosen):
            break
        if _above(problem, chosen, candidate.demand.tenant):
            chosen.append(candidate)
    if not _fits(problem, chosen):
        return []
    for candidate in list(reversed(chosen[:-1])):
        rest = [other for other in chosen if other is not candidate]
        if _fits(problem, rest):
            chosen = rest
    return chosen


def _above(problem: Problem, gone: Sequence[Running], tenant: TenantId) -> bool:
    quota = next(t.quota for t in problem.tenants if t.id == tenant)
    used = sum(_gpus(r) for r in problem.running if r.demand.tenant == tenant and r not in gone)
    return quota is not None and used > quota.get("GPU") // GPU


@dataclass(slots=True)
class Harm:
    """GPUs and workloads that go, over all instances in which somebody has to and the newcomer is admitted."""

    n: int = 0
    fewest_gpus: int = 0
    gpus: int = 0
    kueue_gpus: int = 0
    fewest_victims: int = 0
    victims: int = 0
    kueue_victims: int = 0
    more_gpus: int = 0
    """Instances in which more GPUs go than have to."""
    more_victims: int = 0
    """Instances in which more workloads go than have to."""
    not_worth: int = 0
    """Instances in which nobody goes and the newcomer waits."""

    def __str__(self) -> str:
        def over(n: int, fewest: int) -> str:
            return f"{n} ({100 * (n / max(1, fewest) - 1):+.1f} %)"

        return (
            f"{self.n} instances; GPUs: fewest {self.fewest_gpus}, ours {over(self.gpus, self.fewest_gpus)}, "
            f"Kueue's rule {over(self.kueue_gpus, self.fewest_gpus)}; workloads: fewest {self.fewest_victims}, "
            f"ours {over(self.victims, self.fewest_victims)}, "
            f"Kueue's rule {over(self.kueue_victims, self.fewest_victims)}; more GPUs than need be in "
            f"{self.more_gpus}, more workloads in {self.more_victims}; {self.not_worth} more in which ours waits"
        )


def least_harm(
    n: int = 1500,
    seed: int = 0,
    planner: Callable[[Problem], Plan] = by_ladder,
    objective: Objective = Objective.WEIGHTED,
) -> Harm:
    """Compare a planner's victims with the fewest there can be and with Kueue's, on random small trees."""
    rng, out = np.random.default_rng(seed), Harm()
    for _ in range(n):
        problem = small_tree(rng)
        sets = _lawful_sets(problem)
        fewest = min((sum(map(_gpus, found)) for found in sets), default=0)
        if not fewest:
            continue
        answer = planner(replace(problem, policy=Policy(objective=objective)))
        if not answer.grants:
            out.not_worth += 1
            continue
        size = {r.demand.id: _gpus(r) for r in problem.running}
        gpus, fewest_victims = sum(size[p.demand] for p in answer.preemptions), min(map(len, sets))
        rival = kueue(problem)
        out.n += 1
        out.fewest_gpus += fewest
        out.fewest_victims += fewest_victims
        out.gpus += gpus
        out.victims += len(answer.preemptions)
        out.kueue_gpus += sum(map(_gpus, rival)) if rival else fewest
        out.kueue_victims += len(rival) if rival else fewest_victims
        out.more_gpus += gpus > fewest
        out.more_victims += len(answer.preemptions) > fewest_victims
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for line in speed():
        print(line)
    exact = CpSat()
    asked: tuple[tuple[str, Callable[[Problem], Plan], Objective], ...] = (
        ("weighted, exact alone", lambda problem: exact(problem, Budget()), Objective.WEIGHTED),
        ("weighted", by_ladder, Objective.WEIGHTED),
        ("strict", by_ladder, Objective.STRICT),
    )
    for name, planner, objective in asked:
        print(f"{name}: {least_harm(options.instances, options.seed, planner, objective)}")


if __name__ == "__main__":
    main()
