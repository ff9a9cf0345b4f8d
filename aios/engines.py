"""The contract between AIOS and the engines that run workloads, and how engines are found.

An engine is an entry point in the group ``aios.engines``. ``demand`` is pure and runs when work is submitted, so a bad
spec is refused before it is queued. ``run`` executes inside the attempt's supervisor, on a node of the grant.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aios.errors import InvalidSpec
from aios.kernel.events import Artefact
from aios.spec import AlternativeSpec, WorkloadSpec
from placement.model import Bundle, Demand, DemandId, Resources, Shape, TenantId, Topology

GROUP = "aios.engines"
EXTRA = "AIOS_EXTRA_ENGINES"
"""Environment variable with further engines that are no entry points: ``module:Class``, commas between."""


class Preempted(Exception):
    """Raised by an engine that was asked to yield and has saved its progress."""


class WorkloadFailed(Exception):
    """The user's part failed: ``message`` is shown first, ``detail`` (frames) behind ``-v``.

    ``artefacts`` are what says why, such as the report of a model that misses a gate; nothing is published.
    """

    def __init__(
        self, message: str, *, detail: str = "", exit_code: int | None = None, artefacts: Sequence[Artefact] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.exit_code = exit_code
        self.artefacts = tuple(artefacts)


class Reporter(Protocol):
    """Picklable handle by which any worker of an attempt talks to its supervisor; every call is cheap."""

    def ran_on(self, node_id: str, bundle: int | None = None) -> None:
        """Say that a worker (of bundle ``bundle``, where it has one) runs on the node, as Ray says."""

    def saved(self, uri: str, step: int) -> None:
        """Say that progress up to ``step`` is durable at ``uri``."""

    def progress(self, metrics: Mapping[str, Any]) -> None:
        """Report the latest metrics (JSON values)."""

    def preempting(self) -> bool:
        """Return whether the attempt was asked to yield (blocks for one round trip)."""

    def log(self, line: str) -> None:
        """Add a line to the attempt's log."""


@dataclass(frozen=True, slots=True)
class Input:
    """A resolved input: where it is, and what is known about it."""

    reference: str
    uri: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RunContext:
    """What an engine gets besides its spec.

    Attributes
    ----------
    nodes : tuple of str
        Ray node id of each bundle, as planned; bundle i has ``bundles[i]``.
    dir : Path
        The attempt's own folder on shared storage; made, empty at the start.
    storage : Path
        Root of shared storage; artefacts go to ``artefact_dir(type, name)``, a folder of this attempt alone.
    checkpoint, step : str, int
        Where an earlier attempt left off; empty and 0 at the first.
    stop_event : threading.Event
        Set when the attempt is asked to end (``stop_reason`` is ``preempt`` or ``stop``).
    ready : callable
        A service calls it once it answers, with its endpoint artefacts.
    """

    workload: str
    name: str
    tenant: str
    attempt: int
    fence: int
    nodes: tuple[str, ...]
    bundles: tuple[Resources, ...]
    inputs: Mapping[str, Input]
    outputs: Mapping[str, str]
    dir: Path
    storage: Path
    reporter: Reporter
    checkpoint: str = ""
    step: int = 0
    grace_s: float = 30.0
    stop_event: threading.Event = field(default_factory=threading.Event)
    stop_reason: str = ""
    ready: Callable[[Sequence[Artefact]], None] = lambda artefacts: None
    bases: Mapping[str, Input] = field(default_factory=dict)
    """By role of an output: the newest version of it, on which a new one is built; none where there is no version."""
    alive: Callable[..., None] = lambda role="worker", leaves=True: None
    """Has the process that calls it give signs of life; ``leaves=False`` where other attempts use that process too."""
    resized: Callable[[int], None] = lambda size: None
    """A service says with how many bundles it goes on now."""
    wanted: tuple[str, ...] = ()
    """The nodes on which a service shall go on, bundle i on ``wanted[i]``; empty: those it has."""
    wanted_grace_s: float = 0.0
    ends_s: float = 0.0
    """When it is ended (seconds since 1970), once it was asked to end."""
    check_fence: Callable[[], None] = lambda: None
    """Raises ``StaleFence`` where a newer attempt has been granted: call it before each write that matters."""

    @property
    def run_name(self) -> str:
        """The name that everything of this attempt carries."""
        return f"aios/{self.workload}/{self.attempt}"

    def preempting(self) -> bool:
        return self.stop_event.is_set() and self.stop_reason == "preempt"

    def artefact_dir(self, type_: str, name: str) -> Path:
        """Return (and make) the folder of this attempt for an artefact; no other attempt writes there."""
        path = self.storage / f"{type_}s" / name / f"{self.workload}-{self.attempt}"
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished attempt leaves: artefacts to publish and final metrics (JSON values)."""

    artefacts: tuple[Artefact, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Engine(Protocol):
    """Runs one kind of workload.

    ``demand`` is called at submission, any number of times, and has no effects; it raises ``InvalidSpec``. ``run`` is
    called once per attempt in a thread of the supervisor; it returns a ``Result``, raises ``Preempted`` after it was
    asked to yield, ``WorkloadFailed`` for the user's failures, anything else for its own. When ``ctx.stop_event`` is
    set it ends within the grace, or is killed. It starts workers only on ``ctx.nodes`` and reports where they run.
    """

    kind: str
    spec_type: type[WorkloadSpec]

    def demand(self, spec: Any) -> Demand: ...

    def run(self, spec: Any, ctx: RunContext) -> Result: ...


@cache
def engines() -> Mapping[str, Engine]:
    """Return the installed engines by kind."""
    found: dict[str, Engine] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        engine = entry.load()()
        assert isinstance(engine, Engine), f"{entry.value} is no engine"
        found[engine.kind] = engine
    for name in filter(None, os.environ.get(EXTRA, "").split(",")):
        module, _, attribute = name.strip().partition(":")
        engine = getattr(import_module(module), attribute)()
        assert isinstance(engine, Engine), f"{EXTRA}: {name} is no engine"
        found[engine.kind] = engine
    return found


def engine_of(kind: str) -> Engine:
    """Return the engine of a kind; raises InvalidSpec that names the kinds there are."""
    known = engines()
    if kind not in known:
        raise InvalidSpec(f"unknown kind {kind!r}", hint=f"use one of {', '.join(sorted(known))}, pipeline, tenant")
    return known[kind]


def gang(spec: WorkloadSpec, n_bundles: int | None = None, min_bundles: int | None = None) -> Demand:
    """Return the demand that the common fields of a spec describe.

    Parameters
    ----------
    spec : WorkloadSpec
    n_bundles, min_bundles : int, optional
        For engines that count otherwise than ``workers`` (replicas); the default is ``workers``, or one bundle.
    """
    workers = spec.workers
    n = n_bundles if n_bundles is not None else workers.num_workers if workers is not None else 1
    least = min_bundles if min_bundles is not None else workers.min_workers if workers is not None else None
    bundle = Bundle(spec.resources_of_one(), spec.selector_of_one())
    if not bundle.resources:
        raise InvalidSpec(f"{spec.name}: asks for nothing", hint="give num_cpus, num_gpus, memory or resources")
    others = ((other, spec.alternative(other)) for other in spec.alternatives)
    return Demand(
        id=DemandId(spec.name),
        tenant=TenantId(spec.tenant),
        bundles=(bundle,) * n,
        min_bundles=n if least is None else least,
        priority=spec.priority,
        topologies=_topologies(spec),
        runtime_s=spec.estimate,
        preemptible=spec.preemptible,
        speed=tuple(sorted(spec.speed.items())),
        deadline_s=spec.deadline,
        profile=spec.profile,
        scaling=tuple(sorted(workers.scaling.items())) if workers is not None else (),
        alternatives=tuple(_shape(other, instead, n, least) for other, instead in others),
    )


def _shape(other: AlternativeSpec, instead: WorkloadSpec, n: int, least: int | None) -> Shape:
    """Return an alternative's bundles; it has as many as the first form unless it says its own workers."""
    if other.workers is not None:
        n, least = other.workers.num_workers, other.workers.min_workers
    bundle = Bundle(instead.resources_of_one(), instead.selector_of_one())
    return Shape((bundle,) * n, n if least is None else least, other.throughput)


def _topologies(spec: WorkloadSpec) -> tuple[Topology, ...]:
    if spec.topology:
        return tuple(
            Topology("pack" if at.pack is not None else "spread", at.key, at.required, at.slice, at.skew)
            for at in spec.topology
        )
    if spec.workers is None:
        return ()
    strategy = spec.workers.placement_strategy
    return (Topology("spread" if "SPREAD" in strategy else "pack", "node", strategy.startswith("STRICT_")),)
