"""Solving beside the loop: ask, go on, take the answer when it is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from aios.kernel.queue import Ask, Proposed
from placement.model import Plan, Problem, SolveStats
from placement.planners.base import Budget

PlannerFunction = Callable[[Problem, Budget], Plan]


class Planning(Protocol):
    """Where the loop's questions go; nothing here ever raises.

    A newer question replaces one that was not begun. One that comes while another is being answered is passed over:
    by the time that answer has been adopted the question is a different one, and the loop asks that.
    """

    def ask(self, ask: Ask, now_s: float) -> None: ...

    def poll(self, now_s: float) -> Proposed | None:
        """Return an answer that was not returned before."""
        ...

    def due_s(self) -> float | None:
        """Return when an answer will be there, None where that is not known; then ``wake`` is called."""
        ...

    def close(self) -> None: ...


class InlinePlanning:
    """Solves at once, and hands the answer over ``solve_s`` virtual seconds later: for simulation."""

    def __init__(self, planner: PlannerFunction, budget: Budget | None = None, solve_s: float = 0.0) -> None:
        self._planner = planner
        self._budget = Budget() if budget is None else budget
        self._solve_s = solve_s
        self._answer: tuple[float, Proposed] | None = None

    def ask(self, ask: Ask, now_s: float) -> None:
        if self._answer is None:
            self._answer = (now_s + self._solve_s, solve(self._planner, self._budget, ask))

    def poll(self, now_s: float) -> Proposed | None:
        if self._answer is None or now_s < self._answer[0]:
            return None
        proposed, self._answer = self._answer[1], None
        return proposed

    def due_s(self) -> float | None:
        return None if self._answer is None else self._answer[0]

    def close(self) -> None:
        self._answer = None


class ThreadedPlanning:
    """Solves in one thread of its own and calls ``wake`` when an answer is there."""

    def __init__(self, planner: PlannerFunction, wake: Callable[[], None], budget: Budget | None = None) -> None:
        self._planner = planner
        self._wake = wake
        self._budget = Budget() if budget is None else budget
        self._changed = threading.Condition()
        self._question: Ask | None = None
        self._answer: Proposed | None = None
        self._busy = self._closed = False
        self._thread = threading.Thread(target=self._work, name="aios-planning", daemon=True)
        self._thread.start()

    def ask(self, ask: Ask, now_s: float) -> None:
        with self._changed:
            if not self._busy and self._answer is None:
                self._question = ask
                self._changed.notify()

    def poll(self, now_s: float) -> Proposed | None:
        with self._changed:
            proposed, self._answer = self._answer, None
            return proposed

    def due_s(self) -> float | None:
        return None

    def close(self) -> None:
        """End the thread after the solve it is in, if any."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._question is not None or self._closed)
                if self._closed or self._question is None:
                    return
                ask, self._question, self._busy = self._question, None, True
            proposed = solve(self._planner, self._budget, ask)
            with self._changed:
                self._answer, self._busy = proposed, False
            self._wake()


def solve(planner: PlannerFunction, budget: Budget, ask: Ask) -> Proposed:
    """Return the planner's plan; where it breaks, an empty one that says how."""
    try:
        return Proposed(planner(ask.problem, budget), ask)
    except Exception as error:  # whatever a planner raises is a fact about the plan, not about the loop
        name = getattr(planner, "name", None) or getattr(planner, "__name__", "planner")
        stats = SolveStats(str(name), "crashed", fallbacks=(f"{name}: {type(error).__name__}: {error}",))
        return Proposed(Plan(stats=stats), ask, failed=True)
