"""``python -m aios.control.solver``: answer planning questions from standard input until it ends."""

from __future__ import annotations

import os
import sys
import time

from aios.control.solving import receive, send
from placement.explain import explain_plan
from placement.model import Plan, Problem
from placement.planners.base import Budget

BELOW = 5
"""By how much the solver's process is less urgent than the control plane's."""


def plan(problem: Problem, budget: Budget) -> Plan:
    """Return the ladder's plan, with the binding reason of everything that waits."""
    from placement.planners import ladder  # with OR-Tools: who only asks need not load it

    return explain_plan(problem, ladder.plan(problem, budget, time.monotonic))


def main() -> int:
    """Answer until standard input ends; what is printed on the way does not mix with the answers."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    os.nice(BELOW)
    questions = os.fdopen(os.dup(0), "rb", buffering=0)
    import placement.planners.ladder  # noqa: F401  # before the first question, which then need not wait for it

    while True:
        try:
            problem, budget = receive(questions)
        except EOFError:
            return 0
        try:
            answer: Plan | Exception = plan(problem, budget)
        except Exception as error:  # it is told, and the next question is answered
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        try:
            send(answers, answer)
        except BrokenPipeError:
            return 0


if __name__ == "__main__":
    sys.exit(main())
