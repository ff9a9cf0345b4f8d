"""How well a plan places work: measures of speed, wishes, neighbours, scarce nodes and what is left; one per term.

Used by the score; knows no planner. Every measure is larger where the plan is better; what only harms is negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from placement import localities
from placement.fragmentation import GPU, Mix, devices_left, expected_mix
from placement.model import MILLI, Demand, Grant, Node, NodeId, Plan, Problem, Resources
from placement.throughput import throughput


class Placed:
    """A plan's new work with its nodes, each demand in the form that it was granted in."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.nodes: dict[NodeId, Node] = {node.id: node for node in problem.nodes}
        asked = {demand.id: demand for demand in problem.pending}
        self.grants: list[tuple[Grant, Demand, Demand]] = [
            (grant, asked[grant.demand], asked[grant.demand].form(grant.form)) for grant in plan.grants
        ]

    def whole_gangs(self) -> float:
        """Return the bundles that start, as bundles of the first form: half of another form is half of the first."""
        return sum(
            len(grant.nodes) if grant.form == 0 else len(grant.nodes) / len(form.bundles) * len(asked.bundles)
            for grant, asked, form in self.grants
        )

    def performance(self) -> float:
        """Return the throughput of new work, in bundles of its first form at speed 1."""
        return sum(self._throughput(*entry) for entry in self.grants)

    def _throughput(self, grant: Grant, asked: Demand, form: Demand) -> float:
        if grant.form == 0 and not asked.scaling and not asked.speed:
            return float(len(grant.nodes))
        factor = asked.alternatives[grant.form - 1].throughput if grant.form else 1.0
        return factor * len(asked.bundles) * throughput(form, [self.nodes[name] for name in grant.nodes])

    def locality(self) -> float:
        """Return how many preferred topologies hold, and for each gang with inputs the part of it that is near them."""
        kept = 0.0
        for grant, _, form in self.grants:
            for topology in form.topologies:
                if not topology.required:
                    kept += localities.broken(self.nodes, form, topology, grant.nodes) is None
            if form.near:
                near = set(form.near)
                kept += sum(name in near for name in grant.nodes) / max(1, len(grant.nodes))
        return kept

    def heterogeneity(self) -> float:
        """Return minus the GPUs that stand on nodes beside new work without any, by the part of its node it takes."""
        known: dict[tuple[int, int], float] = {}
        lost = 0.0
        for grant, _, form in self.grants:
            if form.bundles[0].resources.get(GPU) and form.bundles[-1].resources.get(GPU):
                continue
            for bundle, name in zip(form.bundles, grant.nodes, strict=False):
                has = self.nodes[name].resources
                key = (id(bundle), id(has))
                if key not in known:
                    known[key] = _gpus_beside(bundle.resources, has)
                lost += known[key]
        return -lost

    def nodes_used(self) -> int:
        return len({name for grant, _, _ in self.grants for name in grant.nodes})

    # -- what needs to know all that stands on a node --------------------------------------------------------------

    def interference(self) -> float:
        """Return minus the throughput lost to neighbours, in bundles: a gang is as slow as where it is slowest."""
        factors = {(one, other): factor for one, other, factor in self.problem.policy.interference}
        if not factors:
            return 0.0
        present = list(self._present())
        profiles: dict[NodeId, list[tuple[str, int]]] = {}
        for i, (demand, at) in enumerate(present):
            for name in dict.fromkeys(at) if demand.profile else ():
                profiles.setdefault(name, []).append((demand.profile, i))
        lost = 0.0
        for i, (demand, at) in enumerate(present):
            if demand.profile:
                others = {other for name in at for other, j in profiles[name] if j != i}
                lost += len(at) * (
                    1.0 - min((factors.get((demand.profile, other), 1.0) for other in others), default=1.0)
                )
        return -lost

    def _present(self) -> Iterator[tuple[Demand, Sequence[NodeId]]]:
        now = _now(self.plan)
        for running in self.problem.running:
            yield running.demand, now.get(running.demand.id, running.nodes)
        for grant, _, form in self.grants:
            yield form, grant.nodes

    def fragmentation(self) -> float:
        """Return minus the GPUs that expected work could use before the plan and cannot use after it."""
        if not any(node.resources.get(GPU) for node in {id(n.resources): n for n in self.nodes.values()}.values()):
            return 0.0
        before, after = self._standing()
        if not before:
            return 0.0
        left = _Left(expected_mix(self.problem))
        return -sum(
            max(0.0, left.unusable(self.nodes[name], after[name]) - left.unusable(self.nodes[name], before[name]))
            for name in self.nodes
            if name in before and before[name] != after[name]
        )

    def _standing(self) -> tuple[dict[NodeId, list[Resources]], dict[NodeId, list[Resources]]]:
        """Return what stood and what will stand on each node that the plan touches."""
        now = _now(self.plan)
        touched = {name for grant, _, _ in self.grants for name in grant.nodes}
        for running in self.problem.running:
            if running.demand.id in now:
                touched.update(running.nodes, now[running.demand.id])
        before: dict[NodeId, list[Resources]] = {name: [] for name in touched if name in self.nodes}
        after: dict[NodeId, list[Resources]] = {name: [] for name in before}
        if before:
            for name, amounts in self.problem.foreign.items():
                _stand((before, after), [amounts], [name])
            for running in self.problem.running:
                if running.demand.id not in now and touched.isdisjoint(running.nodes):
                    continue
                vectors = [bundle.resources for bundle in running.demand.bundles]
                if running.demand.id in now:
                    _stand((before,), vectors, running.nodes)
                    _stand((after,), vectors, now[running.demand.id])
                else:
                    _stand((before, after), vectors, running.nodes)
            for grant, _, form in self.grants:
                _stand((after,), [bundle.resources for bundle in form.bundles], grant.nodes)
        return before, after


def _now(plan: Plan) -> Mapping[str, tuple[NodeId, ...]]:
    """Return the nodes that changed running work has under the plan."""
    now: dict[str, tuple[NodeId, ...]] = {stop.demand: () for stop in plan.preemptions}
    now |= {resize.demand: resize.nodes for resize in plan.resizes}
    return now | {move.demand: move.nodes for move in plan.moves}


def _stand(on: Iterable[dict[NodeId, list[Resources]]], vectors: Sequence[Resources], nodes: Sequence[NodeId]) -> None:
    for where in on:
        for vector, name in zip(vectors, nodes, strict=False):
            if name in where:
                where[name].append(vector)


def _gpus_beside(amounts: Resources, has: Resources) -> float:
    """Return the GPUs of a node times the largest part of it that a bundle without GPUs takes."""
    if amounts.get(GPU) or not has.get(GPU):
        return 0.0
    part = max((amount / has.get(name) for name, amount in amounts.items() if has.get(name)), default=0.0)
    return part * has.get(GPU) / MILLI


class _Left:
    """The measure of what is left on nodes; nodes with the like on them are worked out once."""

    def __init__(self, mix: Mix) -> None:
        self.mix = mix
        self._known: dict[tuple[int, tuple[int, ...]], tuple[dict[str, int], tuple[int, ...]]] = {}

    def unusable(self, node: Node, parts: Sequence[Resources]) -> float:
        key = (id(node.resources), tuple(sorted(map(id, parts))))
        if key not in self._known:
            free = dict(node.resources.items())
            for part in parts:
                for name, amount in part.items():
                    free[name] = free.get(name, 0) - amount
            devices = devices_left(node.resources.get(GPU), (part.get(GPU) for part in parts))
            self._known[key] = free, devices
        return self.mix.unusable(node, *self._known[key])


def most_performance(demand: Demand) -> float:
    """Return the most throughput that a demand can have, in bundles of its first form at speed 1."""
    speed = max([1.0, *(factor for _, factor in demand.speed)])
    scaled = max([1.0, *(factor for _, factor in demand.scaling)])
    form = max([1.0, *(shape.throughput for shape in demand.alternatives)])
    return len(demand.bundles) * speed * scaled * form
