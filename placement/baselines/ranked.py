"""Preemption by one order of all work: who ranks before may displace who ranks after, and only as far as it must."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from placement.baselines.turn import Turn, biggest
from placement.model import Cause, Demand, Running
from placement.planners.arrays.layout import Floor, Taken

Rank = tuple[float, ...]


def run_in_order(turn: Turn, of_pending: Callable[[Demand], Rank], of_running: Callable[[Running], Rank]) -> None:
    """Serve running and waiting work in the order of its rank, the lowest first.

    What runs keeps its nodes unless better-ranked work does not fit beside it; then the worst-ranked yield first.
    """
    reach = turn.now.copy()
    for running in turn.problem.running:
        if running.demand.preemptible:
            _give_back(reach, turn.held[running.demand.id])
    entries: list[tuple[Rank, int, Running | Demand]] = []
    movable = [running for running in turn.problem.running if running.demand.preemptible]
    entries += [(of_running(running), at, running) for at, running in enumerate(movable)]
    entries += [(of_pending(demand), len(movable) + at, demand) for at, demand in enumerate(turn.problem.pending)]
    entries.sort(key=lambda entry: entry[:2])
    worst_first = [entry[2] for entry in reversed(entries) if isinstance(entry[2], Running)]
    n_safe = 0
    failed: set[object] = set()
    for _, _, entry in entries:
        if isinstance(entry, Running):
            n_safe += 1
            if entry.demand.id not in turn.stopped:
                for taken in turn.held[entry.demand.id]:
                    reach.take(taken)
            continue
        shape = (entry.bundles, entry.min_bundles, entry.topologies)
        if shape in failed:
            continue
        done = turn.start(entry)
        if not done and biggest(reach.copy(), entry) is not None:
            below = worst_first[: len(worst_first) - n_safe]
            victims = [running for running in below if running.demand.id not in turn.stopped]
            done = make_room(turn, entry, victims, Cause.TIME_SLICE)
        if done:
            for taken in turn.started[entry.id]:
                reach.take(taken)
        else:
            failed.add(shape)


def make_room(turn: Turn, demand: Demand, victims: Sequence[Running], cause: Cause) -> bool:
    """Stop the first of ``victims`` that are enough for the demand, spare whom it does not need, and start it."""
    n, placed, trial = _enough(turn, demand, victims)
    if placed is None:
        return False
    for victim in reversed(victims[:n]):
        held = turn.held[victim.demand.id]
        if all(_is_free(trial, taken) for taken in held) and _take_all(trial, held):
            continue
        turn.stop(victim, cause, demand)
    for taken in placed:
        turn.now.take(taken)
    turn.started[demand.id] = placed
    return True


def _enough(turn: Turn, demand: Demand, victims: Sequence[Running]) -> tuple[int, tuple[Taken, ...] | None, Floor]:
    """Return how many of the victims, from the first on, are enough, and where the demand goes then."""
    few, many, trial = 0, 1, turn.now.copy()
    placed: tuple[Taken, ...] | None = None
    while True:
        many = min(many, len(victims))
        for victim in victims[few:many]:
            _give_back(trial, turn.held[victim.demand.id])
        placed = biggest(trial, demand)
        if placed is not None or many == len(victims):
            break
        few, many = many, many * 2
    if placed is None:
        return many, None, trial
    while many - few > 1:
        middle, smaller = (few + many) // 2, turn.now.copy()
        for victim in victims[:middle]:
            _give_back(smaller, turn.held[victim.demand.id])
        fewer = biggest(smaller, demand)
        if fewer is None:
            few = middle
        else:
            many, placed, trial = middle, fewer, smaller
    return many, placed, trial


def _give_back(floor: Floor, held: Sequence[Taken]) -> None:
    for taken in held:
        floor.take(taken, -1)


def _take_all(floor: Floor, held: Sequence[Taken]) -> bool:
    """Take all of it; where two of its bundles get in each other's way, none."""
    for at, taken in enumerate(held):
        if not _is_free(floor, taken):
            _give_back(floor, held[:at])
            return False
        floor.take(taken)
    return True


def _is_free(floor: Floor, taken: Taken) -> bool:
    """Return whether what running work holds is still free on a floor on which it was given back."""
    ask, node = taken.ask, taken.node
    if bool((floor.free[node] < ask.amounts).any()):
        return False
    part = 1000 if ask.whole else ask.gpu
    return all(int(floor.devices[node, device]) >= part for device in taken.devices)
