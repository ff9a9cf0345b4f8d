"""No more of a tenant's or a user's work runs or waits than may, and a paused tenant starts nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aios.kernel.actions import Kill, Stop
from aios.kernel.concurrency import held_back
from aios.kernel.events import Granted, Limits, Outcome, PreemptionOrdered, TenantPaused
from aios.kernel.ports import Accepted, ApplyTenants, NewWork, PauseTenant, Phase, Refused, ResumeTenant
from aios.kernel.state import Status
from placement.model import Reason
from placement.planners.ladder import plan as ladder
from tests.support.bench import Bench, of_type
from tests.support.building import node, submit, tenant, want


def limited(**limits: int) -> Bench:
    bench = Bench([node("n1", cpu=100)])
    bench.turn(ApplyTenants((tenant("team"),), limits=(Limits("team", **limits),)))
    return bench


def solve(bench: Bench, after_s: float = 1.0) -> None:
    """Have the ladder answer the question of the last turn."""
    asked = bench.last.ask
    assert asked is not None
    bench.turn(plan=bench.answer(ladder(asked.problem)), after_s=after_s)


def running(bench: Bench) -> list[str]:
    return sorted(w.work.name for w in bench.state.workloads.values() if w.status.active)


def test_no_more_run_than_may_and_the_next_starts_when_one_ends() -> None:
    bench = limited(max_running=2)
    bench.turn(submit(*(want(name) for name in "abcd")))
    solve(bench)
    assert running(bench) == ["a", "b"]
    bench.turn()
    assert (bench["c"].reason, bench["d"].reason) == ("Concurrency", "Concurrency")
    assert f"until one of {bench.id('a')}, {bench.id('b')} ends" in bench["c"].message
    assert "2 of at most 2" in bench["c"].message
    assert bench.last.ask is None, "the planner could change nothing"
    bench.sees("a")
    bench.turn()
    bench.sees_end("a")
    bench.turn()
    solve(bench)
    assert running(bench) == ["b", "c"]


def test_the_most_important_waits_first() -> None:
    bench = limited(max_running=1)
    bench.turn(submit(want("a"), want("b", priority=5)))
    solve(bench)
    assert running(bench) == ["b"]


def test_what_has_no_room_does_not_keep_others_from_their_turn() -> None:
    bench = limited(max_running=1)
    bench.turn(submit(want("large", 2, cpu=80, priority=5), want("small")))
    bench.turn(plan=bench.plan(waiting={"large": Reason.CAPACITY}))
    solve(bench)
    assert running(bench) == ["small"]


def test_a_plan_that_starts_too_many_is_taken_in_part() -> None:
    bench = limited(max_running=1)
    bench.turn(submit(want("a", priority=1), want("b")))
    proposed = bench.plan({"a": ["n1"], "b": ["n1"]})
    bench.turn(plan=proposed)
    assert running(bench) == ["a"]


def test_a_plan_that_starts_several_that_had_no_room_before_starts_as_many_as_may_run() -> None:
    bench = limited(max_running=1)
    bench.turn(submit(want("a", priority=1), want("b")))
    bench.turn(plan=bench.plan(waiting={"a": Reason.CAPACITY, "b": Reason.CAPACITY}))
    bench.turn(plan=bench.plan({"a": ["n1"], "b": ["n1"]}))
    assert running(bench) == ["a"]


def test_users_have_limits_of_their_own() -> None:
    bench = limited(max_running_per_user=1)
    bench.turn(submit(want("a", user="ada"), want("b", user="ada"), want("c", user="bob"), want("d"), want("e")))
    solve(bench)
    bench.turn()
    assert running(bench) == ["a", "c", "d"]
    assert "user ada in tenant team" in bench["b"].message


def test_the_limits_of_a_tenant_hold_for_all_below_it() -> None:
    bench = limited(max_running=1, max_pending=2)
    bench.turn(ApplyTenants((tenant("sub", parent="team"),)))
    bench.turn(submit(want("a", tenant="sub"), want("b")))
    solve(bench)
    assert len(running(bench)) == 1
    bench.turn(submit(want("c", tenant="sub")))
    refused = bench.ask(submit(want("d", tenant="sub")))
    assert isinstance(refused, Refused)
    assert "tenant team would have 3 workloads waiting, and may have 2" in refused.message


def test_more_waiting_work_than_may_be_is_refused_and_nothing_of_it_taken() -> None:
    bench = limited(max_pending=2, max_pending_per_user=1)
    assert isinstance(bench.ask(submit(want("a", user="ada"))), Accepted)
    refused = bench.ask(submit(want("b", user="ada")))
    assert isinstance(refused, Refused)
    assert refused.code == "too_many"
    assert "user ada in tenant team would have 2 workloads waiting, and may have 1" in refused.message
    refused = bench.ask(submit(want("c", user="bob"), want("d", user="cyd")))
    assert isinstance(refused, Refused)
    assert sorted(bench.state.names) == ["a"]
    assert isinstance(bench.ask(submit(want("a", user="ada"))), Accepted), "it is there already"
    bench.turn(ApplyTenants((tenant("team"),), limits=(Limits("team"),)))
    assert isinstance(bench.ask(submit(want("c", user="ada"))), Accepted), "the limits are gone"


def test_submissions_of_one_turn_count_together_and_limits_may_change_between_them() -> None:
    bench = limited(max_pending=2)
    limits = ApplyTenants((tenant("team"),), limits=(Limits("team", max_pending=4),))
    turn = bench.turn(*(submit(want(name)) for name in "abc"), limits, *(submit(want(name)) for name in "def"))
    taken = [isinstance(answer.reply, Accepted) for answer in turn.answers]
    assert taken == [True, True, False, True, True, True, False]


def test_nothing_of_a_paused_tenant_starts_and_what_runs_goes_on() -> None:
    bench = limited()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    bench.turn(PauseTenant("team", by="ops"))
    bench.turn(submit(want("b")))
    assert bench.last.ask is None
    assert (bench["b"].status, bench["b"].reason) == (Status.QUEUED, "TenantPaused")
    assert "paused by ops: aios tenant resume team" in bench["b"].message
    assert bench["a"].status is Status.RUNNING
    assert bench.ask(PauseTenant("team")) == Accepted(("team",), existing=True)
    bench.turn(ResumeTenant("team"))
    solve(bench)
    assert running(bench) == ["a", "b"]


def test_a_tenant_below_a_paused_one_waits_too() -> None:
    bench = limited()
    bench.turn(ApplyTenants((tenant("sub", parent="team"),)))
    bench.turn(PauseTenant("team"), submit(want("a", tenant="sub")))
    assert bench["a"].reason == "TenantPaused"
    refused = bench.ask(ResumeTenant("sub"))
    assert isinstance(refused, Refused)
    assert "aios tenant resume team" in refused.hint


def test_a_tenant_that_is_drained_saves_its_progress_and_waits() -> None:
    bench = limited()
    bench.turn(submit(want("a", grace_s=7.0), want("stays", preemptible=False)))
    bench.turn(plan=bench.plan({"a": ["n1"], "stays": ["n1"]}))
    bench.sees("a")
    bench.sees("stays")
    bench.turn()
    turn = bench.turn(PauseTenant("team", "drain"))
    assert [event.workload for event in of_type(turn.events, PreemptionOrdered)] == [bench.id("a")]
    assert [action.grace_s for action in turn.actions if isinstance(action, Stop)] == [7.0]
    bench.sees_end("a", Outcome.PREEMPTED, checkpoint="c/3", step=3)
    bench.turn()
    bench.turn()
    assert (bench["a"].status, bench["a"].reason) == (Status.PREEMPTED, "TenantPaused")
    assert bench["a"].failures == 0
    assert bench["stays"].status is Status.RUNNING
    bench.turn(ResumeTenant("team"))
    solve(bench)
    assert bench["a"].status is Status.STARTING
    assert bench["a"].attempts[-1].resumed_step == 3


def test_a_tenant_that_is_paused_at_once_is_ended_at_once() -> None:
    bench = limited()
    bench.turn(submit(want("a", preemptible=False)))
    bench.runs("a", "n1")
    turn = bench.turn(PauseTenant("team", "now"))
    assert [action for action in turn.actions if isinstance(action, Kill)]
    bench.sees_end("a", Outcome.LOST)
    bench.turn()
    assert bench["a"].status is Status.PREEMPTED


def test_an_unknown_tenant_is_neither_paused_nor_resumed() -> None:
    bench = limited()
    for request in (PauseTenant("nobody"), ResumeTenant("nobody")):
        refused = bench.ask(request)
        assert isinstance(refused, Refused)
        assert (refused.code, "team" in refused.hint) == ("not_found", True)
    assert not of_type(bench.last.events, TenantPaused)


def test_nodes_that_were_kept_for_a_paused_tenant_are_given_up() -> None:
    bench = limited()
    bench.turn(submit(want("v", cpu=100)))
    bench.runs("v", "n1")
    bench.turn(submit(want("w", cpu=100, priority=9)))
    bench.turn(plan=bench.plan({"w": ["n1"]}, preempt={"v": ["w"]}))
    assert bench.state.waits[bench.id("w")].nodes
    bench.turn(PauseTenant("team"))
    assert not bench.state.waits[bench.id("w")].nodes


WORKS = st.lists(
    st.tuples(st.sampled_from(["ada", "bob", ""]), st.sampled_from(["team", "sub"]), st.integers(0, 3)), max_size=12
)


@given(WORKS, st.integers(1, 3), st.integers(1, 3), st.lists(st.booleans(), max_size=8))
def test_whatever_comes_and_ends_no_limit_is_ever_broken(
    works: list[tuple[str, str, int]], most: int, per_user: int, ends: list[bool]
) -> None:
    bench = limited(max_running=most, max_running_per_user=per_user)
    bench.turn(ApplyTenants((tenant("sub", parent="team"),)))
    new: list[NewWork] = [
        want(f"w{i}", user=user, tenant=whose, priority=priority) for i, (user, whose, priority) in enumerate(works)
    ]
    for work in new:
        bench.turn(submit(work))
    for end in [*ends, True]:
        if bench.last.ask is not None:
            solve(bench)
        active = [w for w in bench.state.workloads.values() if w.status.active]
        assert len(active) <= most
        assert all(n <= per_user for n in Counter(w.work.user for w in active).values())
        waits = [w for w in bench.state.workloads.values() if w.status is Status.QUEUED]
        if waits and len(active) < most:
            users = Counter(w.work.user for w in active)
            free = [w for w in waits if users[w.work.user] < per_user]
            assert not free or bench.last.ask is not None or of_type(bench.last.events, Granted)
        assert set(held_back(bench.state)) <= {w.id for w in waits}
        for workload in active:
            bench.sees(workload.work.name, Phase.RUNNING)
        bench.turn()
        if active and end:
            bench.sees_end(active[0].work.name)
        bench.turn()
