"""Solving beside the loop: the newest question is answered, crashes are answers too."""

from __future__ import annotations

import threading

from aios.control.planning import InlinePlanning, ThreadedPlanning
from aios.kernel.queue import Ask, Proposed
from placement.model import Plan, Problem, SolveStats
from placement.planners.base import Budget

LONG_S = 30.0


def ask(version: int) -> Ask:
    return Ask(Problem((), (), now_s=float(version)), version, (version,))


def answer(problem: Problem, budget: Budget) -> Plan:
    return Plan(stats=SolveStats(f"for {problem.now_s:g}"))


def fall_over(problem: Problem, budget: Budget) -> Plan:
    raise ZeroDivisionError("by zero")


class Bell:
    """Rings when an answer is there."""

    def __init__(self) -> None:
        self.rung = threading.Semaphore(0)

    def ring(self) -> None:
        self.rung.release()

    def wait(self) -> None:
        assert self.rung.acquire(timeout=LONG_S), "no answer came"


def test_an_answer_is_taken_once_with_the_question_it_is_for() -> None:
    bell = Bell()
    planning = ThreadedPlanning(answer, bell.ring)
    planning.ask(ask(1), 0.0)
    bell.wait()
    proposed = planning.poll(0.0)
    assert proposed == Proposed(Plan(stats=SolveStats("for 1")), ask(1))
    assert planning.poll(0.0) is None
    planning.close()


def test_asking_does_not_wait_and_what_is_asked_meanwhile_is_asked_again_afterwards() -> None:
    bell, begun, go = Bell(), threading.Event(), threading.Event()

    def slow(problem: Problem, budget: Budget) -> Plan:
        begun.set()
        assert go.wait(LONG_S)
        return answer(problem, budget)

    planning = ThreadedPlanning(slow, bell.ring)
    planning.ask(ask(1), 0.0)
    assert begun.wait(LONG_S)
    planning.ask(ask(2), 0.0)
    planning.ask(ask(3), 0.0)
    assert planning.poll(0.0) is None, "it is still thinking"
    go.set()
    for version in (1, 4):
        bell.wait()
        planning.ask(ask(9), 0.0)  # nobody has taken the answer yet
        proposed = planning.poll(0.0)
        assert proposed is not None
        assert proposed.ask.version == version
        planning.ask(ask(4), 0.0)
    bell.wait()
    planning.close()


def test_a_crash_is_an_answer_that_says_so_and_the_next_question_is_answered() -> None:
    bell = Bell()
    planning = ThreadedPlanning(fall_over, bell.ring)
    for version in (1, 2):
        planning.ask(ask(version), 0.0)
        bell.wait()
        proposed = planning.poll(0.0)
        assert proposed is not None
        assert proposed.failed
        assert proposed.plan.stats.fallbacks == ("fall_over: ZeroDivisionError: by zero",)
        assert proposed.ask.version == version
    planning.close()


def test_an_inline_answer_is_there_after_the_time_that_solving_takes() -> None:
    planning = InlinePlanning(answer, solve_s=2.0)
    planning.ask(ask(1), 10.0)
    assert planning.due_s() == 12.0
    assert planning.poll(11.9) is None
    assert planning.poll(12.0) is not None
    assert planning.due_s() is None


def test_an_inline_answer_comes_on_time_however_often_something_newer_is_asked() -> None:
    planning = InlinePlanning(answer, solve_s=2.0)
    for at_s in (10.0, 10.5, 11.0, 11.5):
        planning.ask(ask(int(2 * at_s)), at_s)
    first = planning.poll(12.0)
    assert first is not None
    assert first.ask.version == 20
    assert planning.due_s() is None, "what was asked meanwhile is asked again, as it is by then"
