"""Many schedules of faults, one after another or on several processors, and what they came to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.sim.world import World
from tests.support.silence import silence

CHUNK = 50


@dataclass(slots=True)
class Tally:
    """What schedules came to.

    Attributes
    ----------
    wrong : dict
        What was violated, by seed.
    """

    n: int = 0
    n_crashes: int = 0
    n_events: int = 0
    n_turns: int = 0
    virtual_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: dict[int, str] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.n += other.n
        self.n_crashes += other.n_crashes
        self.n_events += other.n_events
        self.n_turns += other.n_turns
        self.virtual_s += other.virtual_s
        self.faults += other.faults
        self.wrong.update(other.wrong)

    @property
    def n_faults(self) -> int:
        return sum(n for kind, n in self.faults.items() if not kind.startswith("people"))


def play(seeds: Iterable[int]) -> Tally:
    """Run a schedule for each seed, and go on after one that is violated."""
    tally = Tally()
    with silence():
        for seed in seeds:
            world = World(seed)
            try:
                world.run()
            except Exception as error:  # whatever breaks is a finding
                tally.wrong[seed] = f"{type(error).__name__}: {error}"
            events = len(world.events())
            tally.add(Tally(1, world.crashes, events, world.turns, world.sim.now_s(), world.faults.counts, {}))
    return tally


def play_on(seeds: range, n_jobs: int) -> Iterator[Tally]:
    """Run the schedules of these seeds on several processors; yield what each part came to, in order."""
    parts = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    if n_jobs == 1:
        yield from map(play, parts)
        return
    with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(play, parts)


def digest(seed: int) -> str:
    """Return a digest of the whole log of a schedule."""
    world = World(seed)
    with silence():
        world.run()
    return hashlib.sha256("\n".join(map(repr, world.events())).encode()).hexdigest()
