"""The learning rate at each step, as a factor of ``lr``: a function of the step alone, so that it resumes exactly."""

from __future__ import annotations

import math

from pipelines.train.learning import ScheduleSpec


def factor_at(schedule: ScheduleSpec, step: int, n_steps: int, steps_per_epoch: int) -> float:
    """Return what ``lr`` is multiplied by at a step.

    Parameters
    ----------
    step : int
        How many steps were taken before this one.
    n_steps, steps_per_epoch : int
        Steps of the whole training and of one epoch.

    Notes
    -----
    Warm-up is linear and reaches 1 at its last step. Cosine: ``f + (1 - f) (1 + cos(pi t)) / 2`` with ``t`` the part
    of the steps after warm-up that is over (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts).
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if schedule.type == "constant":
        return 1.0
    if schedule.type == "step":
        return schedule.factor ** (step // (steps_per_epoch * schedule.every))
    over = min(1.0, (step - schedule.warmup_steps) / max(1, n_steps - schedule.warmup_steps))
    left = 1.0 - over if schedule.type == "linear" else (1.0 + math.cos(math.pi * over)) / 2
    return schedule.final + (1.0 - schedule.final) * left
