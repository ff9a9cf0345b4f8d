"""The mutations that ``benchmarks.kernel_mutants`` applies: each a bug that somebody might well write one day."""

from __future__ import annotations

from benchmarks.mutations import Mutation

_NOTICE, _PROGRESS = "aios/kernel/notice.py", "aios/kernel/progress.py"
_EVOLVE, _LIFE = "aios/kernel/evolve.py", "aios/kernel/lifecycle.py"
_RECONCILE, _RETRY = "aios/kernel/reconcile.py", "aios/kernel/retry.py"
_QUEUE, _ADOPT = "aios/kernel/queue.py", "aios/kernel/adopt.py"
_OPERATE, _SUBMIT = "aios/kernel/operate.py", "aios/kernel/submitting.py"
_LIMITS, _INPUTS = "aios/kernel/limits.py", "aios/kernel/inputs.py"
_ROOM, _CONCURRENCY = "aios/kernel/room.py", "aios/kernel/concurrency.py"
_LOOP, _MEMORY = "aios/control/loop.py", "aios/store/memory.py"
_FOLDED, _SIM = "aios/store/folded.py", "aios/adapters/sim.py"
_FENCE, _FOLDER = "aios/adapters/fence.py", "aios/adapters/folder.py"
_SQL, _CHAIN, _WALK = "aios/store/sql.py", "aios/store/chain.py", "aios/store/walk.py"


def _seen(file: str, bug: str, old: str, new: str) -> Mutation:
    """Return a mutation that the simulator is to notice."""
    return Mutation(file, bug, old, new, ())


MUTANTS: tuple[Mutation, ...] = (
    # What is noticed of the cluster
    _seen(
        _NOTICE,
        "what does not show in a partial answer counts as lost",
        "elif seen is None and observed.complete and attempt.started_s is not None:",
        "elif seen is None and attempt.started_s is not None:",
    ),
    _seen(
        _NOTICE,
        "a node that does not show in a partial answer counts as down",
        "    if observed.complete:\n        for id in sorted(fold.state.nodes)",
        "    if True:\n        for id in sorted(fold.state.nodes)",
    ),
    _seen(
        _NOTICE,
        "a gang goes on without the node that it lost",
        "    if lost_node is not None:\n        lost",
        "    if False:\n        lost",
    ),
    _seen(
        _NOTICE,
        "a checkpoint is recorded at each look",
        "if seen.checkpoint and (seen.step > workload.step or not workload.checkpoint):",
        "if seen.checkpoint:",
    ),
    _seen(_NOTICE, "a start is recorded at each look", "if runs and (attempt.started_s is None or news):", "if runs:"),
    _seen(
        _NOTICE,
        "who was killed at the end of its grace counts as lost",
        "        if attempt.deadline_s is not None:\n            outcome",
        "        if False:\n            outcome",
    ),
    _seen(
        _NOTICE,
        "what was made is not published",
        "        _publish(fold, ended.at_s, ended.workload, ended.attempt, seen)\n",
        "        pass\n",
    ),
    _seen(
        _NOTICE,
        "that it began at an older checkpoint is not noticed",
        "if seen.resumed is not None and not attempt.fell_back:",
        "if False:",
    ),
    _seen(
        _NOTICE,
        "a drained node is used again when it next shows",
        "if id in fold.state.drains and seen.node.state is NodeState.READY:",
        "if False:",
    ),
    _seen(
        _NOTICE,
        "a forgotten requeue: nothing follows from the end of an attempt",
        "    fold.record(replace(follows, why=why) if why and isinstance(follows, Requeued) else follows)",
        "    if isinstance(follows, Finished):\n        fold.record(follows)",
    ),
    # The fold
    _seen(
        _EVOLVE,
        "a fence is given twice",
        "Granted(now_s, id, number, self.state.fence + 1,",
        "Granted(now_s, id, number, max(1, self.state.fence),",
    ),
    _seen(
        _EVOLVE, "what has ended is still counted among the living", "live=_not_among(state.live, event.workload), ", ""
    ),
    _seen(
        _EVOLVE,
        "nodes stay kept for work that was granted others",
        "fence=max(state.fence, event.fence), waits=_without(state, event.workload))",
        "fence=max(state.fence, event.fence))",
    ),
    _seen(
        _EVOLVE,
        "nodes stay kept for work that was suspended",
        "        case SuspendRequested():\n            return replace(state, waits=_without(state, event.workload))",
        "        case SuspendRequested():\n            return state",
    ),
    _seen(_LIFE, "a new attempt forgets what was saved", "        resumed_step=workload.step,\n", ""),
    _seen(
        _LIFE,
        "the checkpoint before the latest is not remembered",
        "    return replace(saved, before_checkpoint=workload.checkpoint, before_step=workload.step)",
        "    return saved",
    ),
    _seen(
        _LIFE,
        "a stop gives who yields already more grace",
        "        deadline_s = min(deadline_s, current.deadline_s)\n",
        "        pass\n",
    ),
    _seen(
        _LIFE,
        "work that was suspended is queued again at once",
        "    if workload.suspended_s is not None:\n        status, reason = Status.PAUSED",
        "    if False:\n        status, reason = Status.PAUSED",
    ),
    # Moving on
    _seen(
        _PROGRESS,
        "work is not told to leave a node that is drained",
        '        fold.record(PreemptionOrdered(now_s, workload.id, attempt.number, "node", (), now_s + grace_s))',
        "        pass",
    ),
    _seen(
        _PROGRESS,
        "what needs work that failed waits for ever",
        "    if dead:\n        need, how",
        "    if False:\n        need, how",
    ),
    _seen(
        _PROGRESS,
        "kept nodes are taken before those who yield are gone",
        "        elif room.fits_now(demand, waits.nodes):\n            room.take",
        "        elif True:\n            room.take",
    ),
    _seen(
        _PROGRESS, "kept nodes are kept though they have gone", "        if not nodes_ready:\n", "        if False:\n"
    ),
    _seen(
        _PROGRESS,
        "kept nodes are given to work of a paused tenant",
        "(held.reason == PAUSED or not kept(state, id))",
        "not kept(state, id)",
    ),
    _seen(
        _RETRY,
        "who fails is tried again at once",
        'Requeued(now_s, workload.id, "UserCodeError", now_s + backoff_s(failed))',
        'Requeued(now_s, workload.id, "UserCodeError", now_s)',
    ),
    _seen(
        _RETRY,
        "lost nodes use up the retries of work",
        "sum(attempt.outcome is Outcome.FAILED for attempt in workload.attempts)",
        "sum(attempt.outcome in (Outcome.FAILED, Outcome.LOST) for attempt in workload.attempts)",
    ),
    _seen(_LIMITS, "a time limit is not heeded", "now_s < ends_s - _notice_s(workload):", "True:"),
    _seen(
        _INPUTS,
        "a version's number is given twice",
        "return versions[-1].version + 1 if versions else 1",
        "return versions[-1].version if versions else 1",
    ),
    # Who may start where
    _seen(_QUEUE, "the back-off is not heeded", "        and workload.not_before_s <= now_s\n", ""),
    _seen(
        _QUEUE,
        "work starts after what it needs has failed",
        "return need.status is Status.SUCCEEDED or",
        "return need.status.over or",
    ),
    _seen(
        _PROGRESS,
        "who waits and was told to stop waits on",
        "    if workload.stop_requested_s is not None:\n        fold.record(Finished",
        "    if False:\n        fold.record(Finished",
    ),
    _seen(
        _ADOPT,
        "nodes are granted while others still hold them",
        "    if not leaving and room.fits_now(demand, one.nodes):",
        "    if not leaving:",
    ),
    _seen(
        _ADOPT,
        "nobody judges the plan",
        "        wrong = judge(present, part) if grants or victims else ()\n",
        "        wrong: Sequence[object] = ()\n",
    ),
    _seen(
        _ADOPT,
        "who yields gets no grace",
        "            now_s + workload.work.grace_s,\n        )\n    )\n\n\ndef _send",
        "            now_s,\n        )\n    )\n\n\ndef _send",
    ),
    _seen(
        _ADOPT,
        "a plan that could not be used counts as settled",
        "    return not refused and not proposed.failed and question(present) == proposed.ask.question",
        "    return True",
    ),
    _seen(
        _ADOPT,
        "one is said to yield for work that gets nothing",
        "[_for_those(granted, order) for order in victims.values()]",
        "list(victims.values())",
    ),
    _seen(
        _ROOM,
        "what is held is not taken off the room",
        "        self._now = _Free(state, [foreign, *held])",
        "        self._now = _Free(state, [foreign])",
    ),
    _seen(_CONCURRENCY, "work of a paused tenant starts", "        if paused is not None:\n", "        if False:\n"),
    # What people ask
    _seen(
        _OPERATE,
        "a stop that is asked for twice is recorded twice",
        "    if not asked_before:\n        fold.record(StopRequested",
        "    if not workload.status.over:\n        fold.record(StopRequested",
    ),
    _seen(
        _OPERATE,
        "work that was suspended runs on",
        '        _yield(fold, now_s, fold.state.workloads[workload.id], "suspend")\n',
        "        pass\n",
    ),
    _seen(
        _SUBMIT,
        "the key of a request is not looked up",
        "    ids = state.keys.get(submit.key, ()) if submit.key else ()\n    if not ids:",
        "    ids = state.keys.get(submit.key, ()) if submit.key else ()\n    if True:",
    ),
    _seen(
        _SUBMIT,
        "a request that was answered is taken for a new one",
        "    if older.content == work.content and older.tenant == work.tenant:\n        return older.id\n",
        "",
    ),
    # What is done
    _seen(_RECONCILE, "the grace is not heeded", "    if now_s >= attempt.deadline_s:\n", "    if now_s >= 0:\n"),
    _seen(
        _RECONCILE,
        "who ignores the notice is never killed",
        "        return [Kill(workload.id, attempt.number)]\n",
        "        return []\n",
    ),
    _seen(
        _RECONCILE,
        "nobody is told to yield: they are killed when the grace is over",
        "    return [Stop(workload.id, attempt.number, why, attempt.deadline_s - now_s)]",
        "    return []",
    ),
    _seen(
        _RECONCILE,
        "who yields is told to stop, and saves nothing",
        'why = "stop" if workload.stop_requested_s is not None else "preempt"',
        'why = "stop"',
    ),
    _seen(
        _RECONCILE,
        "a launch that was lost is not asked again",
        "return [_launch(state, workload, attempt)] if seen is None and attempt.started_s is None else []",
        "return [_launch(state, workload, attempt)] if seen is None and attempt.granted_s == now_s else []",
    ),
    _seen(
        _RECONCILE,
        "what is over is left running in the cluster",
        "    return [forget] if seen.phase is Phase.ENDED else [Kill(seen.workload, seen.attempt), forget]",
        "    return [forget] if seen.phase is Phase.ENDED else []",
    ),
    _seen(
        _RECONCILE,
        "an attempt is launched without its checkpoint",
        "        workload.checkpoint,\n        workload.step,\n",
        '        "",\n        0,\n',
    ),
    # The loop
    _seen(_LOOP, "nobody asks the log before something is done", "            self._confirm(turn, now_s)\n", ""),
    _seen(
        _LOOP,
        "it acts though nothing could be recorded",
        "            self._store_failed(batch, error)\n            return None\n",
        "            self._store_failed(batch, error)\n",
    ),
    _seen(
        _LOOP,
        "after an error of the store it goes on from what it believed",
        "        self._asked = None\n        self._in_trouble()\n        self._come_level()\n",
        "        self._asked = None\n        self._in_trouble()\n",
    ),
    _seen(
        _LOOP,
        "what was read once is folded again",
        "            self._state, self._sequence = evolve(event, self._state), sequence\n",
        "            self._state = evolve(event, self._state)\n",
    ),
    _seen(
        _LOOP,
        "a request that could not be recorded is forgotten",
        "        else:\n            self._requests.extendleft(reversed(batch))\n",
        "",
    ),
    _seen(
        _LOOP,
        "time goes back to where this machine's clock is",
        "        return max(self._logged_s, self._executor.now_s() + self._ahead_s)",
        "        return self._executor.now_s()",
    ),
    _seen(
        _LOOP,
        "after a clock was set back time stands still until it has caught up",
        "        self._ahead_s = max(0.0, self._logged_s - self._executor.now_s())\n",
        "",
    ),
    _seen(
        _LOOP,
        "a planner that failed is not asked again",
        "            self._retry_s = now_s + self._patience_s\n",
        "            self._retry_s = None\n",
    ),
    _seen(
        _LOOP,
        "a planner is not asked again when things have changed",
        "        if turn.ask is not None and not turn.settled and (again or question != self._asked):",
        "        if turn.ask is not None and not turn.settled and self._asked is None:",
    ),
    # The store
    _seen(
        _MEMORY,
        "the epoch of a writer is not compared",
        "            self._refuse_stale(epoch)\n            self._events.extend(events)\n",
        "            self._events.extend(events)\n",
    ),
    _seen(
        _MEMORY,
        "a batch is written in part",
        "            self._events.extend(events)\n",
        "            self._events.extend(events[: max(1, len(events) - 1)])\n",
    ),
    _seen(
        _MEMORY,
        "events are written twice",
        "            self._events.extend(events)\n",
        "            self._events.extend([*events, *events[-1:]])\n",
    ),
    _seen(
        _MEMORY,
        "reading goes on one event too late",
        "            events = self._events[after:]\n",
        "            events = self._events[after + 1 :] if after else self._events[:]\n",
    ),
    _seen(
        _FOLDED,
        "a snapshot forgets which nodes are drained by hand",
        "    return State(**whole)",
        '    return State(**{**whole, "drains": Map()})',
    ),
    _seen(
        _FOLDED,
        "a snapshot forgets what is kept for whom",
        "    return State(**whole)",
        '    return State(**{**whole, "waits": Map()})',
    ),
    _seen(
        _LOOP,
        "the log's time is not read from the snapshot",
        "            self._state, self._logged_s = saved\n",
        "            self._state = saved[0]\n",
    ),
    # The fence of the storage
    _seen(
        _SIM,
        "storage takes what an attempt of the past writes",
        "        return attempt.launch.fence < self._fences.get(attempt.launch.work.id, 0)",
        "        return False",
    ),
    Mutation(
        _FENCE,
        "a fence falls",
        "        if fence > current:\n",
        "        if fence != current:\n",
        ("aios/test_fence", "aios/test_folder"),
    ),
    Mutation(
        _FENCE,
        "an old fence may write",
        "    if fence < current:\n",
        "    if fence < 0:\n",
        ("aios/test_fence", "aios/test_folder"),
    ),
    Mutation(
        _FENCE,
        "a second supervisor takes what was claimed",
        "            os.link(name, path)\n",
        "            os.replace(name, path)\n            Path(name).touch()\n",
        ("aios/test_fence", "aios/test_folder"),
    ),
    Mutation(
        _FOLDER,
        "an attempt that was ended from outside may write",
        "        if self.closed():\n            raise",
        "        if False:\n            raise",
        ("aios/test_fence", "aios/test_folder"),
    ),
    Mutation(
        _FOLDER,
        "a later request gives more grace",
        "            deadline_s = min(deadline_s, before[1])\n",
        "            pass\n",
        ("aios/test_fence", "aios/test_folder"),
    ),
    Mutation(
        _SQL,
        "the epoch of a writer is not compared",
        "            _refuse_stale(meta, epoch)\n            rows",
        "            rows",
        ("contract/test_log_contract",),
    ),
    Mutation(
        _SQL,
        "the epoch of who saves a snapshot is not compared",
        "            _refuse_stale(read_meta(connection, self.name, lock=True), epoch)\n",
        "",
        ("contract/test_log_contract",),
    ),
    Mutation(
        _SQL,
        "the head of the log is not moved",
        "            connection.execute(meta_table.update().values(head))\n",
        "",
        ("contract/test_log_contract",),
    ),
    Mutation(
        _CHAIN,
        "a checksum leaves out the event before",
        '    text = f"{before}\\n{seq}',
        '    text = f"{seq}',
        ("aios/test_store_sql",),
    ),
)
