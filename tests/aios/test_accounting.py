"""The books are kept from the log: what was held, what ran, and what had to be done again."""

from __future__ import annotations

import pytest

from aios.accounting import Account, accounts
from aios.errors import InvalidSpec
from aios.kernel.events import Outcome
from tests.support.bench import Bench
from tests.support.building import submit, want

HOUR = 3600.0


class Recorded(Bench):
    """A bench that keeps all its events."""

    def __init__(self) -> None:
        self.events: list[object] = []
        super().__init__()

    def turn(self, *requests, **others):  # type: ignore[no-untyped-def]  # as the bench has it
        turn = super().turn(*requests, **others)
        self.events.extend(turn.events)
        return turn

    def books(self, by: str = "tenant", since_s: float = 0.0, until_s: float = float("inf")) -> dict[str, Account]:
        return accounts(self.events, by, since_s, until_s)  # type: ignore[arg-type]  # they are events


def ran_for(bench: Recorded, name: str, hours: float, outcome: Outcome) -> None:
    bench.sees_end(name, outcome)
    bench.turn(after_s=hours * HOUR)


def test_what_ran_to_its_end_was_used_and_nothing_of_it_wasted() -> None:
    bench = Recorded()
    bench.turn(submit(want("a", 2, cpu=2)))
    bench.runs("a", "n1", "n2")
    ran_for(bench, "a", 3, Outcome.SUCCEEDED)
    (line,) = bench.books().values()
    assert line.used["CPU"] == pytest.approx(4000 * 3)
    assert line.granted["CPU"] >= line.used["CPU"]
    assert (line.preempted, line.failed, line.attempts, len(line.workloads)) == ({}, {}, 1, 1)


def test_what_failed_wasted_what_came_after_its_last_checkpoint() -> None:
    bench = Recorded()
    bench.turn(submit(want("a", cpu=1, max_retries=1)))
    bench.runs("a", "n1")
    bench.sees("a", checkpoint="c/1", step=1)
    bench.turn(after_s=2 * HOUR)
    ran_for(bench, "a", 1, Outcome.FAILED)
    (line,) = bench.books().values()
    assert line.failed["CPU"] == pytest.approx(1000 * 1)
    assert line.used["CPU"] == pytest.approx(1000 * 3)


def test_what_runs_still_is_counted_up_to_the_end_of_the_time_asked_for() -> None:
    bench = Recorded()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    now_s = bench.now_s
    (line,) = bench.books(until_s=now_s + 5 * HOUR).values()
    assert line.used["CPU"] == pytest.approx(1000 * 5, rel=0.01)


def test_only_the_time_asked_for_counts() -> None:
    bench = Recorded()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    ran_for(bench, "a", 4, Outcome.SUCCEEDED)
    (line,) = bench.books(since_s=bench.now_s - HOUR).values()
    assert line.used["CPU"] == pytest.approx(1000)
    assert bench.books(since_s=bench.now_s + 1.0) == {}


def test_accounts_are_kept_by_kind_and_workload_and_by_nothing_unknown() -> None:
    bench = Recorded()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    assert set(bench.books("kind")) == {"script"}
    assert set(bench.books("workload")) == {bench.id("a")}
    assert set(bench.books("accelerator")) == {"none"}
    with pytest.raises(InvalidSpec, match="colour"):
        bench.books("colour")
