"""Tenants: weights, quotas, borrowing and lending, in a tree; and the policy of the whole cluster."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from placement.model.demand import TenantId
from placement.model.resources import Resources, refuse_amounts

ROOT = TenantId("root")


class Within(Enum):
    """Whom a workload may displace inside its own tenant."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"
    LOWER_OR_NEWER = "lower_or_newer"


class Reclaim(Enum):
    """Whom a workload within its tenant's quota may displace among tenants above theirs."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"
    ANY = "any"


class Borrow(Enum):
    """Whom a workload may displace that would itself be borrowing."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"
    FAIR = "fair"


@dataclass(frozen=True, slots=True)
class PreemptionPolicy:
    within: Within = Within.LOWER_PRIORITY
    reclaim: Reclaim = Reclaim.ANY
    borrow: Borrow = Borrow.NEVER


@dataclass(frozen=True, slots=True)
class Tenant:
    """A team. Amounts are vectors of resources.

    Attributes
    ----------
    quota : Resources or None
        Guaranteed; what is not named is 0. None on an inner tenant: the sum of its children's.
    borrow_limit, lend_limit, limit : tuple of (resource name, amount) or None
        None, and each resource that is not named: no limit (of lending: all of the idle quota). A named
        resource may be 0, which is why these are not ``Resources``.
    usage : tuple of (resource name, resource-seconds)
        Decayed past use, in Ray's units (CPUs, GPUs, bytes) times seconds.
    preemption : PreemptionPolicy or None
        None: the cluster's default.
    """

    id: TenantId
    parent: TenantId | None = None
    weight: float = 1.0
    quota: Resources | None = None
    borrow_limit: tuple[tuple[str, int], ...] | None = None
    lend_limit: tuple[tuple[str, int], ...] | None = None
    limit: tuple[tuple[str, int], ...] | None = None
    preemption: PreemptionPolicy | None = None
    usage: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"tenant {self.id}: weight must be a positive number, not {self.weight}")
        quota = () if self.quota is None else self.quota.entries
        for amounts in (quota, self.borrow_limit, self.lend_limit, self.limit):
            refuse_amounts(f"tenant {self.id}", amounts or ())


class Objective(Enum):
    """What the plan for the whole cluster aims at; rights, quotas and limits hold under each."""

    STRICT = "strict"
    """Who is served is decided in the order of the laws, decision by decision."""
    WEIGHTED = "weighted"
    """The largest total value: priority class, age, entitlement and size weigh, and none is absolute."""
    GOODPUT = "goodput"
    """The most useful work: rounds of a time slice, by throughput, remaining work and finish-time fairness."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of the whole cluster.

    Attributes
    ----------
    ageing_s : float or None
        Seconds of waiting that lift a workload by one priority; None: waiting lifts nobody.
    time_slice_s : float or None
        After so many seconds running work may have to take turns with its equals; None: it runs until it ends.
    usage_half_life_s : float
        In so many seconds past use counts half, where fairness looks at it.
    interference : tuple of (profile, profile, factor)
        Throughput, 0..1, of work of the first profile that shares a node with the second.
    """

    fairness: str = "drf"
    preemption: PreemptionPolicy = PreemptionPolicy()
    backfill: bool = True
    migration: bool = False
    objective: Objective = Objective.STRICT
    ageing_s: float | None = None
    time_slice_s: float | None = None
    usage_half_life_s: float = 7 * 86_400.0
    interference: tuple[tuple[str, str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, seconds in (
            ("ageing_s", self.ageing_s),
            ("time_slice_s", self.time_slice_s),
            ("usage_half_life_s", self.usage_half_life_s),
        ):
            if seconds is not None and not 0 < seconds < float("inf"):
                raise ValueError(f"{name} is {seconds}; write a positive number of seconds, or None for never")
        if any(not 0 <= factor <= 1 for _, _, factor in self.interference):
            raise ValueError("a factor of interference is a number from 0 to 1")
