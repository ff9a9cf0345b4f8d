"""A control plane put together from its parts, on the Ray cluster of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aios
from aios.adapters.folder import Folder
from aios.adapters.growth import may_grow
from aios.adapters.ray import RayExecutor
from aios.api.app import create_app
from aios.config import API_HOST, Settings
from aios.control.loop import Loop
from aios.control.plane import Plane, Watched
from aios.control.planning import ThreadedPlanning
from aios.control.snapshots import Snapshots
from aios.control.solving import ChildPlanner
from aios.errors import CorruptLog
from aios.kernel.retention import Keep
from aios.models.registrar import Registrar
from aios.store import folded
from aios.store.backups import how_to_restore
from aios.store.periodic import Backups
from aios.store.sql import SqlLog
from aios.telemetry import logs
from aios.telemetry.metrics import Metrics
from aios.telemetry.openlineage import OpenLineageSink, senders
from aios.telemetry.spans import processors
from aios.telemetry.traces import SpanSink
from placement.check import violations
from placement.explain import explain_plan
from placement.model import Plan, Problem
from placement.planners.base import Budget
from placement.planners.greedy import Greedy


def control_plane(parts: Mapping[str, Any], on_end: Callable[[], None]) -> Plane:
    """Build a control plane and start it.

    Parameters
    ----------
    parts : mapping
        ``settings`` (Settings) and ``facts`` (what ``aios status`` shows of the cluster).
    on_end : callable
        Called when the control plane has ended: by ``stop``, or since another one took over.
    """
    settings: Settings = parts["settings"]
    logs.configure(settings.home)
    try:
        return _started(settings, parts["facts"], on_end)
    except CorruptLog as error:  # nothing is repaired: that is for people to decide
        raise CorruptLog(error.message, seq=error.seq, hint=how_to_restore(settings.backups)) from error


def _started(settings: Settings, about: Mapping[str, Any], on_end: Callable[[], None]) -> Plane:
    log = SqlLog(settings.store_url)
    executor = Watched(RayExecutor(settings.storage))
    planner, what_if = ChildPlanner(greedy), ChildPlanner(greedy)  # a question of a user does not hold up the cluster's
    planning = ThreadedPlanning(planner, executor.wake)
    snapshots = Snapshots(folded.dumps, folded.loads)
    keep = Keep(settings.keep_ended_s, settings.keep_ended_most, down_s=settings.keep_down_s)
    loop = Loop(log, executor, planning, judge=violations, version=aios.__version__, snapshots=snapshots, keep=keep)
    metrics = Metrics()
    loop.on_events(metrics)
    loop.on_events(SpanSink(processors(settings.home), instance=settings.store_url))
    loop.on_events(OpenLineageSink(senders(settings.home), instance=settings.store_url))

    loop.on_events(Registrar(settings.home, settings.storage, loop.submit))

    def log_file(workload: str, attempt: int) -> Path:
        return Folder(settings.storage, workload, attempt).log

    facts = {**about, "autoscaling": not about["embedded"] and may_grow()}
    backups = Backups(settings.store_url, settings.backups, settings.backup_every_s, settings.backup_keep)
    plane = Plane(log, executor, loop, what_if, settings.storage, log_file, metrics.render, facts, backups.info)
    app = create_app(plane, settings.api_token_file.read_text(encoding="utf-8").strip())

    def ended() -> None:
        planner.close()
        what_if.close()
        on_end()

    plane.start(app, API_HOST, settings.api_port, ended)
    planner.start()  # not before: requests are answered while its libraries load
    backups.start()
    return plane


def greedy(problem: Problem, budget: Budget) -> Plan:
    """Return greedy's plan, with the binding reason of everything that waits: for when the planning process fails."""
    from placement.planners import ladder  # with OR-Tools, which a control plane does not load as long as all is well

    return explain_plan(problem, ladder.plan(problem, budget, time.monotonic, (Greedy(),)))
