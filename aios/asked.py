"""What is asked of the planner without doing it: what-ifs and capacity, as they are shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from aios.views import SCHEMA_VERSION, PlanView, ShareView


@dataclass(frozen=True, slots=True)
class LotView:
    """What becomes of one workload now and with the changes: its state and the particulars."""

    id: str
    tenant: str
    changed: bool
    now: str
    then: str
    now_detail: str = ""
    then_detail: str = ""


@dataclass(frozen=True, slots=True)
class TermView:
    """One term of the objective, now and with the changes."""

    name: str
    unit: str
    now: float
    then: float


@dataclass(frozen=True, slots=True)
class WhatIfView:
    """Two plans side by side, what changes first; nothing was changed."""

    changes: tuple[str, ...] = ()
    workloads: tuple[LotView, ...] = ()
    terms: tuple[TermView, ...] = ()
    shares_now: tuple[ShareView, ...] = ()
    shares_then: tuple[ShareView, ...] = ()
    now: PlanView = field(default_factory=PlanView)
    then: PlanView = field(default_factory=PlanView)
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class AdviceView:
    """Which nodes to ask for at least cost, whom they let in, and which nodes could go (with what would move)."""

    add: dict[str, int] = field(default_factory=dict)
    cost: float = 0.0
    bound: float = 0.0
    admits: tuple[str, ...] = ()
    not_helped: dict[str, str] = field(default_factory=dict)
    removable: dict[str, tuple[str, ...]] = field(default_factory=dict)
    schemaVersion: int = SCHEMA_VERSION
