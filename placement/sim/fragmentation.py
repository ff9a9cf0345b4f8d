"""How much of the free accelerators the expected mix of work cannot use.

References
----------
Weng et al., Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent, USENIX ATC
2023, section 3.2: F_n(M) is the expectation, over tasks m of the mix M, of the GPUs of node n that m cannot use. A task
that cannot run there can use none of them; one that can leaves over the devices that have less than it asks of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from placement.model import MILLI, Bundle, Node, NodeId, Resources
from placement.sim.records import Record

MOST_SHAPES = 50
N_SAMPLES = 64

Mix = Sequence[tuple[Bundle, float]]


def mix_of(bundles: Iterable[Bundle]) -> Mix:
    """Return the most frequent bundles with their relative frequency."""
    common = Counter(bundles).most_common(MOST_SHAPES)
    n = sum(count for _, count in common)
    return [(bundle, count / n) for bundle, count in common]


def unusable(node: Node, free: Resources, mix: Mix) -> float:
    """Return the expected number of a node's free accelerators that work of the mix cannot use.

    Which fraction of which device is free is not known here: what is free beyond whole devices counts as one device.
    """
    gpus = free.get("GPU")
    rest = gpus % MILLI
    out = 0.0
    for bundle, weight in mix:
        if not bundle.resources.fits_in(free) or not bundle.selector.accepts(node):
            out += weight * gpus
        elif rest < min(bundle.resources.get("GPU"), MILLI):
            out += weight * rest
    return out / MILLI


def fragmentation(nodes: Sequence[Node], records: Sequence[Record], from_s: float, until_s: float) -> float:
    """Return the share of the cluster's accelerators that is free and unusable, the mean over evenly spaced moments."""
    mix = mix_of(bundle for record in records for stay in record.stays[:1] for bundle in stay.bundles)
    n_gpus = sum(node.resources.get("GPU") for node in nodes) / MILLI
    if not n_gpus or not mix or until_s <= from_s:
        return 0.0
    times = [from_s + (until_s - from_s) * (i + 0.5) / N_SAMPLES for i in range(N_SAMPLES)]
    known: dict[tuple[Resources, tuple[tuple[str, str], ...]], float] = {}
    found = 0.0
    for used in _used(records, times):
        for node in nodes:
            free = node.resources - used[node.id] if node.id in used else node.resources
            key = (free, node.labels)
            if key not in known:
                known[key] = unusable(node, free, mix)
            found += known[key]
    return found / (n_gpus * N_SAMPLES)


def _used(records: Sequence[Record], times: Sequence[float]) -> Iterable[Mapping[NodeId, Resources]]:
    stays = sorted((stay for record in records for stay in record.stays), key=lambda stay: stay.from_s)
    for at_s in times:
        used: dict[NodeId, dict[str, int]] = {}
        for stay in stays:
            if stay.from_s > at_s:
                break
            if stay.until_s > at_s:
                for bundle, node in zip(stay.bundles, stay.nodes, strict=False):
                    amounts = used.setdefault(node, {})
                    for name, amount in bundle.resources.items():
                        amounts[name] = amounts.get(name, 0) + amount
        yield {node: Resources.of(amounts) for node, amounts in used.items()}
