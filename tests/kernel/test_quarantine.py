"""A node on which attempts keep failing is set aside; work that fails everywhere is nobody's fault but its own."""

from __future__ import annotations

import pytest

from aios.kernel.events import Granted, NodeQuarantined, Outcome, QuarantineEnded
from aios.kernel.ports import Accepted, Refused, ReleaseNode
from aios.kernel.quarantine import FIRST_S, WINDOW_S, shut
from aios.kernel.queue import problem
from aios.kernel.state import Status
from placement.model import NodeId, NodeState
from placement.planners.ladder import plan as ladder
from tests.support.bench import Bench, of_type
from tests.support.building import node, submit, want

NODES = tuple(node(f"n{i}") for i in range(1, 7))
BAD, GOOD = "n1", "n2"


class Floor(Bench):
    """Six nodes; attempts are sent where a test says and end as it says."""

    def __init__(self, n_nodes: int = 6) -> None:
        super().__init__(NODES[:n_nodes])
        self.quarantined: list[NodeQuarantined] = []

    def attempt(self, name: str, where: str, outcome: Outcome, after_s: float = 60.0) -> None:
        """Run one attempt of a workload on a node to its end."""
        if name not in self.state.names:
            self.turn(submit(want(name, max_retries=100)))
        self.turn(after_s=after_s)
        self.runs(name, where)
        assert self[name].status is Status.RUNNING, f"{name} does not run on {where}"
        self.sees_end(name, outcome, error="boom")
        self.note(self.turn())

    def note(self, turn: object) -> None:
        self.quarantined += of_type(turn.events, NodeQuarantined)  # type: ignore[attr-defined]  # a turn

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.quarantined]


def bad_node(floor: Floor) -> None:
    """Two workloads fail on one node, the first of which does well on another."""
    floor.attempt("a", BAD, Outcome.FAILED)
    floor.attempt("a", BAD, Outcome.FAILED)
    floor.attempt("a", GOOD, Outcome.SUCCEEDED)
    floor.attempt("b", BAD, Outcome.FAILED)


def test_a_node_on_which_work_fails_that_does_well_elsewhere_is_set_aside() -> None:
    floor = Floor()
    bad_node(floor)
    assert floor.names == [BAD]
    (one,) = floor.quarantined
    assert one.until_s == one.at_s + FIRST_S
    assert "2 workloads failed there within 30 min" in one.reason
    floor.turn(submit(want("c", selector={"zone": "!x"})))
    shown = {n.id: n.state for n in problem(floor.state, floor.now_s, floor.observed()).nodes}
    assert shown[NodeId(BAD)] is NodeState.DRAINING
    asked = floor.last.ask
    assert asked is not None
    floor.turn(plan=floor.answer(ladder(asked.problem)))
    assert floor["c"].attempts[-1].nodes != (NodeId(BAD),)


def test_a_plan_from_before_does_not_start_anything_there() -> None:
    floor = Floor()
    floor.turn(submit(want("late")))
    before = floor.plan({"late": [BAD]})
    bad_node(floor)
    turn = floor.turn(plan=before)
    assert not of_type(turn.events, Granted)
    assert shut(floor.state, NodeId(BAD))


def test_what_runs_there_goes_on() -> None:
    floor = Floor()
    floor.turn(submit(want("stays", preemptible=True)))
    floor.runs("stays", BAD)
    bad_node(floor)
    assert floor.names == [BAD]
    for _ in range(3):
        floor.turn()
    assert floor["stays"].status is Status.RUNNING


def test_work_that_fails_on_other_nodes_too_says_nothing_about_any_node() -> None:
    floor = Floor()
    for name in ("a", "b", "c"):
        for where in (BAD, BAD, GOOD, "n3"):
            floor.attempt(name, where, Outcome.FAILED)
    assert floor.names == []


def test_one_workload_alone_does_not_set_a_node_aside() -> None:
    floor = Floor()
    for _ in range(5):
        floor.attempt("a", BAD, Outcome.FAILED)
    floor.attempt("a", GOOD, Outcome.SUCCEEDED)
    assert floor.names == []


def test_two_failures_are_not_enough() -> None:
    floor = Floor()
    for name in ("a", "b"):
        floor.attempt(name, BAD, Outcome.FAILED)
        floor.attempt(name, GOOD, Outcome.SUCCEEDED)
    assert floor.names == []


def test_failures_long_ago_do_not_count() -> None:
    floor = Floor()
    for name in ("a", "b", "c"):
        floor.attempt(name, BAD, Outcome.FAILED, after_s=WINDOW_S)
        floor.attempt(name, GOOD, Outcome.SUCCEEDED)
    assert floor.names == []


def test_a_node_where_nothing_succeeds_while_others_do_is_set_aside_though_nothing_was_tried_elsewhere() -> None:
    floor = Floor()
    floor.attempt("fine", GOOD, Outcome.SUCCEEDED)
    for name in ("a", "b", "c"):
        floor.attempt(name, BAD, Outcome.FAILED)
    assert floor.names == [BAD]
    assert "while work goes well on other nodes" in floor.quarantined[0].reason


def test_faulty_work_that_may_run_on_one_node_only_says_nothing_about_it() -> None:
    floor = Floor()
    floor.nodes[0] = node(BAD, zone="z")
    floor.attempt("fine", GOOD, Outcome.SUCCEEDED)
    floor.turn(submit(*(want(name, selector={"zone": "z"}, max_retries=9) for name in "abc")))
    for name in "abc":
        floor.attempt(name, BAD, Outcome.FAILED)
    assert floor.names == []


def test_faulty_work_on_a_node_where_other_work_succeeds_is_the_works_fault() -> None:
    floor = Floor()
    floor.attempt("fine", GOOD, Outcome.SUCCEEDED)
    floor.attempt("fine-too", BAD, Outcome.SUCCEEDED)
    for name in ("a", "b", "c"):
        floor.attempt(name, BAD, Outcome.FAILED)
    assert floor.names == []


def test_work_that_fails_there_and_does_well_elsewhere_counts_though_other_work_succeeds_there() -> None:
    floor = Floor()
    floor.attempt("fine", BAD, Outcome.SUCCEEDED)
    for name in ("a", "b"):
        floor.attempt(name, BAD, Outcome.FAILED)
        floor.attempt(name, BAD, Outcome.FAILED)
        assert floor.names == []
        floor.attempt(name, GOOD, Outcome.SUCCEEDED)
    assert floor.names == [BAD]
    assert "go well elsewhere" in floor.quarantined[0].reason


def test_losses_count_without_a_second_sign() -> None:
    floor = Floor()
    for name in ("a", "b", "a"):
        floor.attempt(name, BAD, Outcome.LOST)
    assert floor.names == [BAD]


def test_work_that_is_lost_on_other_nodes_too_says_nothing_about_any_node() -> None:
    floor = Floor()
    for name in ("a", "b"):
        floor.attempt(name, GOOD, Outcome.LOST)
    for name in ("a", "b", "a", "b"):
        floor.attempt(name, BAD, Outcome.LOST)
    assert floor.names == []


def test_of_the_nodes_of_a_gang_one_is_set_aside_at_a_time() -> None:
    floor = Floor()
    floor.turn(submit(*(want(name, 2, cpu=4) for name in "ab")))
    for name in "aba":
        floor.turn(after_s=60.0)
        floor.runs(name, "n1", "n2")
        floor.sees_end(name, Outcome.LOST)
        floor.note(floor.turn())
    assert floor.names == ["n1"]


def test_a_node_that_dies_once_under_many_has_failed_once() -> None:
    floor = Floor()
    for i in range(4):
        floor.turn(submit(want(f"w{i}")))
        floor.runs(f"w{i}", BAD)
    floor.nodes.pop(0)
    floor.turn()
    assert all(floor[f"w{i}"].attempts[-1].outcome is Outcome.LOST for i in range(4))
    floor.nodes.append(NODES[0])
    floor.note(floor.turn(after_s=60.0))
    assert floor.names == []


def test_a_node_that_keeps_going_away_is_set_aside_when_it_is_back() -> None:
    floor = Floor()
    for i in range(3):
        name = f"w{i % 2}"
        if name not in floor.state.names:
            floor.turn(submit(want(name)))
        floor.turn(after_s=120.0)
        floor.runs(name, BAD)
        floor.nodes.pop(0)
        floor.turn()
        floor.nodes.insert(0, NODES[0])
        floor.attempts.clear()
        floor.note(floor.turn(after_s=60.0))
    assert floor.names == [BAD]


@pytest.mark.parametrize("n_nodes, most", [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2)])
def test_never_more_than_a_third_of_the_nodes_is_set_aside(n_nodes: int, most: int) -> None:
    floor = Floor(n_nodes)
    for i in range(n_nodes):
        for j in range(4):
            if not shut(floor.state, NodeId(f"n{i + 1}")):
                floor.attempt(f"w{i}-{j % 2}", f"n{i + 1}", Outcome.LOST)
    assert len(floor.state.quarantines) == most


def test_it_ends_by_itself_and_the_next_one_is_twice_as_long() -> None:
    floor = Floor()
    bad_node(floor)
    assert floor.last.wake_s is not None
    turn = floor.turn(after_s=FIRST_S)
    assert [event.name for event in of_type(turn.events, QuarantineEnded)] == [BAD]
    assert not shut(floor.state, NodeId(BAD))
    for name in ("c", "d", "c"):
        floor.attempt(name, BAD, Outcome.LOST)
    assert floor.names == [BAD, BAD]
    again = floor.quarantined[-1]
    assert (again.until_s - again.at_s, again.times) == (2 * FIRST_S, 2)


def test_a_good_day_makes_it_the_first_time_again() -> None:
    floor = Floor()
    bad_node(floor)
    floor.turn(after_s=FIRST_S)
    floor.turn(after_s=86_401.0)
    for name in ("c", "d", "c"):
        floor.attempt(name, BAD, Outcome.LOST)
    assert floor.quarantined[-1].times == 1


def test_somebody_may_trust_it_again_at_once_and_what_was_held_against_it_is_forgotten() -> None:
    floor = Floor()
    refused = floor.ask(ReleaseNode(BAD))
    assert isinstance(refused, Refused)
    assert "not in quarantine" in refused.message
    bad_node(floor)
    assert floor.ask(ReleaseNode(BAD, "ops")) == Accepted((BAD,))
    assert [event.by for event in of_type(floor.last.events, QuarantineEnded)] == ["ops"]
    floor.attempt("e", BAD, Outcome.LOST)
    assert floor.names == [BAD], "one loss is not three"


def test_work_that_was_told_to_end_says_nothing_about_a_node() -> None:
    floor = Floor()
    for name in ("a", "b", "c", "d"):
        floor.turn(submit(want(name, time_limit_s=10.0, grace_s=1.0)))
        floor.runs(name, BAD)
        floor.turn(after_s=10.0)
        floor.sees_end(name, Outcome.FAILED)
        floor.note(floor.turn())
    assert floor.names == []
