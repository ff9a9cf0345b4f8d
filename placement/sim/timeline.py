"""What holds over time in a run, as step functions: held accelerators, jobs present, jobs that wait."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from placement.model import total
from placement.sim.records import Record, Stay
from placement.throughput import units


@dataclass(frozen=True, slots=True)
class Steps:
    """A step function: ``values[i]`` from ``times[i]`` on; 0 before."""

    times: tuple[float, ...]
    values: tuple[float, ...]
    areas: tuple[float, ...]
    """The integral up to each time."""

    @classmethod
    def of(cls, changes: Iterable[tuple[float, float]]) -> Steps:
        """Build from (time, change); changes at one time are one step."""
        by_time: dict[float, float] = {}
        for at_s, change in changes:
            by_time[at_s] = by_time.get(at_s, 0.0) + change
        times = tuple(sorted(by_time))
        values = tuple(accumulate(by_time[at_s] for at_s in times))
        parts = ((times[i + 1] - times[i]) * values[i] for i in range(len(times) - 1))
        return cls(times, values, tuple(accumulate(parts, initial=0.0)) if times else ())

    def at(self, time_s: float) -> float:
        where = bisect_right(self.times, time_s) - 1
        return self.values[where] if where >= 0 else 0.0

    def area(self, from_s: float, until_s: float) -> float:
        """Return the integral between two times."""
        return self._up_to(until_s) - self._up_to(from_s)

    def mean(self, from_s: float, until_s: float) -> float:
        """Return the mean over time; the value itself where no time is between."""
        return self.area(from_s, until_s) / (until_s - from_s) if until_s > from_s else self.at(from_s)

    def _up_to(self, time_s: float) -> float:
        where = bisect_right(self.times, time_s) - 1
        return self.areas[where] + (time_s - self.times[where]) * self.values[where] if where >= 0 else 0.0


def held(records: Sequence[Record]) -> Steps:
    """Return the accelerators (else CPUs) that are held."""
    return Steps.of(
        change
        for record in records
        for stay in record.stays
        for size in (size_of(stay),)
        for change in ((stay.from_s, size), (stay.until_s, -size))
    )


def size_of(stay: Stay) -> float:
    """Return the accelerators (else CPUs) of one attempt."""
    return units(total(bundle.resources for bundle in stay.bundles[: len(stay.nodes)]))


def present(records: Sequence[Record]) -> Steps:
    """Return the number of jobs that are in the system."""
    return Steps.of(
        change
        for record in records
        for change in ((record.submitted_s, 1.0), (_end_s(record), -1.0))
        if change[0] != float("inf")
    )


def waiting(records: Sequence[Record]) -> Steps:
    """Return the number of jobs that are in the system and hold nothing."""
    changes: list[tuple[float, float]] = []
    for record in records:
        changes += [(record.submitted_s, 1.0), (_end_s(record), -1.0)]
        changes += [change for stay in record.stays for change in ((stay.from_s, -1.0), (stay.until_s, 1.0))]
    return Steps.of(change for change in changes if change[0] != float("inf"))


def _end_s(record: Record) -> float:
    return float("inf") if record.finished_s is None else record.finished_s
