"""Who used what: resource-hours asked, granted, used and wasted, worked out from the log alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aios.errors import InvalidSpec
from aios.kernel.events import (
    AttemptEnded,
    AttemptResized,
    AttemptStarted,
    CheckpointSaved,
    Event,
    Granted,
    NodeChanged,
    Outcome,
    ResizeOrdered,
    Submitted,
    Work,
    WorkloadId,
)
from placement.model import ACCELERATOR_KEY, Node, NodeId, Resources

MICRO = 1_000_000
Amounts = dict[str, int]
"""Amounts of resources times microseconds, in the planner's units (thousandths; bytes for memory): whole numbers, so
that the parts of any division, by name or in time, add up to the whole."""

HOUR = 3_600 * MICRO
"""By what amounts are divided to have them in hours."""


@dataclass(slots=True)
class Account:
    """One line of the books.

    ``asked`` is the whole first form for as long as the attempt held what it got, ``granted`` what it held from grant
    to end, ``used`` what it held while it ran, ``preempted`` and ``failed`` the part of it whose work was done again:
    since the last checkpoint, or since the start. A service does no work again: it answered while it ran.
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
    number: int
    nodes: tuple[NodeId, ...]
    form: int
    granted_s: float
    started_s: float | None = None
    saved_s: float | None = None
    pieces: list[tuple[float, tuple[NodeId, ...]]] = field(default_factory=list)
    """Until when it held which nodes, before those that it holds now."""

    def resized(self, at_s: float, nodes: tuple[NodeId, ...]) -> None:
        if nodes != self.nodes:
            self.pieces.append((at_s, self.nodes))
            self.nodes = nodes


Key = Callable[[Work, Node | None], str]


def _user(work: Work, node: Node | None) -> str:
    if work.user:
        return work.user
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
                self.open[event.workload] = _Attempt(work, event.attempt, event.nodes, event.form, event.at_s)
            case ResizeOrdered() if self._is_open(event) and len(event.nodes) > len(self.open[event.workload].nodes):
                self.open[event.workload].resized(event.at_s, event.nodes)
            case AttemptResized() if self._is_open(event):
                self.open[event.workload].resized(event.at_s, event.nodes)
            case AttemptStarted() if self._is_open(event):
                attempt = self.open[event.workload]
                attempt.started_s = event.at_s if attempt.started_s is None else attempt.started_s
            case CheckpointSaved() if self._is_open(event):
                self.open[event.workload].saved_s = event.at_s
            case AttemptEnded() if self._is_open(event):
                self._book(self.open.pop(event.workload), event.at_s, event.outcome)
            case _:
                pass

    def _is_open(self, event: AttemptStarted | CheckpointSaved | AttemptEnded | ResizeOrdered | AttemptResized) -> bool:
        attempt = self.open.get(event.workload)
        return attempt is not None and attempt.number == event.attempt

    def close(self) -> dict[str, Account]:
        until_s = self.until_s if self.until_s < float("inf") else self.last_s
        for attempt in self.open.values():
            self._book(attempt, until_s, None)
        return dict(sorted(self.lines.items()))

    def _book(self, attempt: _Attempt, ended_s: float, outcome: Outcome | None) -> None:
        started_s = ended_s if attempt.started_s is None else attempt.started_s
        lost_from_s = _lost_from_s(attempt, ended_s, outcome)
        from_s, booked = attempt.granted_s, dict[str, None]()
        for until_s, nodes in (*attempt.pieces, (ended_s, attempt.nodes)):
            if self._micros(from_s, until_s) or self.since_s <= until_s <= self.until_s:
                self._book_piece(attempt, nodes, (from_s, until_s), started_s, lost_from_s, outcome, booked)
            from_s = until_s
        for name in booked:
            self.lines[name].attempts += 1
            self.lines[name].workloads.add(attempt.work.id)

    def _book_piece(
        self,
        attempt: _Attempt,
        nodes: tuple[NodeId, ...],
        span: tuple[float, float],
        started_s: float,
        lost_from_s: float,
        outcome: Outcome | None,
        booked: dict[str, None],
    ) -> None:
        """Book a time in which an attempt held the same nodes."""
        from_s, until_s = span
        demand = attempt.work.demand
        held, ran = self._micros(from_s, until_s), self._micros(max(from_s, started_s), until_s)
        lost = self._micros(max(from_s, lost_from_s), until_s)
        keys = [self.key(attempt.work, self.nodes.get(id)) for id in nodes]
        for bundle, name in zip(demand.form(attempt.form).bundles, keys, strict=False):
            line = self.lines.setdefault(name, Account())
            booked[name] = None
            _add(line.granted, bundle.resources, held)
            _add(line.used, bundle.resources, ran)
            _add(line.preempted if outcome is Outcome.PREEMPTED else line.failed, bundle.resources, lost)
        if keys and attempt.form == 0:
            for i, bundle in enumerate(demand.bundles):  # what it asked for and did not get stands with its first
                _add(self.lines[keys[i] if i < len(keys) else keys[0]].asked, bundle.resources, held)
        elif keys:
            _add(self.lines[keys[0]].asked, demand.resources(), held)

    def _micros(self, from_s: float, to_s: float) -> int:
        """Return the part of a time that is asked for, in microseconds."""
        first, last = max(from_s, self.since_s), min(to_s, self.until_s)
        return round(last * MICRO) - round(first * MICRO) if last > first else 0


def _lost_from_s(attempt: _Attempt, ended_s: float, outcome: Outcome | None) -> float:
    """Return from when on an attempt's work was done again, or is missing."""
    if outcome not in _WASTES or attempt.work.service:
        return ended_s
    started_s = ended_s if attempt.started_s is None else attempt.started_s
    return started_s if attempt.saved_s is None else max(started_s, attempt.saved_s)


_WASTES = (Outcome.PREEMPTED, Outcome.FAILED, Outcome.LOST, Outcome.OUT_OF_TIME)


def total(lines: Iterable[Account]) -> Account:
    """Return the sum of lines; an attempt on nodes of several accelerators stands in several of them."""
    whole = Account()
    for line in lines:
        for name in ("asked", "granted", "used", "preempted", "failed"):
            into = getattr(whole, name)
            for resource, amount in getattr(line, name).items():
                into[resource] = into.get(resource, 0) + amount
        whole.attempts += line.attempts
        whole.workloads |= line.workloads
    return whole


def _add(to: Amounts, resources: Resources, micros: int) -> None:
    if micros:
        for name, amount in resources.items():
            to[name] = to.get(name, 0) + amount * micros
