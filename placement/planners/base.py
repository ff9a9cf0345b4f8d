"""The planner's contract and its budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from placement.model import Plan, Problem


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a planner may think.

    ``wall_s`` is a hard limit in seconds; ``deterministic_s`` is the solver's deterministic time, which makes the
    same input give the same plan on every machine; ``workers`` above 1 gives that up for speed.
    """

    wall_s: float = 10.0
    deterministic_s: float = 2.0
    workers: int = 1
    seed: int = 0


class Planner(Protocol):
    """A function from a problem to a plan.

    Always answers: what it cannot place it leaves waiting. Raises nothing for any well-formed ``Problem``. The plan
    passes ``placement.check``.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, problem: Problem, budget: Budget) -> Plan: ...
