"""The books are kept from the log: what was held, what ran, and what had to be done again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.accounting import HOUR, Account, accounts, total
from aios.errors import InvalidSpec
from aios.kernel.events import (
    AttemptEnded,
    AttemptResized,
    AttemptStarted,
    CheckpointSaved,
    Event,
    Granted,
    NodeChanged,
    Outcome,
    ResizeOrdered,
    Submitted,
    Work,
    WorkloadId,
)
from placement.model import Bundle, Demand, DemandId, NodeId, Resources, TenantId
from tests.support.bench import Bench
from tests.support.building import node, submit, want

HOUR_S = 3600.0


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
    bench.turn(after_s=hours * HOUR_S)


def test_what_ran_to_its_end_was_used_and_nothing_of_it_wasted() -> None:
    bench = Recorded()
    bench.turn(submit(want("a", 2, cpu=2)))
    bench.runs("a", "n1", "n2")
    ran_for(bench, "a", 3, Outcome.SUCCEEDED)
    (line,) = bench.books().values()
    assert line.used["CPU"] == pytest.approx(4000 * 3 * HOUR)
    assert line.granted["CPU"] >= line.used["CPU"]
    assert (line.preempted, line.failed, line.attempts, len(line.workloads)) == ({}, {}, 1, 1)


def test_what_failed_wasted_what_came_after_its_last_checkpoint() -> None:
    bench = Recorded()
    bench.turn(submit(want("a", cpu=1, max_retries=1)))
    bench.runs("a", "n1")
    bench.sees("a", checkpoint="c/1", step=1)
    bench.turn(after_s=2 * HOUR_S)
    ran_for(bench, "a", 1, Outcome.FAILED)
    (line,) = bench.books().values()
    assert line.failed["CPU"] == pytest.approx(1000 * 1 * HOUR)
    assert line.used["CPU"] == pytest.approx(1000 * 3 * HOUR)


def test_what_runs_still_is_counted_up_to_the_end_of_the_time_asked_for() -> None:
    bench = Recorded()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    now_s = bench.now_s
    (line,) = bench.books(until_s=now_s + 5 * HOUR_S).values()
    assert line.used["CPU"] == pytest.approx(1000 * 5 * HOUR, rel=0.01)


def test_only_the_time_asked_for_counts() -> None:
    bench = Recorded()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    ran_for(bench, "a", 4, Outcome.SUCCEEDED)
    (line,) = bench.books(since_s=bench.now_s - HOUR_S).values()
    assert line.used["CPU"] == pytest.approx(1000 * HOUR)
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


N1, N2 = NodeId("n1"), NodeId("n2")


def work(name: str, n: int = 1, *, service: bool = False, user: str = "", min_bundles: int = -1) -> Work:
    demand = Demand(
        DemandId(name),
        TenantId("vision"),
        (Bundle(Resources.parse({"CPU": 2, "GPU": 1})),) * n,
        min_bundles=min_bundles,
    )
    return Work(WorkloadId(name), name, "train", "vision", 0, demand, "{}", "0", service=service, user=user)


def by_hand() -> list[Event]:
    """A log that was reckoned with by hand: times in hours, gangs of bundles of 2 CPUs and 1 GPU.

    ::

        ada's a (2 bundles)   granted 0, runs 1..5 on n1, n2, saved at 4, preempted at 5; again 6..8 on n2 with 1 of 2
        bob's b (1 bundle)    granted 0, runs 1..3 on n1, fails, never saved
        bob's c (1 bundle)    granted 2, never runs, is lost at 3
        api (service, 2)      granted 0, runs 0..10, smaller by one from 4 on, lost at 10
    """
    ada, bob, lost = work("a", 2, user="ada", min_bundles=1), work("b", user="bob"), work("c", user="bob")
    api = work("api", 2, service=True, min_bundles=1)
    a, b, c, s = ada.id, bob.id, lost.id, api.id
    h = HOUR_S
    return [
        *(NodeChanged(0.0, node(id, 8, gpu=4, **label)) for id, label in (("n1", H100), ("n2", {}))),
        *(Submitted(0.0, one) for one in (ada, bob, lost, api)),
        Granted(0.0, a, 1, 1, (N1, N2)),
        Granted(0.0, b, 1, 2, (N1,)),
        Granted(0.0, s, 1, 3, (N1, N2)),
        AttemptStarted(0.0, s, 1, (N1, N2)),
        AttemptStarted(1 * h, a, 1, (N1, N2)),
        AttemptStarted(1 * h, b, 1, (N1,)),
        Granted(2 * h, c, 1, 4, (N2,)),
        AttemptEnded(3 * h, b, 1, Outcome.FAILED),
        AttemptEnded(3 * h, c, 1, Outcome.LOST),
        ResizeOrdered(3.5 * h, s, 1, (N1,)),
        AttemptResized(4 * h, s, 1, (N1,)),
        CheckpointSaved(4 * h, a, 1, "c/1", 1),
        AttemptEnded(5 * h, a, 1, Outcome.PREEMPTED),
        Granted(6 * h, a, 2, 5, (N2,)),
        AttemptStarted(6 * h, a, 2, (N2,)),
        AttemptEnded(8 * h, a, 2, Outcome.SUCCEEDED),
        AttemptEnded(10 * h, s, 1, Outcome.LOST),
    ]


H100 = {"ray.io/accelerator-type": "H100"}


def gpu_hours(line: Account) -> tuple[float, ...]:
    parts = (line.asked, line.granted, line.used, line.preempted, line.failed)
    return tuple(part.get("GPU", 0) / HOUR / 1000 for part in parts)


@pytest.mark.parametrize(
    "by, expected",
    [
        pytest.param(
            "workload",
            {
                "a": (2 * 5 + 2 * 2, 2 * 5 + 1 * 2, 2 * 4 + 1 * 2, 2 * 1, 0),
                "b": (3, 3, 2, 0, 2),
                "c": (1, 1, 0, 0, 0),
                "api": (20, 2 * 4 + 6, 2 * 4 + 6, 0, 0),
            },
            id="workload",
        ),
        pytest.param("user", {"ada": (14, 12, 10, 2, 0), "bob": (4, 4, 2, 0, 2), "-": (20, 14, 14, 0, 0)}, id="user"),
        pytest.param("tenant", {"vision": (38, 30, 26, 2, 2)}, id="tenant"),
        pytest.param(
            "accelerator",
            {
                "H100": (5 + 3 + 16, 5 + 3 + 10, 4 + 2 + 10, 1, 2),
                "none": (5 + 4 + 1 + 4, 5 + 2 + 1 + 4, 4 + 2 + 4, 1, 0),
            },
            id="accelerator",
        ),
    ],
)  # fmt: skip
def test_the_books_are_what_was_reckoned_by_hand(by: str, expected: dict[str, tuple[float, ...]]) -> None:
    books = accounts(by_hand(), by)
    assert {name: gpu_hours(line) for name, line in books.items()} == expected
    for line in books.values():
        assert all(line.used[name] == 2 * line.used["GPU"] for name in ["CPU"] if line.used)


@given(st.lists(st.floats(0, 10 * HOUR_S), max_size=5), st.sampled_from(["tenant", "user", "accelerator", "workload"]))
def test_parts_add_up_to_the_whole_exactly(cuts: list[float], by: str) -> None:
    """However the time is cut, and by whatever the lines are kept."""
    log, moments = by_hand(), [0.0, *sorted(cuts), 10 * HOUR_S]
    whole = total(accounts(log, "tenant", 0.0, 10 * HOUR_S).values())
    spans = pairwise(moments)
    parts = total(line for a, b in spans for line in accounts(log, by, a, b).values())
    for name in ("asked", "granted", "used", "preempted", "failed"):
        left, right = getattr(parts, name), getattr(whole, name)
        assert {k: v for k, v in left.items() if v} == {k: v for k, v in right.items() if v}, name
