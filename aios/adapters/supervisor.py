"""The supervisor of one attempt: runs the engine in its process, reports, and sees that it ends when it should.

It remembers nothing that its folder does not hold. Whoever ends the attempt first (the engine, the deadline, the
control plane) writes ``ended.json``, and a supervisor that finds itself ended or fenced off leaves at once.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from aios.adapters.blame import by_ray, dead
from aios.adapters.folder import Folder, Report, json_of
from aios.adapters.heartbeat import BEAT_S as SIGN_S
from aios.adapters.heartbeat import SUPERVISOR, WORKER, Alive, Beat, Living, beats_of, reap, watch
from aios.adapters.processes import kill_descendants
from aios.checkpoints import where_to_begin
from aios.config import NAMESPACE
from aios.engines import Input, Preempted, Result, RunContext, WorkloadFailed, engine_of
from aios.kernel.actions import Launch, attempt_name
from aios.kernel.events import Artefact, Outcome
from aios.kernel.ports import Phase

BEAT_S = 0.25
"""How often the supervisor looks at its folder."""
REPORTING_S = 10.0
"""After the first worker reported, how long the others may take before the attempt counts as running."""
AGAIN_S = 1.0
"""How long after storage refused an attempt's last word it is asked again."""
SILENT_S = 30.0
"""How long an engine may take before it counts as running though no worker reported."""
NODE_DEATH_S = 12.0
"""How long Ray may take to notice that a node died, after its workers did."""
LONGEST_ERROR = 8_000
"""Characters of an error, frames and all, that are recorded; the log has the rest."""

_HERE: dict[str, Supervisor] = {}
"""The supervisor that lives in this process, by the name of its attempt."""


@dataclass(frozen=True, slots=True)
class ActorReporter:
    """Reports to the supervisor of the attempt ``name`` from any process of the cluster."""

    name: str

    def ran_on(self, node_id: str, bundle: int | None = None) -> None:
        self._tell("ran_on", node_id, bundle)

    def saved(self, uri: str, step: int) -> None:
        self._tell("saved", uri, step)

    def progress(self, metrics: Mapping[str, Any]) -> None:
        self._tell("progress", json_of(metrics))

    def log(self, line: str) -> None:
        self._tell("log", line)

    def preempting(self) -> bool:
        if self.name in _HERE:
            return _HERE[self.name].preempting()
        try:
            return bool(ray.get(self._actor().preempting.remote(), timeout=10))
        except (RayError, ValueError):  # the supervisor is gone, and Ray ends this worker too
            return False

    def _tell(self, method: str, *args: object) -> None:
        if self.name in _HERE:
            getattr(_HERE[self.name], method)(*args)
            return
        try:
            getattr(self._actor(), method).remote(*args)
        except (RayError, ValueError):
            sys.stderr.write(f"{self.name}: its supervisor is gone; {method} was not reported\n")

    def _actor(self) -> Any:
        return ray.get_actor(self.name, namespace=NAMESPACE)


class Supervisor:
    """A threaded Ray actor; its methods only note things, and what must last is in the folder."""

    def __init__(self, launch: Launch, storage: str) -> None:
        self._launch = launch
        self._name = attempt_name(launch.work.id, launch.attempt)
        self._folder = Folder(Path(storage), launch.work.id, launch.attempt)
        self._report = Report()
        self._lock = threading.Lock()
        self._by_bundle: dict[int, str] = {}
        self._others: list[str] = []
        self._began_s = time.monotonic()
        self._until_s = float("inf")
        self._asked: tuple[str, float] | None = None
        self._reported_s: float | None = None
        self._works = False
        self._dirty = False
        self._wake = threading.Event()
        self._done = threading.Event()
        if self._folder.closed() or not self._folder.claim(f"{socket.gethostname()} {os.getpid()}"):
            raise RuntimeError(f"{self._name} was begun before, or is over; its engine does not run twice")
        _HERE[self._name] = self
        self._beat_of_life = Beat(self._folder, launch.fence, Living.this_process(SUPERVISOR))
        self._beat_of_life.begin()
        self._signed_s = time.monotonic()
        self._watched = watch()
        self._log_to_folder()
        self._context = self._make_context()
        threading.Thread(target=self._run, name="engine", daemon=True).start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    # What engines and workers call.

    def ran_on(self, node_id: str, bundle: int | None = None) -> None:
        with self._lock:
            if bundle is not None:
                self._by_bundle[bundle] = node_id
            elif len(self._others) < len(self._launch.nodes) or node_id not in self._others:
                self._others.append(node_id)
            self._reported_s = self._reported_s or time.monotonic()
            nodes = (*(self._by_bundle[i] for i in sorted(self._by_bundle)), *self._others)
            self._note(replace(self._report, nodes=nodes))

    def saved(self, uri: str, step: int) -> None:
        with self._lock:
            self._works = True
            if step >= self._report.step:
                self._note(replace(self._report, checkpoint=uri, step=step))

    def progress(self, metrics: str) -> None:
        with self._lock:
            self._works = self._dirty = True
            self._report = replace(self._report, metrics=metrics)  # written at the next beat

    def log(self, line: str) -> None:
        with suppress(OSError):  # a full disk loses a line, and must not lose the attempt
            os.write(1, f"{line.rstrip()}\n".encode(errors="replace"))

    def preempting(self) -> bool:
        return self._context.preempting()

    def pid(self) -> int:
        return os.getpid()

    def _ready(self, artefacts: Sequence[Artefact]) -> None:
        with self._lock:
            self._note(replace(self._report, phase=Phase.READY.value, artefacts=tuple(artefacts)))

    def _resized(self, size: int) -> None:
        with self._lock:
            kept = {bundle: node for bundle, node in self._by_bundle.items() if bundle < size}
            self._by_bundle, self._others = kept, []
            nodes = tuple(kept[bundle] for bundle in sorted(kept))
            self._note(replace(self._report, size=size, nodes=nodes))

    def _note(self, report: Report) -> None:
        self._report, self._dirty = report, True
        self._wake.set()

    # The engine's thread.

    def _run(self) -> None:
        try:
            work = self._launch.work
            engine = engine_of(work.kind)
            spec = engine.spec_type.model_validate_json(work.spec)
            self._begin_at_what_is_sound()
            end = self._succeeded(engine.run(spec, self._context))
        except BaseException as error:  # the user's code and the engines may raise anything; here it becomes a fact
            end = self._ended_by(error)
        self._end(end)

    def _begin_at_what_is_sound(self) -> None:
        """Continue from the latest checkpoint that is whole, and say so where that is not the one that was meant."""
        launch = self._launch
        begin = where_to_begin(
            ((launch.checkpoint, launch.step), (launch.before_checkpoint, launch.before_step)),
        )
        if not begin.why:
            return
        self.log(f"{begin.why}; it goes on from {f'step {begin.step}' if begin.checkpoint else 'the beginning'}")
        self._context.checkpoint, self._context.step = begin.checkpoint, begin.step
        with self._lock:
            said = replace(self._report, resumed=begin.checkpoint, resumed_step=begin.step, resumed_why=begin.why)
            self._note(said)

    def _succeeded(self, result: Result) -> Report:
        outcome = Outcome.STOPPED if self._context.stop_reason == "stop" else Outcome.SUCCEEDED
        metrics = json_of(result.metrics) if result.metrics else self._report.metrics
        artefacts = tuple(result.artefacts) or self._report.artefacts
        return replace(self._report, outcome=outcome.value, artefacts=artefacts, metrics=metrics)

    def _ended_by(self, error: BaseException) -> Report:
        asked = self._context.stop_reason
        if asked == "stop":
            return replace(self._report, outcome=Outcome.STOPPED.value)
        if isinstance(error, Preempted) and asked == "preempt":
            return replace(self._report, outcome=Outcome.PREEMPTED.value)
        message, exit_code = self._told(error)
        if isinstance(error, SystemExit) and exit_code == 0:
            return replace(self._report, outcome=Outcome.SUCCEEDED.value)
        if gone := self._gone_nodes(error):
            return replace(self._report, outcome=Outcome.LOST.value, error=f"node {gone[0][:8]} went away: {message}")
        told = f"{message}\n\n{error.detail}" if isinstance(error, WorkloadFailed) and error.detail else message
        left = error.artefacts if isinstance(error, WorkloadFailed) else ()
        return replace(
            self._report, outcome=Outcome.FAILED.value, error=told[:LONGEST_ERROR], exit_code=exit_code, artefacts=left
        )

    def _told(self, error: BaseException) -> tuple[str, int | None]:
        """Return what the user reads first; the frames go to the log, and a user's own behind the sentence."""
        if isinstance(error, WorkloadFailed):
            self.log(f"{error.message}\n{error.detail}")
            return error.message, error.exit_code
        self.log("".join(traceback.format_exception(error)))
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            return f"the code left with exit status {error.code}", code
        if isinstance(error, Preempted):
            return "the engine yielded though nobody had asked it to", None
        return f"engine error: {type(error).__name__}: {error}".splitlines()[0][:2000], None

    def _gone_nodes(self, error: BaseException) -> list[str]:
        """Return nodes of the grant that are dead; where Ray itself failed, give it time to notice."""
        deadline_s = time.monotonic() + (NODE_DEATH_S if by_ray(error) else 0)
        while not (gone := dead(self._launch.nodes)) and time.monotonic() < deadline_s:
            self._done.wait(0.5)
        return gone

    def _end(self, end: Report) -> None:
        with self._lock:
            self._done.set()
            self._report = replace(end, phase=Phase.ENDED.value)
        while not self._said():
            time.sleep(AGAIN_S)

    def _said(self) -> bool:
        """Return whether the last word is on storage; a full disk may have room again later."""
        try:
            self._folder.end(self._report)
        except OSError as error:
            self.log(f"{self._name}: cannot say how it ended: {error}")
            return False
        with suppress(OSError):
            sys.stdout.flush()
        return True

    # The watching thread.

    def _watch(self) -> None:
        while not self._done.is_set():
            self._wake.wait(BEAT_S)
            self._wake.clear()
            try:
                self._beat()
            except (OSError, ValueError) as error:  # what storage does not give now it may give at the next beat
                self.log(f"{self._name}: cannot use its folder: {error}")

    def _beat(self) -> None:
        if (asked := self._folder.asked_to_end()) is not None:
            self._ask(*asked)
        if self._folder.current_fence() > self._launch.fence or self._folder.ended() is not None:
            self._leave_unless_done()
        if time.monotonic() >= self._signed_s + SIGN_S:
            self._signed_s = time.monotonic()
            self._beat_of_life.renew()
            self._see_that_workers_live()
        if (wanted := self._folder.asked_to_resize()) is not None and not self._context.stop_reason:
            self._context.wanted, self._context.wanted_grace_s = wanted
        with self._lock:
            if self._report.phase == Phase.LAUNCHING.value and self._runs():
                self._report, self._dirty = replace(self._report, phase=Phase.RUNNING.value), True
            if self._dirty and not self._done.is_set():
                self._dirty = False
                self._folder.report(self._report)

    def _runs(self) -> bool:
        """Return whether the work goes on: all bundles have reported, or it shows in another way."""
        now_s = time.monotonic()
        if self._works or len(self._report.nodes) >= len(self._launch.nodes):
            return True
        if self._reported_s is not None:
            return now_s > self._reported_s + REPORTING_S
        return now_s > self._began_s + SILENT_S

    def _see_that_workers_live(self) -> None:
        """Give the attempt up where one of its workers hangs: a gang that is not whole is none."""
        workers = beats_of(self._folder, self._launch.fence, {WORKER})
        for who, why in self._watched.look(workers).items():
            if why.startswith("its process is gone"):  # Ray notices that, and tells the engine
                Beat(self._folder, self._launch.fence, who).end()
                continue
            with self._lock:
                if not self._done.is_set():
                    error = f"a worker on node {who.node[:8]} hangs: {why}"
                    self._folder.end(
                        replace(self._report, phase=Phase.ENDED.value, outcome=Outcome.LOST.value, error=error)
                    )
            sent = reap(workers)
            ray.wait(sent, num_returns=len(sent), timeout=2.0)
            self._leave_unless_done()

    def _ask(self, why: str, left_s: float) -> None:
        if self._asked != (why, left_s):
            self._asked = why, left_s
            self._until_s = min(self._until_s, time.monotonic() + left_s)
        if self._context.stop_reason != why:
            self._context.ends_s = time.time() + left_s
            self._context.stop_reason = why
            self._context.stop_event.set()
            with self._lock:
                self._note(replace(self._report, phase=Phase.STOPPING.value))
        if time.monotonic() > self._until_s:
            outcome = Outcome.PREEMPTED if why == "preempt" else Outcome.STOPPED
            error = "it did not end within its grace and was ended"
            with self._lock:
                if not self._done.is_set():
                    end = replace(self._report, phase=Phase.ENDED.value, outcome=outcome.value, error=error)
                    self._folder.end(end)
            self._leave_unless_done()

    def _leave_unless_done(self) -> None:
        """End this process and its children, unless the engine has just ended by itself."""
        if not self._done.is_set():
            with suppress(OSError):
                sys.stdout.flush()
            kill_descendants(os.getpid())
            os._exit(1)

    # Setting up.

    def _log_to_folder(self) -> None:
        log = os.open(self._folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    def _make_context(self) -> RunContext:
        launch, work = self._launch, self._launch.work
        return RunContext(
            workload=work.id,
            name=work.name,
            tenant=work.tenant,
            attempt=launch.attempt,
            fence=launch.fence,
            nodes=tuple(launch.nodes),
            bundles=tuple(b.resources for b in work.demand.bundles[: len(launch.nodes)]),
            inputs={one.role: Input(one.reference, one.uri, json.loads(one.meta)) for one in launch.inputs},
            outputs=dict(work.outputs),
            bases={one.role: Input(one.reference, one.uri, json.loads(one.meta)) for one in launch.bases},
            dir=self._folder.work,
            storage=self._folder.storage,
            reporter=ActorReporter(self._name),
            checkpoint=launch.checkpoint,
            step=launch.step,
            grace_s=work.grace_s,
            ready=self._ready,
            alive=Alive(self._folder, launch.fence),
            resized=self._resized,
            check_fence=self._fence_check(),
        )

    def _fence_check(self) -> Callable[[], None]:
        return _FenceCheck(self._folder, self._launch.fence)


@dataclass(frozen=True, slots=True)
class _FenceCheck:
    """A check that travels to workers."""

    folder: Folder
    fence: int

    def __call__(self) -> None:
        self.folder.check_fence(self.fence)
