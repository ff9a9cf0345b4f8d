"""Fault schedules from seeds: nothing lost, nothing recorded twice, everything finishes once the faults stop.

A failing seed stands in the message; ``World(seed).run()`` replays it.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from placement.explain import explain_plan
from placement.model import Plan, Problem
from placement.planners.base import Budget
from placement.planners.ladder import plan
from tests.support.chaos import World

N_SEEDS = int(os.environ.get("AIOS_SIM_SEEDS", "200"))
N_PER_CASE = 25


@pytest.mark.parametrize("first", range(0, N_SEEDS, N_PER_CASE))
def test_every_schedule_of_faults_ends_well(first: int) -> None:
    for seed in range(first, first + N_PER_CASE):
        World(seed).run()


@pytest.mark.parametrize("seed", range(10_000, 10_010))
def test_the_production_planner_goes_through_the_same(seed: int) -> None:
    def ladder(problem: Problem, budget: Budget) -> Plan:
        return explain_plan(problem, plan(problem, Budget(deterministic_s=0.05)))

    World(seed, planner=ladder).run()


def test_the_schedules_reach_every_kind_of_event_and_end() -> None:
    seen: Counter[str] = Counter()
    crashes = faults = 0
    for seed in range(40):
        world = World(seed)
        world.run()
        crashes, faults = crashes + world.crashes, faults + world.executor.n_faults
        for event in world.events():
            seen[type(event).__name__] += 1
            seen[str(getattr(event, "outcome", ""))] += 1
            seen[str(getattr(event, "reason", ""))] += 1
    wanted = {
        "AttemptEnded", "AttemptReady", "AttemptStarted", "CheckpointSaved", "EpochStarted", "Finished", "Granted",
        "NodeChanged", "PlanAdopted", "PreemptionOrdered", "Published", "Requeued", "StopRequested", "Submitted",
        "Outcome.SUCCEEDED", "Outcome.FAILED", "Outcome.LOST", "Outcome.PREEMPTED", "Outcome.STOPPED",
        "WaitingForPreemption", "DependencyPending", "BackingOff",
    }  # fmt: skip
    assert wanted <= set(seen), wanted - set(seen)
    assert crashes > 100
    assert faults > 1000
