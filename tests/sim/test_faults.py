"""Fault schedules from seeds: nothing lost, nothing recorded twice, everything finishes once the faults stop.

A failing seed stands in the message with the command that replays it.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import fields

import pytest

from placement.explain import explain_plan
from placement.model import Plan, Problem
from placement.planners.base import Budget
from placement.planners.ladder import plan
from tests.sim.faults import Rates
from tests.sim.old_seeds import OLD_SEEDS
from tests.sim.schedules import play
from tests.sim.world import World

N_SEEDS = int(os.environ.get("AIOS_SIM_SEEDS", "1000"))
N_PER_CASE = 50


@pytest.mark.parametrize("first", range(0, N_SEEDS, N_PER_CASE))
def test_every_schedule_of_faults_ends_well(first: int) -> None:
    tally = play(range(first, first + N_PER_CASE))
    replays = [f"{wrong}\n  python -m tests.sim --seed {seed} --trace" for seed, wrong in sorted(tally.wrong.items())]
    assert not replays, "\n".join(replays)
    assert tally.n_faults >= 20 * tally.n, "each has tens of faults"


@pytest.mark.parametrize("seed", sorted(OLD_SEEDS))
def test_what_once_found_a_bug_does_not_find_it_again(seed: int) -> None:
    World(seed).run()


@pytest.mark.parametrize("seed", range(10_000, 10_010))
def test_the_production_planner_goes_through_the_same(seed: int) -> None:
    def ladder(problem: Problem, budget: Budget) -> Plan:
        return explain_plan(problem, plan(problem, Budget(deterministic_s=0.05)))

    World(seed, planner=ladder).run()


def test_the_schedules_reach_every_kind_of_fault_event_and_end() -> None:
    seen: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    crashes = 0
    for seed in range(80):
        world = World(seed)
        world.run()
        crashes, faults = crashes + world.crashes, faults + world.faults.counts
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
    assert {field.name for field in fields(Rates)} <= set(faults), "every kind strikes"
    assert crashes > 100
