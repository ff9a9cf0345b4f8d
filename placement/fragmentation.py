"""How much of what a node has left expected work cannot use: the measure of Fragmentation Gradient Descent.

For one node and one kind of bundle it is the GPUs left over that a bundle of this kind could not take: all of them
where the bundle cannot run there for want of CPUs, memory, whole GPUs or the right labels; else the rest of each GPU
that is too small for it. Its mean over the kinds, weighted by how often they are expected, is the node's measure; a
cluster's is the sum over its nodes. Placing where the measure grows least keeps what is left usable.

References
----------
Weng et al., Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent, USENIX
ATC 2023, section 4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from placement.model import MILLI, Bundle, Node, Problem, Resources, Selector
from placement.model.demand import counted

GPU = "GPU"
MOST_KINDS = 64
"""Kinds of bundles that a mix tells apart: the most frequent ones."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of bundle that is expected, and its part of all (0..1)."""

    gpu: int
    others: tuple[tuple[str, int], ...]
    selector: Selector
    part: float


class Mix:
    """The bundles that are expected to come.

    Parameters
    ----------
    expected : (bundle, weight) pairs
        Relative frequencies, any scale; weights that are not positive are left out.
    """

    def __init__(self, expected: Iterable[tuple[Bundle, float]]) -> None:
        weights: dict[tuple[Resources, Selector], float] = {}
        for bundle, weight in expected:
            if weight > 0:
                key = (bundle.resources, bundle.selector)
                weights[key] = weights.get(key, 0.0) + weight
        frequent = sorted(weights.items(), key=lambda entry: (-entry[1], entry[0][0].entries, str(entry[0][1])))
        whole = sum(weight for _, weight in frequent[:MOST_KINDS]) or 1.0
        self.kinds = tuple(
            Kind(
                resources.get(GPU),
                tuple((name, amount) for name, amount in resources.items() if name != GPU),
                selector,
                weight / whole,
            )
            for (resources, selector), weight in frequent[:MOST_KINDS]
        )
        self._accepted: dict[object, tuple[bool, ...]] = {}
        self._known: dict[object, float] = {}
        self._by_name = any(
            requirement.key in ("node", "ray.io/node-id") for k in self.kinds for requirement in k.selector.requirements
        )

    def unusable(self, node: Node, free: Mapping[str, int], devices: Sequence[int]) -> float:
        """Return the GPUs of a node that a random expected bundle cannot use, in expectation.

        Parameters
        ----------
        free : mapping of resource name to amount
            What the node has left, in thousandths (bytes of memory).
        devices : sequence of int
            What each GPU has left, in thousandths; their sum is ``free["GPU"]``.
        """
        accepted = self._accepts(node)
        key = (accepted, tuple(sorted(free.items())), tuple(sorted(devices)))
        if key not in self._known:
            self._known[key] = sum(
                kind.part * (_left_by(kind, free, devices) if takes else sum(devices) / MILLI)
                for kind, takes in zip(self.kinds, accepted, strict=True)
            )
        return self._known[key]

    def _accepts(self, node: Node) -> tuple[bool, ...]:
        key = node.id if self._by_name else node.labels
        if key not in self._accepted:
            self._accepted[key] = tuple(kind.selector.accepts(node) for kind in self.kinds)
        return self._accepted[key]


def _left_by(kind: Kind, free: Mapping[str, int], devices: Sequence[int]) -> float:
    """Return the GPUs that a bundle of this kind could not take where its selector accepts the node."""
    everything = sum(devices) / MILLI
    if not kind.gpu or any(amount > free.get(name, 0) for name, amount in kind.others):
        return everything
    least = min(kind.gpu, MILLI)
    able = [device for device in devices if device >= least]
    if sum(able) < kind.gpu or len(able) * MILLI < kind.gpu:
        return everything
    return everything - sum(able) / MILLI


def expected_mix(problem: Problem) -> Mix:
    """Return the mix that a problem names, or else that of what is pending and running."""
    if problem.expected:
        return Mix(problem.expected)
    bundles: dict[int, Bundle] = {}
    counts: Counter[int] = Counter()
    for demand in (*problem.pending, *(running.demand for running in problem.running)):
        for bundle, n in counted(demand.bundles):
            bundles[id(bundle)] = bundle
            counts[id(bundle)] += n
    return Mix((bundles[key], float(n)) for key, n in counts.items())


def devices_left(total: int, parts: Iterable[int]) -> tuple[int, ...]:
    """Return what each GPU has left, in thousandths: whole ones off first, then parts, the largest first, best fit.

    ``total`` are the node's GPUs, ``parts`` what each bundle on it takes of them, in thousandths.
    """
    devices = [MILLI] * (total // MILLI) + ([total % MILLI] if total % MILLI else [])
    asked = sorted(parts, reverse=True)
    whole = sum(part // MILLI for part in asked)
    devices = devices[whole:]
    for part in sorted((part % MILLI for part in asked if part % MILLI), reverse=True):
        able = [i for i, device in enumerate(devices) if device >= part]
        if able:
            devices[min(able, key=lambda i: devices[i])] -= part
    return (*([0] * min(whole, -(-total // MILLI))), *devices)
