"""The story: submit both pipelines, let an urgent job cut in, ask the endpoints, and collect what happened."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aios.client import Client
from aios.views import EventView, PlanView, WorkloadView
from examples.demo.report import Answer, Report, row_of, shares
from examples.demo.screen import Screen
from pipelines.data.manifest import manifest_of
from pipelines.data.reading import load

HERE = Path(__file__).parent
DISPLACED, URGENT = "digits-train", "urgent-recount"
SERVICES = ("digits-serve", "diagnosis-serve")
CUT_IN_AT_STEP = 20
POLL_S = 0.5
ASKED = 10
"""How many unseen rows each endpoint is asked about."""


class TookTooLong(Exception):
    """The story did not get on within its time."""


class Story:
    """One telling of the story.

    Parameters
    ----------
    client : Client
        A control plane with nothing submitted yet.
    show : Screen
    limit_s : float
        Longest time for all of it.
    """

    def __init__(self, client: Client, show: Screen, limit_s: float = 400.0) -> None:
        self._client, self._show, self._limit_s = client, show, limit_s
        self._begun_s = time.monotonic()

    def tell(self) -> Report:
        # 1. Two teams, two pipelines; together they ask for more than there is.
        self._client.apply_tenants(HERE / "tenants.yaml")
        for name in ("vision", "health"):
            self._client.submit(HERE / f"{name}.yaml")
            self._show.say(f"{name} submitted its pipeline ({HERE.name}/{name}.yaml)")
        # 2. In the middle of vision's training an urgent job arrives.
        self._until(lambda views: views[DISPLACED].checkpoint_step >= CUT_IN_AT_STEP, "training to get on its way")
        self._show.say(f"an urgent job arrives with priority 100 and takes the place of {DISPLACED}")
        self._client.submit(HERE / "urgent.yaml")
        self._until(lambda views: views[URGENT].reason != "" or bool(views[URGENT].attempts), "the planner's word")
        self._explain(URGENT)
        self._until(lambda views: bool(views[URGENT].attempts), "the urgent job to get its place")
        self._explain(DISPLACED)
        # 3. Everything else runs to its end; both models are served.
        self._until(lambda views: all(views[name].ready or views[name].over for name in SERVICES), "both endpoints")
        answers = [answer for name in SERVICES if (answer := self._ask(name)) is not None]
        # 4. The endpoints have answered: put them away.
        for name in SERVICES:
            self._client.stop(name)
        self._until(lambda views: all(view.over for view in views.values()), "everything to end")
        return self._report(answers)

    def _until(self, done: Callable[[dict[str, WorkloadView]], bool], what: str) -> None:
        """Wait for a condition on the workloads by name, showing what changes."""
        while True:
            views = self._views()
            self._show.show(list(views.values()))
            if done(views):
                return
            dead = [view for view in views.values() if view.status == "FAILED"]
            if dead:
                raise TookTooLong(f"{dead[0].name} failed: {dead[0].message or dead[0].error}")
            if time.monotonic() - self._begun_s > self._limit_s:
                raise TookTooLong(f"waited {self._limit_s:.0f} s, at last for {what}")
            self._client.events(after=self._last_event(), limit=1, timeout_s=POLL_S)

    def _views(self) -> dict[str, WorkloadView]:
        return {view.name: view for view in self._client.workloads(all=True)}

    def _last_event(self) -> int:
        return self._client.status().state_version

    def _explain(self, name: str) -> None:
        for explanation in self._client.explain(name):
            self._show.say(f"aios explain {name}: {explanation.status}: {explanation.message}")

    def _ask(self, name: str) -> Answer | None:
        """Send rows that training did not see to an endpoint, and compare with their labels."""
        view = self._views()[name]
        if not view.url:
            return None
        dataset = name.removesuffix("-serve")
        uri = next(found.uri for found in self._client.datasets() if found.name == dataset)
        features = manifest_of(uri)["features"]
        unseen = load(uri, [*features, "target"], side="test").slice(0, ASKED).to_pylist()
        rows, labels = [[row[name] for name in features] for row in unseen], [str(row["target"]) for row in unseen]
        request = urllib.request.Request(
            view.url, json.dumps({"rows": rows}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        predicted = [str(prediction) for prediction in answer["predictions"]]
        self._show.say(f"{view.url} says {' '.join(predicted)}, the labels are {' '.join(labels)}")
        return Answer(name, view.url, answer["model"], predicted, labels)

    def _report(self, answers: list[Answer]) -> Report:
        views, plan, status = self._views(), self._client.plan(), self._client.status()
        tenants = {tenant.name: tenant.weight for tenant in self._client.tenants() if tenant.name != "default"}
        events = self._all_events()
        gpus = {e.data["work"]["name"]: n for e in events if e.type == "Submitted" and (n := _gpus(e.data["work"]))}
        return Report(
            seconds=time.monotonic() - self._begun_s,
            rows=[row_of(view, "STOPPED" if view.service else "SUCCEEDED") for view in views.values()],
            shares=shares(list(views.values()), tenants, gpus, status.now_s),
            scores={
                name.removesuffix("-evaluate"): {
                    key: value for key, value in view.metrics.items() if isinstance(value, float)
                }
                for name, view in views.items()
                if view.kind == "evaluate"
            },
            answers=answers,
            resumed=_resumed(views[DISPLACED], events),
            plan=_plans(plan, events),
            problems=[] if self._waited(events) else ["nothing had to wait for room"],
        )

    def _all_events(self) -> list[EventView]:
        events: list[EventView] = []
        while found := self._client.events(after=events[-1].seq if events else 0, limit=500):
            events.extend(found)
        return events

    def _waited(self, events: list[EventView]) -> bool:
        """Return whether some workload had to wait for others to leave, and not only for its inputs."""
        return any(event.type == "Waits" and event.data["reason"] != "DependencyPending" for event in events)


def _plans(last: PlanView, events: list[EventView]) -> dict[str, Any]:
    """Return how the plans were reached and how good they are proven to be."""
    adopted = [event.data for event in events if event.type == "PlanAdopted"]
    return {
        "plans": len(adopted),
        "proven_optimal": sum(plan["status"] == "optimal" for plan in adopted),
        "planners": sorted({plan["planner"] for plan in adopted}),
        "largest_gap": max((plan["gap"] for plan in adopted), default=0.0),
        "slowest_s": max((plan["wall_s"] for plan in adopted), default=0.0),
        "last_terms": last.terms,
    }


def _gpus(work: dict[str, Any]) -> float:
    """Return how many GPUs a workload's gang holds."""
    bundles = work["demand"]["bundles"]
    return sum(amount for bundle in bundles for name, amount in bundle["resources"]["entries"] if name == "GPU") / 1000


def _resumed(view: WorkloadView, events: list[EventView]) -> dict[str, object]:
    """Return from which step the displaced training went on, and for whom it had to yield."""
    later = [attempt for attempt in view.attempts if attempt.resumed_step > 0]
    ordered = [e for e in events if e.type == "PreemptionOrdered" and e.data["workload"] == view.id]
    if not later or not ordered:
        return {}
    return {
        "workload": view.name,
        "by": ", ".join(ordered[0].data["beneficiaries"]) or ordered[0].data["cause"],
        "from_step": later[0].resumed_step,
        "attempts": len(view.attempts),
    }
