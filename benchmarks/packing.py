"""How many GPUs can be given out before nothing fits any more: ``python -m benchmarks.packing --traces DIR``.

The experiment of Weng et al., Beware of Fragmentation, USENIX ATC 2023, section 6: pods drawn with replacement from
Alibaba's openb trace of 2023 arrive one by one at its 1,213 GPU nodes (6,212 GPUs) until they have asked for 130 % of
the GPUs; a pod that does not fit is turned away. The figure is the GPUs in use at the end, in percent of all, the mean
over the seeds. The mix that is expected is the trace's, for those who look at it. ``published`` is what the authors'
simulator gave, the mean of ten seeds; how near the same policy comes to it here says how far this can be trusted.

``aios`` is the planners' own choice of a node (``placement.planners.arrays.usable``).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from placement.baselines.fits import SmallestProduct
from placement.model import Bundle, Node, Problem, Tenant, TenantId
from placement.planners.arrays.choosing import Chooser, Tightest
from placement.planners.arrays.layout import Ask, Bools, Floats, Floor, opening
from placement.planners.arrays.mix import Mix
from placement.planners.arrays.usable import Usable
from placement.traces import alibaba2023

ASKED = 1.3
"""Arrivals stop when the pods have asked for so many times the cluster's GPUs."""

PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "default": {"random": 87.47, "dot-product": 90.85, "best-fit": 93.08, "fgd": 95.39},
    "gpuspec33": {"random": 86.46, "dot-product": 89.14, "best-fit": 93.09, "fgd": 94.55},
    "multigpu50": {"random": 90.28, "dot-product": 94.85, "best-fit": 95.74, "fgd": 97.18},
}


class AnyNode(Tightest):
    """Any node that fits, by chance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats:
        return self.rng.random(len(able))


CHOOSERS: Mapping[str, Callable[[Mix, np.random.Generator], Chooser]] = {
    "random": lambda mix, rng: AnyNode(rng),
    "dot-product": lambda mix, rng: SmallestProduct(),
    "best-fit": lambda mix, rng: Tightest(),
    "fgd": lambda mix, rng: Usable(mix, stranded=0.0),
    "aios": lambda mix, rng: Usable(mix),
}


def allocated(nodes: Sequence[Node], pods: Sequence[Bundle], policy: str, seed: int) -> float:
    """Return the part of the GPUs in use, 0..1, after pods that ask for 130 % of them have come."""
    rng = np.random.default_rng(seed)
    floor, _ = opening(Problem(tuple(nodes), (Tenant(TenantId("pods")),)))
    counts = Counter(pods)
    rule = CHOOSERS[policy](Mix(floor.layout, ((pod, float(n)) for pod, n in counts.items())), rng)
    capacity = sum(node.resources.get("GPU") for node in nodes)
    asked = given = 0
    arrivals = np.random.default_rng([seed, 1])
    while asked < ASKED * capacity:
        pod = pods[int(arrivals.integers(len(pods)))]
        gpu = pod.resources.get("GPU")
        asked += gpu
        ask = floor.layout.ask(pod)
        able = floor.fits(ask) if ask is not None else np.zeros(0, np.bool_)
        if ask is None or not able.any():
            continue
        node = int(np.where(able, rule.rank(floor, ask, able), np.inf).argmin())
        floor.take(rule.taken(floor, node, ask))
        given += gpu
    return given / capacity


def variants(folder: Path) -> Mapping[str, Path]:
    """Return the pod lists of a folder by the name of their variant."""
    files = sorted(folder.glob("openb_pod_list_*.csv*"))
    return {file.name.removeprefix("openb_pod_list_").split(".")[0]: file for file in files}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packing", description=__doc__)
    parser.add_argument(
        "--traces", type=Path, required=True, help="folder with openb_node_list_gpu_node.csv and pod lists"
    )
    parser.add_argument("--variant", default="default", help="pod list: default, gpuspec33, multigpu50, ...")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--policies", default=",".join(CHOOSERS), help="some of " + ", ".join(CHOOSERS))
    options = parser.parse_args(argv)
    folder = next(iter(sorted(options.traces.rglob("openb_node_list_gpu_node.csv"))), None)
    if folder is None:
        parser.error(f"--traces {options.traces}: no openb_node_list_gpu_node.csv there or below")
    lists = variants(folder.parent)
    if options.variant not in lists:
        parser.error(f"--variant {options.variant}: there is {', '.join(lists)}")
    nodes = alibaba2023.read_nodes(folder)
    pods = [job.bundles[0] for job in alibaba2023.read(lists[options.variant]).jobs]
    print(f"{options.variant}: {len(nodes)} nodes, {len(pods)} pods, {options.seeds} seeds")
    print(f"{'policy':12s} {'GPUs in use %':>14s} {'least':>7s} {'most':>7s} {'published':>10s} {'CPU s a run':>12s}")
    for policy in options.policies.split(","):
        began = time.process_time()
        found = [100 * allocated(nodes, pods, policy, seed) for seed in range(options.seeds)]
        cost = (time.process_time() - began) / options.seeds
        published = PUBLISHED.get(options.variant, {}).get(policy)
        said = f"{published:10.2f}" if published is not None else f"{'':10s}"
        mean, least, most = float(np.mean(found)), min(found), max(found)
        print(f"{policy:12s} {mean:14.2f} {least:7.2f} {most:7.2f} {said} {cost:12.1f}", flush=True)


if __name__ == "__main__":
    main()
