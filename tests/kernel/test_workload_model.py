"""One workload beside a small model of it: whatever people ask and the cluster shows, in any order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from aios.kernel.events import Outcome
from aios.kernel.ports import Accepted, Phase, PreemptWork, Resume, StopWork, Suspend
from aios.kernel.state import Status
from tests.support.bench import Bench
from tests.support.building import submit, want

RETRIES = 2
GRACE_S = 5.0


class OneWorkload(RuleBasedStateMachine):
    """The model knows what was asked and what has ended, and says which status follows."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.bench.turn(submit(want("w", 2, max_retries=RETRIES, grace_s=GRACE_S)))
        self.stop = self.suspended = self.over = False
        self.open = self.runs = self.told = False
        self.n_attempts = self.n_failed = self.step = 0

    @precondition(lambda self: not self.open)
    @rule()
    def a_plan_gives_it_nodes(self) -> None:
        wants = not (self.over or self.suspended) and self.bench["w"].not_before_s <= self.bench.now_s + 1.0
        self.bench.turn(plan=self.bench.plan({"w": ("n1", "n2")}))
        if wants:
            self.open, self.runs, self.told = True, False, False
            self.n_attempts += 1
            self.bench.sees("w", Phase.LAUNCHING, nodes=())

    @precondition(lambda self: self.open)
    @rule(more=st.integers(0, 5))
    def it_is_seen_at_work(self, more: int) -> None:
        self.step += more
        uri = f"mem://{self.step}" if self.step else ""
        phase = Phase.STOPPING if self.told else Phase.RUNNING
        self.bench.sees("w", phase, checkpoint=uri, step=self.step)
        self.bench.turn()
        self.runs = True

    @precondition(lambda self: self.open)
    @rule(outcome=st.sampled_from((Outcome.SUCCEEDED, Outcome.FAILED, Outcome.LOST)))
    def it_ends(self, outcome: Outcome) -> None:
        uri = f"mem://{self.step}" if self.step else ""
        self.bench.sees_end("w", outcome, checkpoint=uri, step=self.step, exit_code=1)
        self.bench.turn()
        self._ended(outcome)

    @precondition(lambda self: self.open and self.runs)
    @rule()
    def it_vanishes(self) -> None:
        self.bench.misses("w")
        self.bench.turn()
        self._ended(Outcome.LOST)

    @precondition(lambda self: self.open and self.runs)
    @rule()
    def a_part_of_the_cluster_does_not_answer(self) -> None:
        """What is absent then proves nothing."""
        before, self.bench.complete = dict(self.bench.attempts), False
        self.bench.misses("w")
        self.bench.turn()
        self.bench.complete, self.bench.attempts = True, before

    @precondition(lambda self: self.n_attempts > 1 and self.open)
    @rule()
    def an_attempt_of_the_past_says_that_it_succeeded(self) -> None:
        old, before = self.bench["w"].attempts[-2], dict(self.bench.attempts)
        if not self.runs:
            return
        self.bench.complete = False
        self.bench.sees("w", Phase.ENDED, attempt=old.number, fence=old.fence, outcome=Outcome.SUCCEEDED, step=10**6)
        self.bench.turn()
        self.bench.complete, self.bench.attempts = True, before

    @rule()
    def it_is_stopped(self) -> None:
        assert isinstance(self.bench.ask(StopWork(self.bench.id("w"))), Accepted)
        if self.over:
            return
        self.stop, self.told = True, self.open
        self.over = not self.open

    @rule()
    def it_is_suspended(self) -> None:
        taken = isinstance(self.bench.ask(Suspend(self.bench.id("w"))), Accepted)
        assert taken != self.over
        if taken:
            self.suspended, self.told = True, self.open

    @rule()
    def it_is_resumed(self) -> None:
        if isinstance(self.bench.ask(Resume(self.bench.id("w"))), Accepted):
            self.suspended = False

    @rule()
    def it_is_preempted(self) -> None:
        taken = isinstance(self.bench.ask(PreemptWork(self.bench.id("w"))), Accepted)
        assert taken == (self.open and not self.told)
        self.told = self.told or taken

    @rule(seconds=st.sampled_from((0.5, 2.0, 6.0, 40.0)))
    def time_passes(self, seconds: float) -> None:
        self.bench.turn(after_s=seconds)

    @invariant()
    def its_status_is_the_one_that_follows(self) -> None:
        workload = self.bench["w"]
        assert workload.status.over == self.over
        assert (workload.current is not None) == self.open
        assert len(workload.attempts) == self.n_attempts
        assert workload.step == self.step
        assert sum(one.outcome is Outcome.FAILED for one in workload.attempts) == self.n_failed
        if self.open:
            status = Status.STOPPING if self.told else Status.RUNNING if self.runs else Status.STARTING
            assert workload.status is status
        elif not self.over:
            waits = (Status.PAUSED,) if self.suspended else (Status.QUEUED, Status.PREEMPTED)
            assert workload.status in waits

    def _ended(self, outcome: Outcome) -> None:
        """What was told to end did so as it was told, however it ended; only success counts beside that."""
        self.bench.misses("w")
        failed = outcome is Outcome.FAILED and not self.told
        self.n_failed += failed
        self.over = self.stop or outcome is Outcome.SUCCEEDED or self.n_failed > RETRIES
        self.open = self.runs = self.told = False


def test_a_workload_goes_where_the_model_of_it_goes() -> None:
    run_state_machine_as_test(OneWorkload, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
