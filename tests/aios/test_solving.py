"""The planning process: the same plans as in one's own, and an answer whatever becomes of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aios.control.planning import solve
from aios.control.solver import plan
from aios.control.solving import ChildPlanner
from aios.kernel.queue import Ask
from placement.model import Plan, Problem, SolveStats
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.scenario import load_scenario

ROOT = Path(__file__).resolve().parents[2]
BUDGET = Budget(wall_s=20.0)


def timeless(found: Plan) -> Plan:
    return replace(found, stats=replace(found.stats, wall_s=0.0))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load_scenario(ROOT / "examples/scenarios/two-teams.yaml").problem


@pytest.fixture
def child() -> Iterator[ChildPlanner]:
    found = ChildPlanner(Greedy())
    yield found
    found.close()


def test_the_child_gives_the_plan_that_this_process_would(child: ChildPlanner, problem: Problem) -> None:
    first, again = child(problem, BUDGET), child(problem, BUDGET)
    assert timeless(first) == timeless(again) == timeless(plan(problem, BUDGET))
    assert not any("planning process" in note for note in first.stats.fallbacks)


def test_a_child_that_is_killed_is_replaced_and_the_question_is_answered(child: ChildPlanner, problem: Problem) -> None:
    child(problem, BUDGET)
    assert child.pid is not None
    killed = child.pid
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    assert {grant.demand for grant in child(problem, BUDGET).grants} == {
        grant.demand for grant in plan(problem, BUDGET).grants
    }
    assert child.pid not in (None, killed)


def test_a_child_that_hangs_is_ended_and_greedy_answers_and_says_why(problem: Problem) -> None:
    patience_s = [120.0]
    child = ChildPlanner(Greedy(), patience_s=lambda budget: patience_s[0])
    child(problem, BUDGET)
    assert child.pid is not None
    hung = child.pid
    os.kill(hung, signal.SIGSTOP)
    patience_s[0] = 0.2
    found = child(problem, BUDGET)
    assert found.stats.planner == "greedy"
    assert found.stats.fallbacks[0] == "planning process: TimeoutError: no answer in time: it was ended"
    assert timeless(replace(found, stats=replace(found.stats, fallbacks=()))) == timeless(Greedy()(problem, BUDGET))
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


def test_what_cannot_be_started_costs_no_answer(problem: Problem) -> None:
    child = ChildPlanner(Greedy(), child="aios.control.no_such_module")
    found = child(problem, BUDGET)
    assert found.grants == Greedy()(problem, BUDGET).grants
    assert "planning process:" in found.stats.fallbacks[0]


def test_after_closing_questions_are_answered_here(child: ChildPlanner, problem: Problem) -> None:
    child.start()
    child.close()
    assert child(problem, BUDGET).stats.fallbacks == ("planning process: ValueError: it was closed",)


def test_a_planner_of_which_nothing_is_left_is_a_failed_answer_and_no_crash(problem: Problem) -> None:
    def broken(problem: Problem, budget: Budget) -> Plan:
        raise ZeroDivisionError("by zero")

    child = ChildPlanner(broken, child="aios.control.no_such_module")
    proposed = solve(child, BUDGET, Ask(problem, 1, (1,)))
    assert proposed.failed
    assert proposed.plan.stats == SolveStats("child", "crashed", fallbacks=("child: ZeroDivisionError: by zero",))
