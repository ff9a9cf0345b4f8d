"""A trace: jobs as they came to a cluster, whatever file they were read from."""

from __future__ import annotations

from dataclasses import dataclass

from placement.model import Bundle

_INFINITY = float("inf")


class TraceError(ValueError):
    """A trace is wrong: which file, where in it (line and column, from 1), what, and how to mend it."""

    def __init__(self, file: str, line: int | None, column: int | None, problem: str, hint: str = "") -> None:
        place = ":".join([file, *(str(at) for at in (line, column) if at is not None)])
        super().__init__(f"{place}: {problem}{'; ' + hint if hint else ''}")
        self.file, self.line, self.column, self.problem, self.hint = file, line, column, problem, hint


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a trace.

    Attributes
    ----------
    submitted_s : float
        Seconds from the beginning of the trace.
    runtime_s : float
        How long it truly runs with all its bundles, undisturbed, on accelerators of speed 1.
    bundles : tuple of Bundle
        Expanded, in rank order.
    speed : tuple of (accelerator type, factor)
        Relative throughput by ``ray.io/accelerator-type``; 1 where it is not named.
    scaling : tuple of (number of bundles, factor)
        Throughput by the number of bundles, relative to all of them; linear where left out.
    min_bundles : int
        Of an elastic job; -1: all of them or nothing.
    """

    id: str
    tenant: str
    submitted_s: float
    runtime_s: float
    bundles: tuple[Bundle, ...]
    priority: int = 0
    speed: tuple[tuple[str, float], ...] = ()
    scaling: tuple[tuple[int, float], ...] = ()
    min_bundles: int = -1

    def __post_init__(self) -> None:
        if not self.bundles:
            raise ValueError(f"job {self.id}: it has no bundle")
        if not 0 <= self.submitted_s < _INFINITY:
            raise ValueError(f"job {self.id}: submitted_s must be a number from 0, not {self.submitted_s}")
        if not 0 < self.runtime_s < _INFINITY:
            raise ValueError(f"job {self.id}: runtime_s must be a positive number, not {self.runtime_s}")
        if self.min_bundles == -1:
            object.__setattr__(self, "min_bundles", len(self.bundles))
        if not 1 <= self.min_bundles <= len(self.bundles):
            raise ValueError(f"job {self.id}: min_bundles is {self.min_bundles}, must be 1 to {len(self.bundles)}")


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs in order of arrival; ``sentence`` says where they are from and what they are good for."""

    name: str
    jobs: tuple[Job, ...]
    sentence: str = ""
