"""The executor on a Ray cluster: launches supervisors, and tells what is there by looking, never by remembering.

Theory of operation: Ray says which nodes and which supervisors exist; each attempt's folder on shared storage says the
rest (``aios.adapters.folder``). An attempt without a supervisor and without a last word is lost. A supervisor is a
named detached actor that is never restarted, so a new control plane finds what an old one left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import structlog
from ray.exceptions import RayError

from aios.adapters.clock import SteadyClock
from aios.adapters.folder import Folder, Held, last_change_ns, live_folders
from aios.adapters.heartbeat import SUPERVISOR, WORKER, beats_of, reap, watch
from aios.adapters.ray_leftovers import Leftovers, actors_of_attempts, kill_actor
from aios.adapters.ray_nodes import observed_nodes
from aios.adapters.ray_private import Private
from aios.adapters.supervisor import Supervisor
from aios.config import NAMESPACE
from aios.kernel.actions import Action, Forget, Kill, Launch, Resize, Stop, attempt_name
from aios.kernel.events import Outcome
from aios.kernel.ports import Observed, ObservedAttempt, Phase

log = structlog.get_logger(__name__)

LOOK_S = 0.1
"""How often ``wait`` looks whether an attempt has changed."""
SETTLE_S = 3.0
"""How long Ray may count what an attempt held after it was forgotten."""
SWEEP_S = 10.0
"""How often things without an attempt are looked for."""
SIGNS_S = 1.0
"""How often signs of life are looked for."""
REAP_S = 10.0
"""How long a request to kill an attempt's processes is kept up."""
APPLY_S = 2.0
"""How long actions are done in one go; what is left comes with the next turn, and requests get in between."""
_OUTCOMES = {"stop": Outcome.STOPPED, "preempt": Outcome.PREEMPTED}


class RayExecutor:
    """Executes on the Ray cluster that this process is connected to, in namespace ``aios``."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage
        self._private = Private.checked()
        self._leftovers = Leftovers()
        self._woken = threading.Event()
        self._released: list[tuple[float, Held]] = []
        self._to_remove: set[str] = set()
        self._swept_s = self._signs_s = 0.0
        self._watched = watch()
        self._reaping: list[tuple[float, list[Any]]] = []
        self._last_change = 0
        self.now_s = SteadyClock().now_s

    def wake(self) -> None:
        self._woken.set()

    def wait(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self._woken.wait(min(LOOK_S, left_s)) or last_change_ns(self._storage) != self._last_change:
                break
        self._woken.clear()

    def observe(self) -> Observed:
        self._last_change = last_change_ns(self._storage)
        try:
            folders = live_folders(self._storage)  # before the actors: who is in here and not there has died
            actors = actors_of_attempts()
            table = ray.nodes()
            folders += self._half_launched(folders, actors)
            seen = self._seen(folders)
            held = {folder: folder.held_now(one) for folder, one in seen.items()}
            hung = self._hung(seen, held)
            attempts = self._observe_attempts(seen, held, actors, table, hung)
            self._remove_leftovers()
            nodes = observed_nodes(table, self._private, [*held.values(), *self._being_released()])
            self._sweep(seen, actors)
        except (RayError, OSError, RuntimeError, ValueError, KeyError) as error:
            log.warning("cluster_did_not_answer", error=str(error))
            return Observed(complete=False)
        return Observed(nodes=nodes, attempts=attempts, complete=True)

    def apply(self, actions: Sequence[Action]) -> None:
        until_s = time.monotonic() + APPLY_S
        for done, action in enumerate(actions, start=1):
            try:
                if isinstance(action, Launch):  # those stand last: what makes room for them must be gone
                    self._remove_leftovers()
                self._apply(action)
            except (RayError, OSError, RuntimeError, ValueError) as error:
                log.warning("action_failed", action=type(action).__name__, error=str(error))
            if time.monotonic() >= until_s and done < len(actions):
                self.wake()
                break
        try:
            self._remove_leftovers()
        except (RayError, RuntimeError, ValueError) as error:
            log.warning("leftovers_stay", attempts=sorted(self._to_remove), error=str(error))

    # Looking.

    def _half_launched(self, folders: Sequence[Folder], actors: Mapping[str, str]) -> tuple[Folder, ...]:
        """Return the attempts whose supervisor runs though their launch was not finished, and finish it."""
        known = {attempt_name(folder.workload, folder.attempt) for folder in folders}
        found = []
        for name in sorted(set(actors) - known):
            _, workload, attempt, *rest = name.split("/")
            folder = Folder(self._storage, workload, int(attempt))
            if not rest and folder.launched() and not folder.closed():
                folder.mark_live()
                found.append(folder)
        return tuple(found)

    def _seen(self, folders: Sequence[Folder]) -> dict[Folder, ObservedAttempt]:
        """Return each attempt as its folder shows it; one whose folder is damaged is given up, and harms no other."""
        seen = {}
        for folder in folders:
            try:
                seen[folder] = folder.observed()
            except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
                log.warning("folder_damaged", workload=folder.workload, attempt=folder.attempt, error=str(error))
                self._release(folder)
                folder.forget()
        return seen

    def _observe_attempts(
        self,
        seen: Mapping[Folder, ObservedAttempt],
        held: Mapping[Folder, Held],
        actors: Mapping[str, str],
        table: Sequence[Mapping[str, Any]],
        hung: Mapping[Folder, str],
    ) -> tuple[ObservedAttempt, ...]:
        alive = {str(node["NodeID"]) for node in table if node["Alive"]}
        found = []
        for folder, one in seen.items():
            why = ""
            if gone := sorted(set(held[folder].nodes) - alive):
                why = f"node {gone[0][:8]} went away"
            elif attempt_name(folder.workload, folder.attempt) not in actors:
                why = "its supervisor went away"
            elif folder in hung:
                why = f"its supervisor hangs: {hung[folder]}"
            if why and one.phase is not Phase.ENDED:
                self._end(folder, Outcome.LOST, why)
                one = folder.observed()
            found.append(one)
        return tuple(found)

    def _hung(self, seen: Mapping[Folder, ObservedAttempt], held: Mapping[Folder, Held]) -> dict[Folder, str]:
        """Return the attempts whose supervisor gives no signs of life, and why that is no chance."""
        now_s = time.monotonic()
        if now_s < self._signs_s + SIGNS_S:
            return {}
        self._signs_s = now_s
        self._reaping = [(until_s, sent) for until_s, sent in self._reaping if until_s > now_s]
        signs, whose = {}, {}
        for folder, one in seen.items():
            if one.phase is Phase.ENDED:
                continue
            for who, sign in beats_of(folder, held[folder].fence, {SUPERVISOR}).items():
                signs[who], whose[who] = sign, folder
        hung = self._watched.look(signs)
        return {whose[who]: why for who, why in hung.items()}

    def _being_released(self) -> list[Held]:
        """Return what attempts held until a moment ago: Ray may not have cleared it away yet."""
        now_s = time.monotonic()
        self._released = [(until_s, held) for until_s, held in self._released if until_s > now_s]
        return [held for _, held in self._released]

    def _sweep(self, folders: Iterable[Folder], actors: Mapping[str, str]) -> None:
        if time.monotonic() < self._swept_s + SWEEP_S:
            return
        self._swept_s = time.monotonic()
        known = {attempt_name(folder.workload, folder.attempt) for folder in folders}
        self._leftovers.sweep(actors, known)

    # Acting.

    def _apply(self, action: Action) -> None:
        match action:
            case Launch():
                self._launch(action)
            case Stop(workload, attempt, why, grace_s):
                folder = Folder(self._storage, workload, attempt)
                if folder.is_live() and folder.ended() is None:
                    folder.ask_to_end(why, self.now_s(), grace_s)
            case Resize(workload, attempt, _, nodes, grace_s):
                folder = Folder(self._storage, workload, attempt)
                if folder.is_live() and folder.ended() is None:
                    folder.ask_to_resize(nodes, grace_s)
            case Kill(workload, attempt):
                folder = Folder(self._storage, workload, attempt)
                asked = folder.asked_to_end()
                outcome = _OUTCOMES[asked[0]] if asked else Outcome.LOST
                self._end(folder, outcome, "it was ended by the control plane")
            case Forget(workload, attempt):
                self._forget(Folder(self._storage, workload, attempt))

    def _launch(self, action: Launch) -> None:
        folder = Folder(self._storage, action.work.id, action.attempt)
        if folder.is_live():
            return
        bundles = tuple(bundle.resources for bundle in action.work.demand.bundles[: len(action.nodes)])
        current = folder.prepare(Held(action.fence, action.nodes, bundles))
        if current > action.fence:
            folder.mark_live()
            self._end(folder, Outcome.LOST, f"fence {action.fence} is old: {current} has been given since")
            return
        name = attempt_name(action.work.id, action.attempt)
        ray.remote(Supervisor).options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=8,
            label_selector={"ray.io/node-id": action.nodes[0]},
            scheduling_strategy="DEFAULT",
        ).remote(action, str(self._storage))
        folder.mark_live()

    def _end(self, folder: Folder, outcome: Outcome, error: str) -> None:
        """End an attempt that has not said itself how it ended, and take all that it holds."""
        if folder.is_live():
            last = replace(folder.latest(), phase=Phase.ENDED.value)
            if folder.ended() is None:
                folder.end(replace(last, outcome=outcome.value, error=error))
                self._reap(folder)
        self._release(folder)

    def _reap(self, folder: Folder) -> None:
        """Have the attempt's processes killed on their nodes: one that is stopped does not hear Ray."""
        left = beats_of(folder, folder.held().fence, {SUPERVISOR, WORKER})
        if left:
            self._reaping.append((time.monotonic() + REAP_S, reap(left)))

    def _forget(self, folder: Folder) -> None:
        if folder.is_live():
            with suppress(FileNotFoundError, ValueError, TypeError):  # damaged: it counts as others' for a moment
                self._released.append((time.monotonic() + SETTLE_S, folder.held()))
        self._release(folder)
        folder.forget()

    def _release(self, folder: Folder) -> None:
        name = attempt_name(folder.workload, folder.attempt)
        kill_actor(name)
        self._to_remove.add(name)

    def _remove_leftovers(self) -> None:
        if self._to_remove:
            self._leftovers.remove(self._to_remove)
            self._to_remove.clear()
