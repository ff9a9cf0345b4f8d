"""The state that a plan leads to: who runs where once all of it is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from placement.model import NodeId, Plan, Problem, Running
from placement.planners.state import State, Victim
from placement.planners.tree import Tree


def state_under(problem: Problem, plan: Plan, tree: Tree | None = None) -> State:
    """Return the state with the plan's victims gone, its resizes and moves made and its grants given."""
    state = State(problem, tree or Tree(problem))
    for preemption in plan.preemptions:
        if preemption.demand in state.alive:
            state.displace([Victim(state.alive[preemption.demand])])
    for resize in plan.resizes:
        running = state.alive.get(resize.demand)
        if running is not None and resize.to < len(running.nodes):
            state.displace([Victim(running, resize.to)])
        elif running is not None and resize.to > len(running.nodes):
            state.extend(resize.demand, resize.nodes[len(running.nodes) :])
    for move in plan.moves:
        if move.demand in state.alive:
            relocate(state, state.alive[move.demand], move.nodes)
    demands = {demand.id: demand for demand in problem.pending}
    for grant in plan.grants:
        if grant.demand in demands:
            state.grant(demands[grant.demand].form(grant.form), grant.nodes)
    return state


def relocate(state: State, running: Running, nodes: Sequence[NodeId]) -> None:
    """Put running work on other nodes."""
    state.hold(running.demand, running.nodes, -1)
    state.hold(running.demand, nodes)
    state.alive[running.demand.id] = replace(running, nodes=tuple(nodes))
