"""Which faults a schedule has, how likely each is, and how often each has struck."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Self

FAULTS_UNTIL_S = 240.0


class Crash(BaseException):
    """The control plane dies here, like under kill -9: nothing may catch it."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How likely each fault is: per port call, per request, per workload or per ten seconds; 0 switches it off."""

    crash: float = 0.015
    takeover: float = 0.006
    partial_observe: float = 0.2
    stale_observe: float = 0.1
    failed_observe: float = 0.05
    lost_action: float = 0.15
    repeated_actions: float = 0.3
    reordered_actions: float = 0.2
    half_applied: float = 0.1
    store_error_before: float = 0.04
    store_error_after: float = 0.04
    disk_full: float = 0.05
    read_error: float = 0.05
    snapshot_error: float = 0.2
    clock_jump: float = 0.3
    planner_error: float = 0.15
    planner_slow: float = 0.2
    wrong_plan: float = 0.2
    node_kill: float = 0.12
    node_flap: float = 0.1
    node_cut: float = 0.12
    numb_gang: float = 0.6
    drain: float = 0.1
    lost_attempt: float = 0.2
    user_error: float = 0.12
    deaf: float = 0.4
    endless: float = 0.1
    torn_checkpoint: float = 0.2
    repeated_request: float = 0.3
    lost_answer: float = 0.3
    other_content: float = 0.1

    @classmethod
    def none(cls) -> Self:
        return cls(*(0.0 for _ in fields(cls)))

    @classmethod
    def swarm(cls, rng: random.Random) -> Self:
        """Draw rates; each schedule leaves some kinds of fault out."""
        most = cls()
        return cls(*(rng.choice((0.0, r * rng.random(), r)) for f in fields(cls) for r in (getattr(most, f.name),)))


@dataclass(slots=True)
class Faults:
    """The dice of one schedule, and what they have done."""

    rng: random.Random
    rates: Rates
    counts: Counter[str] = field(default_factory=Counter)
    now_s: float = 0.0
    last_s: float = 0.0
    """When something was last disturbed."""

    def hits(self, kind: str) -> bool:
        rate = getattr(self.rates, kind)
        if not rate or self.now_s >= FAULTS_UNTIL_S or self.rng.random() >= rate:
            return False
        self.note(kind)
        return True

    def note(self, kind: str) -> None:
        self.counts[kind] += 1
        self.last_s = self.now_s

    def may_crash(self) -> None:
        if self.hits("crash"):
            raise Crash
