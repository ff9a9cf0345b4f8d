"""Where to look for room by moving: all of a small cluster, or the nodes that are cheapest to clear and to fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from placement.model import Bundle, Demand, NodeId, Running
from placement.planners.fitting import slack
from placement.planners.movable import cost_s
from placement.planners.state import Room, State

MOST_NODES = 96
MOST_PAIRS = 16_000
"""Movable workloads times nodes: what one programme can hold."""
MOST_DOMAINS = 3


@dataclass(frozen=True, slots=True)
class _Cleared:
    """A node on which ``gain`` bundles fit once these have left, at this cost for each."""

    node: NodeId
    gain: int
    leavers: tuple[Running, ...]
    price: float


@dataclass(frozen=True, slots=True)
class Region:
    """Who may move, the best to move first, and the nodes of the programme; ``whole`` where that is all there is.

    ``complete`` where it has every node on which one of those who may move could stand.
    """

    victims: tuple[Running, ...]
    rooms: Mapping[NodeId, Room]
    whole: bool = False
    complete: bool = True


def region(state: State, candidates: Sequence[Running], demand: Demand, n: int) -> Region:
    """Return where to look for room: in a large cluster, work that has somewhere to go, on nodes cheap to clear."""
    now_s = state.problem.now_s
    ranked = sorted(candidates, key=lambda run: (cost_s(run, now_s), run.demand.priority, run.demand.id))
    if len(state.rooms) <= MOST_NODES and len(ranked) * len(state.rooms) <= MOST_PAIRS:
        return Region(tuple(ranked), state.rooms, whole=True)
    targets = _targets(state, _by_node(_with_somewhere_to_go(state, ranked)), demand, n)
    victims = list({run.demand.id: run for target in targets for run in target.leavers}.values())
    n_nodes = max(MOST_NODES, 2 * n)
    victims = victims[: max(8, MOST_PAIRS // n_nodes)]
    receivers = _receivers(state, victims)
    names = dict.fromkeys([target.node for target in targets] + [node for run in victims for node in run.nodes])
    names |= dict.fromkeys(receivers[:n_nodes])
    rooms = {name: state.rooms[name] for name in names if name in state.rooms}
    return Region(tuple(victims), rooms, complete=len(receivers) <= n_nodes)


def _with_somewhere_to_go(state: State, ranked: Sequence[Running]) -> list[Running]:
    """Return the work of which every bundle fits on what some node has idle now."""
    able: dict[Bundle, bool] = {}

    def fits(bundle: Bundle) -> bool:
        if bundle not in able:
            rooms = state.rooms.values()
            able[bundle] = any(r.open and r.fits(bundle.resources) and bundle.selector.accepts(r.node) for r in rooms)
        return able[bundle]

    return [run for run in ranked if all(map(fits, dict.fromkeys(run.demand.bundles[: len(run.nodes)])))]


def _by_node(ranked: Sequence[Running]) -> dict[NodeId, list[Running]]:
    out: dict[NodeId, list[Running]] = {}
    for run in ranked:
        for node in dict.fromkeys(run.nodes):
            out.setdefault(node, []).append(run)
    return out


def _targets(state: State, there: Mapping[NodeId, Sequence[Running]], demand: Demand, n: int) -> list[_Cleared]:
    """Return the nodes that are cheapest to clear for the gang, more than it needs; within few domains if packed."""
    cleared = [
        found
        for name, room in state.rooms.items()
        if room.open and (found := _cleared(state, name, room, there.get(name, ()), demand, n)) is not None
    ]
    cleared.sort(key=lambda one: one.price)
    packs = [topology for topology in demand.topologies if topology.required and topology.kind == "pack"]
    topology = next((topology for topology in packs if not topology.slice), None)
    if topology is None:
        return _enough(cleared, 2 * n + 8)
    domains: dict[str, list[_Cleared]] = {}
    for one in cleared:
        value = state.rooms[one.node].node.label(topology.key)
        if value is not None:
            domains.setdefault(value, []).append(one)
    able = [domain for domain in domains.values() if sum(one.gain for one in domain) >= n]
    able.sort(key=lambda domain: sum(one.price * one.gain for one in _enough(domain, n)))
    return [one for domain in able[:MOST_DOMAINS] for one in _enough(domain, n + 4)]


def _cleared(
    state: State, name: NodeId, room: Room, there: Sequence[Running], demand: Demand, n: int
) -> _Cleared | None:
    bundle = next((b for b in demand.bundles[:n] if b.selector.accepts(room.node)), None)
    if bundle is None:
        return None
    trial, leavers, price = room.copy(), list[Running](), 0.0
    for run in there:
        if trial.how_many(bundle.resources, 1):
            break
        for node, part in zip(run.nodes, run.demand.bundles, strict=False):
            if node == name:
                trial.take(part.resources, -1)
        leavers.append(run)
        price += cost_s(run, state.problem.now_s)
    gain = trial.how_many(bundle.resources, n)
    return _Cleared(name, gain, tuple(leavers), price / gain) if gain else None


def _enough(cleared: Sequence[_Cleared], n: int) -> list[_Cleared]:
    out: list[_Cleared] = []
    for one in cleared:
        if n <= 0:
            break
        out.append(one)
        n -= one.gain
    return out


def _receivers(state: State, victims: Sequence[Running]) -> list[NodeId]:
    """Return nodes with room for some bundle of those who move, the fullest first."""
    wanted = list(dict.fromkeys(bundle for run in victims for bundle in run.demand.bundles[: len(run.nodes)]))[:64]
    able = [
        (slack(room.free, state.tree.capacity), name)
        for name, room in state.rooms.items()
        if room.open and any(b.selector.accepts(room.node) and room.how_many(b.resources, 1) for b in wanted)
    ]
    return [name for _, name in sorted(able)]
