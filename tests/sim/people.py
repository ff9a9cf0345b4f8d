"""What people do in a schedule: they submit work, ask again, change their minds, and operate the cluster."""

from __future__ import annotations

import random
from dataclasses import replace
from string import ascii_lowercase

from aios.kernel.ports import (
    ApplyPolicy,
    ApplyTenants,
    Drain,
    PauseTenant,
    PreemptWork,
    Request,
    Resume,
    ResumeTenant,
    Retry,
    StopWork,
    Submit,
    Suspend,
    Undrain,
)
from placement.model import Node, Policy
from tests.support.building import submit, tenant, want

BY_HAND = Drain | Undrain | Suspend | Resume | PreemptWork | PauseTenant | ResumeTenant | Retry
"""What comes too early or too late as often as not, and may be refused."""
WEIGHTS = (1.0, 2.0, 3.0)
HANG_S = 1e9
FEW, MANY = 1, 50
FEW_RETRIES = "dh"
"""Whose work may fail once."""
RERUN, KEYLESS, SHARED = "ei", "g", "bcf"
"""Whose work is submitted to run anew, under no key, and to make versions of one dataset."""


def works(rng: random.Random, name: str, largest: int, endless: bool) -> Submit:
    """Return one workload, or a pipeline of three that ends in a service, the last stage named first."""
    cpu, n = rng.choice(((1, 2), (rng.randint(1, largest), 1), (rng.randint(1, largest), 1)))
    urgency, grace_s = rng.choice((0, 0, 5, 10)), rng.choice((2.0, 20.0))
    retries = FEW if name[0] in FEW_RETRIES else MANY
    mine = {"tenant": rng.choice(("team", "other")), "max_retries": retries, "grace_s": grace_s}
    mine["rerun"] = name[0] in RERUN
    key = "" if name[0] in KEYLESS else name
    out, run_s = f"dataset://{'shared' if name[0] in SHARED else name}", rng.uniform(5.0, 90.0)
    if endless:
        return submit(want(name, n, cpu, priority=urgency, estimate_s=HANG_S, time_limit_s=60.0, **mine), key=key)
    first = want(name, n, cpu, priority=urgency, estimate_s=run_s, outputs=(("out", out),), **mine)
    if n > 1 and rng.random() < 0.3:
        first = replace(first, demand=replace(first.demand, min_bundles=1))
    if rng.random() < 0.7:
        return submit(first, key=key)
    after, serve = f"{name}-next", f"{name}-serve"
    second = want(after, priority=urgency, needs=(name,), inputs=(("in", out),), estimate_s=20.0, **mine)
    service = want(serve, cpu=0.001, priority=20, needs=(after,), service=True, **mine)
    return submit(service, second, first, key=key)


def arrivals(rng: random.Random, largest: int, endless: float) -> list[tuple[float, Submit, float | None]]:
    """Return when what is submitted, and when somebody stops it."""
    found: list[tuple[float, Submit, float | None]] = []
    for i in range(rng.randint(3, 11)):
        at_s = rng.uniform(0.0, 200.0)
        work = works(rng, f"{ascii_lowercase[i]}{i}", largest, rng.random() < endless)
        found.append((at_s, work, at_s + rng.uniform(0.0, 100.0) if rng.random() < 0.15 else None))
    return found


def otherwise(work: Submit) -> Submit:
    """Return a submission with the same key and other content."""
    return replace(work, works=tuple(replace(one, content="other") for one in work.works))


def acts(rng: random.Random, nodes: list[Node], ids: list[str]) -> list[tuple[float, Request]]:
    """Return one thing that somebody does, and how it is undone later, each with how much later."""
    back_s, one = rng.uniform(5.0, 40.0), rng.choice(nodes)
    who = rng.choice(("team", "other"))
    choices: list[list[tuple[float, Request]]] = [
        [(0.0, Drain(one.id, 5.0, "somebody")), (back_s, Undrain(one.id, "somebody"))],
        [
            (0.0, PauseTenant(who, rng.choice(("", "drain", "now")), "somebody")),
            (back_s, ResumeTenant(who, "somebody")),
        ],
        [(0.0, ApplyTenants((tenant("team", weight=rng.choice(WEIGHTS)),)))],
        [(0.0, ApplyPolicy(Policy(ageing_s=rng.choice((None, 120.0)))))],
    ]
    if ids:
        id = rng.choice(ids)
        choices.append([(0.0, Suspend(id)), (back_s, Resume(id))])  # type: ignore[arg-type]  # an id
        choices.append([(0.0, PreemptWork(id))])  # type: ignore[arg-type]  # an id
        choices.append([(0.0, Retry((id,)))])  # type: ignore[arg-type]  # an id
        choices.append([(0.0, StopWork(id, "somebody"))])  # type: ignore[arg-type]  # an id
    return rng.choice(choices)
