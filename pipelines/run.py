"""What engines share when they run on Ray: staying on the planned nodes, saying so, and hearing a stop."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from aios.engines import Preempted, Reporter, RunContext
from placement.model import Resources

NODE_KEY = "ray.io/node-id"
STOP_FILE = "stop"
"""In the attempt's folder; exists from the moment when the attempt was asked to end."""


def here() -> str:
    """Return the id of the Ray node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def on_nodes(nodes: Sequence[str]) -> dict[str, str]:
    """Return the label selector for exactly these nodes."""
    unique = sorted(set(nodes))
    return {NODE_KEY: unique[0] if len(unique) == 1 else f"in({','.join(unique)})"}


def one_each(nodes: Sequence[str]) -> list[dict[str, str]]:
    """Return one label selector per bundle."""
    return [{NODE_KEY: node} for node in nodes]


def by_bundle(planned: Sequence[str], actual: Sequence[str]) -> list[tuple[int | None, str]]:
    """Say which bundle each worker is, from where workers run.

    Workers of a gang are alike, so a worker on a planned node is a bundle of that node; one that runs elsewhere is a
    bundle that nobody else filled, and a worker too many has none.
    """
    free: dict[str, list[int]] = {}
    for i, node in enumerate(planned):
        free.setdefault(node, []).append(i)
    placed = [free[node].pop(0) if free.get(node) else None for node in actual]
    left = iter(sorted(i for bundles in free.values() for i in bundles))
    return [(i if i is not None else next(left, None), node) for i, node in zip(placed, actual, strict=True)]


def report_nodes(reporter: Reporter, planned: Sequence[str], actual: Sequence[str]) -> None:
    for bundle, node in by_bundle(planned, actual):
        reporter.ran_on(node, bundle)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Lets tasks that belong to no bundle of their own say where they run, once per process and attempt."""

    run_name: str
    planned: tuple[str, ...]
    reporter: Reporter
    alive: Callable[..., None] | None = None

    def say(self) -> None:
        """Report this process's node: a task serves all bundles of its node."""
        if self.run_name in _said:
            return
        _said.add(self.run_name)
        if self.alive is not None:
            self.alive(leaves=False)  # Ray gives the same process tasks of other attempts
        node = here()
        for bundle in [i for i, other in enumerate(self.planned) if other == node] or [None]:
            self.reporter.ran_on(node, bundle)
        self.reporter.preempting()  # a round trip: a short task may not end before it was heard

    @classmethod
    def of(cls, ctx: RunContext) -> Whereabouts:
        return cls(ctx.run_name, ctx.nodes, ctx.reporter, ctx.alive)


_said: set[str] = set()


def actor_options(resources: Resources) -> dict[str, object]:
    """Return Ray's options for an actor that takes one whole bundle."""
    amounts = resources.to_ray()
    options: dict[str, object] = {"num_cpus": amounts.pop("CPU", 0.0), "num_gpus": amounts.pop("GPU", 0.0)}
    if "memory" in amounts:
        options["memory"] = amounts.pop("memory")
    return {**options, "resources": amounts} if amounts else options


def slice_context(nodes: Sequence[str], bundles: Sequence[Resources]) -> Mapping[str, float]:
    """Confine Ray Data in this process to the planned nodes and amounts; call it before anything is read.

    Returns
    -------
    mapping
        The options that every operator needs (``num_cpus``), so that a task fits one bundle.

    Notes
    -----
    The selector alone does not hold: the default shuffle and the newer Parquet source place tasks without it, and
    without limits the executor believes that it owns the cluster.
    """
    from ray.data import DataContext, ExecutionResources
    from ray.data.context import ShuffleStrategy

    cpus = sum(bundle.get("CPU") for bundle in bundles) / 1000
    per_task = min(1.0, min((bundle.get("CPU") for bundle in bundles), default=1000) / 1000)
    context = DataContext.get_current()
    context.execution_options.label_selector = on_nodes(nodes)
    context.execution_options.resource_limits = ExecutionResources.for_limits(cpu=max(cpus, per_task))
    context.shuffle_strategy = ShuffleStrategy.HASH_SHUFFLE
    context.default_hash_shuffle_parallelism = max(1, int(cpus))
    context.use_datasource_v2 = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    return {"num_cpus": per_task}


class EndOnRequest:
    """Hears of each step of Ray Data in this process and ends the execution once the attempt was asked to end.

    Ray makes the object, without arguments, and copies its class to workers: the event is the module's.
    """

    def before_execution_starts(self, executor: object) -> None:
        self.on_execution_step(executor)

    def on_execution_step(self, executor: object) -> None:
        if _asked is not None and _asked.is_set():
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # which takes it for an error of its own
            raise Preempted

    def after_execution_succeeds(self, executor: object) -> None:
        pass

    def after_execution_fails(self, executor: object, error: Exception) -> None:
        pass


_asked: threading.Event | None = None


@contextmanager
def ended_on_request(ctx: RunContext) -> Iterator[None]:
    """Have what Ray Data runs inside end when the attempt is asked to, tasks and all; then raises Preempted."""
    from ray.data import DataContext

    global _asked
    _asked = ctx.stop_event
    DataContext.get_current().custom_execution_callback_classes = [EndOnRequest]
    try:
        yield
    except Exception:  # in whatever guise Ray Data passes it on
        if ctx.stop_event.is_set():
            raise Preempted from None
        raise


@contextmanager
def stop_file(ctx: RunContext) -> Iterator[Path]:
    """Make ``ctx.stop_event`` visible to workers on other nodes as a file in the attempt's folder."""
    path = ctx.dir / STOP_FILE
    path.unlink(missing_ok=True)
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if ctx.stop_event.wait(timeout=0.5):
                part = path.with_name(f"{STOP_FILE}.part")
                part.write_text(f"{ctx.stop_reason or 'stop'} {ctx.ends_s}", encoding="utf-8")
                part.replace(path)
                return

    watcher = threading.Thread(target=watch, name="aios-stop-file", daemon=True)
    watcher.start()
    try:
        yield path
    finally:
        over.set()
        watcher.join(timeout=5)


def quiet() -> None:
    """Switch off what the frameworks print that is of no use to the workload's user."""
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("ray.train", "ray.data", "ray.serve"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # that there are no progress bars
