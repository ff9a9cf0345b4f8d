"""The words of a what-if: ``add 4 h100``, ``drain a-3``, ``weight vision=3`` and what is wrong with others."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from placement.model import ACCELERATOR_KEY, DemandId, Node, NodeId, Problem, TenantId, parse_amount
from placement.reading import suggestion
from placement.whatif import (
    AddNodes,
    Change,
    DrainNode,
    RemoveNode,
    SetPriority,
    SetQuota,
    SetWeight,
    StopWork,
    Submit,
    WithoutPreemption,
    apply,
    demands_of,
    like_accelerator,
)

GRAMMAR = (
    "add [N] TYPE|NODE",
    "remove NODE",
    "drain NODE",
    "weight TENANT=NUMBER",
    "quota TENANT RESOURCE=AMOUNT ...",
    "priority ID=NUMBER",
    "submit FILE",
    "stop ID",
    "without-preemption",
)
"""What a change may be; TYPE is an accelerator type of some node."""

MOST_ADDED = 10_000
_MOST_PRIORITY = 2**31 - 1
_PAIR = re.compile(r"([^=]+)=(.*)", re.DOTALL)

Submitted = Callable[[str, Problem], Submit]
"""Reads what ``submit FILE`` names, for a question as it is by then."""


class ChangeError(ValueError):
    """A what-if is not understood: which word of it, what is wrong, what to write instead."""

    def __init__(self, change: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{change!r}: {problem}{'; ' + hint if hint else ''}")
        self.change, self.problem, self.hint = change, problem, hint


def parse(
    text: str,
    problem: Problem,
    nodes_by_name: Mapping[str, NodeId] | None = None,
    submitted: Submitted | None = None,
) -> Change:
    """Return the change that a person wrote about a question.

    Parameters
    ----------
    text : str
        One of ``GRAMMAR``.
    nodes_by_name : mapping, optional
        Further names of nodes besides their ids.
    submitted : callable, optional
        Reads files; without it ``submit`` is refused.

    Raises
    ------
    ChangeError
        Names the word that is wrong, what is known instead, or the grammar.
    """
    words = text.split()
    if not words:
        raise ChangeError(text, "says nothing", _grammar())
    reader = _READERS.get(words[0])
    if reader is None:
        raise ChangeError(
            text, f"{words[0]!r} is no change", f"{suggestion(words[0], _READERS, 'one of')}. {_grammar()}"
        )
    return reader(_Words(text, words[1:], problem, nodes_by_name or {}, submitted))


def parse_all(
    texts: Sequence[str],
    problem: Problem,
    nodes_by_name: Mapping[str, NodeId] | None = None,
    submitted: Submitted | None = None,
) -> tuple[tuple[Change, ...], Problem]:
    """Return all changes, each about what those before it have made of the question, and that question."""
    changes = []
    for text in texts:
        change = parse(text, problem, nodes_by_name, submitted)
        problem = apply(problem, change)
        changes.append(change)
    return tuple(changes), problem


class _Words:
    """The words after the first, and what they may name."""

    def __init__(
        self,
        text: str,
        rest: Sequence[str],
        problem: Problem,
        nodes_by_name: Mapping[str, NodeId],
        submitted: Submitted | None,
    ) -> None:
        self.text, self.rest, self.problem, self.submitted = text, list(rest), problem, submitted
        self.nodes: dict[str, Node] = {node.id: node for node in problem.nodes}
        self.nodes |= {name: self.nodes[id] for name, id in nodes_by_name.items() if id in self.nodes}

    def fail(self, problem: str, hint: str = "") -> ChangeError:
        verb = self.text.split()[0]
        return ChangeError(self.text, problem, hint or f"write: {_forms(verb)}")

    def only(self) -> str:
        """Return the one word that has to follow."""
        if not self.rest:
            raise self.fail("something is missing")
        if len(self.rest) > 1:
            raise self.fail(f"{self.rest[1]!r} is too much")
        return self.rest[0]

    def node(self, word: str) -> NodeId:
        if word not in self.nodes:
            raise self.fail(f"there is no node {word!r}", suggestion(word, self.nodes, "there are"))
        return self.nodes[word].id

    def tenant(self, word: str) -> TenantId:
        known = [tenant.id for tenant in self.problem.tenants]
        if word not in known:
            raise self.fail(f"there is no tenant {word!r}", suggestion(word, known, "there are"))
        return TenantId(word)

    def demand(self, word: str) -> DemandId:
        known = [demand.id for demand in demands_of(self.problem)]
        if word not in known:
            near = [name for name in known if name.startswith(word)]
            if len(near) == 1:
                return near[0]
            raise self.fail(f"there is no workload {word!r} that waits or runs", suggestion(word, known, "there are"))
        return DemandId(word)

    def pair(self, word: str) -> tuple[str, str]:
        match = _PAIR.fullmatch(word)
        if match is None:
            raise self.fail(f"{word!r} has no value")
        return match[1], match[2]


def _add(words: _Words) -> Change:
    number, rest = 1, words.rest
    if len(rest) > 1:
        if not rest[0].isdecimal() or not 1 <= int(rest[0]) <= MOST_ADDED:
            raise words.fail(f"{rest[0]!r} is no number of nodes from 1 to {MOST_ADDED}")
        number, words.rest = int(rest[0]), rest[1:]
    word = words.only()
    if word in words.nodes:
        return AddNodes(words.nodes[word].id, number)
    like = like_accelerator(words.problem.nodes, word)
    if like is None:
        types = {label for node in words.problem.nodes if (label := node.label(ACCELERATOR_KEY)) is not None}
        known: Collection[str] = [*sorted(types), *words.nodes]
        raise words.fail(
            f"no node has accelerator type {word!r} or is named so", suggestion(word.upper(), known, "there are")
        )
    return AddNodes(like, number)


def _weight(words: _Words) -> Change:
    name, value = words.pair(words.only())
    weight = _number(value)
    if weight is None or not 0 < weight <= 1e6:
        raise words.fail(f"{value!r} is no weight: a number above 0, up to 1000000")
    return SetWeight(words.tenant(name), weight)


def _quota(words: _Words) -> Change:
    if len(words.rest) < 2:
        raise words.fail("something is missing")
    tenant, amounts = words.tenant(words.rest[0]), []
    for word in words.rest[1:]:
        name, value = words.pair(word)
        try:
            amounts.append((name, parse_amount(name, value)))
        except ValueError as error:
            raise words.fail(str(error), "write for example GPU=8 or memory=16GiB") from None
    return SetQuota(tenant, tuple(amounts))


def _priority(words: _Words) -> Change:
    name, value = words.pair(words.only())
    if not re.fullmatch(r"[-+]?[0-9]{1,10}", value) or abs(int(value)) > _MOST_PRIORITY:
        raise words.fail(f"{value!r} is no priority: a whole number from -{_MOST_PRIORITY} to {_MOST_PRIORITY}")
    return SetPriority(words.demand(name), int(value))


def _submit(words: _Words) -> Change:
    if not words.rest:
        raise words.fail("something is missing")
    if words.submitted is None:
        raise words.fail("files cannot be read here")
    return words.submitted(" ".join(words.rest), words.problem)


def _without_preemption(words: _Words) -> Change:
    if words.rest:
        raise words.fail(f"{words.rest[0]!r} is too much")
    return WithoutPreemption()


_READERS: dict[str, Callable[[_Words], Change]] = {
    "add": _add,
    "remove": lambda words: RemoveNode(words.node(words.only())),
    "drain": lambda words: DrainNode(words.node(words.only())),
    "weight": _weight,
    "quota": _quota,
    "priority": _priority,
    "submit": _submit,
    "stop": lambda words: StopWork(words.demand(words.only())),
    "without-preemption": _without_preemption,
}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _forms(verb: str) -> str:
    return " or ".join(form for form in GRAMMAR if form.split()[0] == verb)


def _grammar() -> str:
    return f"changes are: {'; '.join(GRAMMAR)}"
