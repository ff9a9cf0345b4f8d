"""Who used what: resource-hours asked, granted, used and wasted, worked out from the log alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aios.errors import InvalidSpec
from aios.kernel.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Event,
    Granted,
    NodeChanged,
    Outcome,
    Submitted,
    Work,
    WorkloadId,
)
from placement.model import ACCELERATOR_KEY, Node, NodeId, Resources

HOUR_S = 3600.0
Amounts = dict[str, float]
"""Amounts of resources times hours, in the planner's units (thousandths; bytes for memory)."""


@dataclass(slots=True)
class Account:
    """One line of the books, in resource-hours.

    ``asked`` is the whole first form for as long as the attempt held what it got, ``granted`` what it held from grant
    to end, ``used`` what it held while it ran, ``preempted`` and ``failed`` the part of it whose work was done again:
    since the last checkpoint, or since the start.
    """

    asked: Amounts = field(default_factory=dict)
    granted: Amounts = field(default_factory=dict)
    used: Amounts = field(default_factory=dict)
    preempted: Amounts = field(default_factory=dict)
    failed: Amounts = field(default_factory=dict)
    attempts: int = 0
    workloads: set[WorkloadId] = field(default_factory=set)


@dataclass(slots=True)
class _Attempt:
    work: Work
    nodes: tuple[NodeId, ...]
    form: int
    granted_s: float
    started_s: float | None = None
    saved_s: float | None = None


Key = Callable[[Work, Node | None], str]


def _user(work: Work, node: Node | None) -> str:
    labels = json.loads(work.spec).get("labels") if work.spec else None
    return str(labels["user"]) if isinstance(labels, dict) and "user" in labels else "-"


def _accelerator(work: Work, node: Node | None) -> str:
    return (node.label(ACCELERATOR_KEY) if node is not None else None) or "none"


KEYS: Mapping[str, Key] = {
    "tenant": lambda work, node: work.tenant,
    "user": _user,
    "accelerator": _accelerator,
    "kind": lambda work, node: work.kind,
    "workload": lambda work, node: work.id,
}
"""By what accounts can be kept; the user of a workload is its label ``user``."""


def accounts(
    events: Iterable[Event], by: str, since_s: float = float("-inf"), until_s: float = float("inf")
) -> dict[str, Account]:
    """Return the accounts of the time from ``since_s`` to ``until_s``, open attempts counted up to ``until_s``.

    Raises
    ------
    InvalidSpec
        Where accounts are not kept by ``by``.
    """
    if by not in KEYS:
        raise InvalidSpec(f"no accounts are kept by {by!r}", hint=f"one of {', '.join(KEYS)}")
    books = _Books(KEYS[by], since_s, until_s)
    for event in events:
        books.enter(event)
    return books.close()


class _Books:
    def __init__(self, key: Key, since_s: float, until_s: float) -> None:
        self.key, self.since_s, self.until_s = key, since_s, until_s
        self.works: dict[WorkloadId, Work] = {}
        self.nodes: dict[NodeId, Node] = {}
        self.open: dict[WorkloadId, _Attempt] = {}
        self.lines: dict[str, Account] = {}
        self.last_s = since_s

    def enter(self, event: Event) -> None:
        self.last_s = max(self.last_s, event.at_s)
        match event:
            case Submitted():
                self.works[event.work.id] = event.work
            case NodeChanged():
                self.nodes[event.node.id] = event.node
            case Granted() if event.workload in self.works:
                work = self.works[event.workload]
                self.open[event.workload] = _Attempt(work, event.nodes, event.form, event.at_s)
            case AttemptStarted() if event.workload in self.open:
                attempt = self.open[event.workload]
                attempt.started_s = event.at_s if attempt.started_s is None else attempt.started_s
            case CheckpointSaved() if event.workload in self.open:
                self.open[event.workload].saved_s = event.at_s
            case AttemptEnded() if event.workload in self.open:
                self._book(self.open.pop(event.workload), event.at_s, event.outcome)
            case _:
                pass

    def close(self) -> dict[str, Account]:
        until_s = self.until_s if self.until_s < float("inf") else self.last_s
        for attempt in self.open.values():
            self._book(attempt, until_s, None)
        return dict(sorted(self.lines.items()))

    def _book(self, attempt: _Attempt, ended_s: float, outcome: Outcome | None) -> None:
        held_h = self._hours(attempt.granted_s, ended_s)
        if not held_h and not self.since_s <= ended_s <= self.until_s:
            return
        demand = attempt.work.demand
        started_s = ended_s if attempt.started_s is None else attempt.started_s
        lost_h = self._hours(started_s if attempt.saved_s is None else attempt.saved_s, ended_s)
        lines: dict[str, None] = {}
        for bundle, id in zip(demand.form(attempt.form).bundles, attempt.nodes, strict=False):
            line = self._line(attempt.work, self.nodes.get(id))
            lines[self.key(attempt.work, self.nodes.get(id))] = None
            _add(line.granted, bundle.resources, held_h)
            _add(line.used, bundle.resources, self._hours(started_s, ended_s))
            if outcome is Outcome.PREEMPTED:
                _add(line.preempted, bundle.resources, lost_h)
            elif outcome in (Outcome.FAILED, Outcome.LOST):
                _add(line.failed, bundle.resources, lost_h)
        for name in lines:
            self.lines[name].attempts += 1
            self.lines[name].workloads.add(attempt.work.id)
        if lines:
            _add(self.lines[next(iter(lines))].asked, demand.resources(), held_h)

    def _line(self, work: Work, node: Node | None) -> Account:
        return self.lines.setdefault(self.key(work, node), Account())

    def _hours(self, from_s: float, to_s: float) -> float:
        return max(0.0, min(to_s, self.until_s) - max(from_s, self.since_s)) / HOUR_S


def _add(to: Amounts, resources: Resources, hours: float) -> None:
    for name, amount in resources.items():
        to[name] = to.get(name, 0.0) + amount * hours
