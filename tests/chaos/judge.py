"""What the log must show after any faults; it shares nothing with the control plane but the events and their fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from aios.kernel import invariants
from aios.kernel.events import (
    AttemptEnded,
    CheckpointSaved,
    EpochStarted,
    Event,
    Finished,
    Granted,
    Outcome,
    Published,
    Submitted,
    WorkloadId,
)
from aios.kernel.evolve import evolve
from aios.kernel.state import State


def folded(events: Iterable[Event]) -> State:
    state = State()
    for event in events:
        state = evolve(event, state)
    return state


def wrong_in(
    events: Sequence[Event], acknowledged: Iterable[str], statuses: Mapping[str, str], effects: Path, n_epochs: int
) -> list[str]:
    """Return every broken promise, a sentence each.

    Parameters
    ----------
    acknowledged : iterable of str
        Ids that clients were given.
    statuses : mapping
        What the living control plane says of workloads.
    """
    state = folded(events)
    submitted = Counter(e.work.id for e in events if isinstance(e, Submitted))
    wrong = [f"{id} was acknowledged and is lost" for id in acknowledged if id not in submitted]
    wrong += [f"{id} was recorded {n} times" for id, n in submitted.items() if n > 1]
    over = {e.workload: e.status for e in events if isinstance(e, Finished)}
    wrong += [f"{id} has not ended" for id in submitted if id not in over]
    wrong += [
        f"{id}: the control plane says {said}, its log says {over.get(WorkloadId(id))}"
        for id, said in statuses.items()
        if over.get(WorkloadId(id)) != said
    ]
    wrong += list(invariants.violations(state))
    wrong += _twice(events)
    wrong += _falling("fence", [e.fence for e in events if isinstance(e, Granted)])
    wrong += _falling("epoch", [e.epoch for e in events if isinstance(e, EpochStarted)])
    began = sum(isinstance(e, EpochStarted) for e in events)
    if began < n_epochs:
        wrong.append(f"{began} control planes began, and {n_epochs} were expected")
    steps: dict[str, int] = {}
    for e in events:
        if isinstance(e, CheckpointSaved):
            if e.step < steps.get(e.workload, 0):
                wrong.append(f"{e.workload}: its checkpoint fell from step {steps[e.workload]} to {e.step}")
            steps[e.workload] = e.step
    return wrong + _effects(events, effects)


def _twice(events: Sequence[Event]) -> list[str]:
    once: Counter[tuple[str, ...]] = Counter()
    for e in events:
        match e:
            case Granted():
                once["grant", e.workload, str(e.attempt)] += 1
            case AttemptEnded():
                once["end", e.workload, str(e.attempt)] += 1
            case Finished():
                once["finish", e.workload] += 1
            case Published():
                once["version", e.artefact.name, str(e.version)] += 1
                once["publication", e.artefact.name, e.workload] += 1
    return [f"{' '.join(what)} was recorded {n} times" for what, n in once.items() if n > 1]


def _falling(what: str, numbers: Sequence[int]) -> list[str]:
    return [f"{what} {after} follows {before}" for before, after in pairwise(numbers) if after <= before]


def _effects(events: Sequence[Event], file: Path) -> list[str]:
    """An attempt's engine runs at most once, and one that counts as succeeded has really done its work."""
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    done = Counter((words[0], words[1], words[2]) for words in lines)
    wrong = [f"{' '.join(what)} happened {n} times" for what, n in done.items() if n > 1]
    counted = {e.work.id for e in events if isinstance(e, Submitted) and e.work.kind == "tick"}
    ends = [
        e for e in events if isinstance(e, AttemptEnded) and e.outcome is Outcome.SUCCEEDED and e.workload in counted
    ]
    undone = [e for e in ends if not done["end", e.workload, str(e.attempt)]]
    return wrong + [f"{e.workload} attempt {e.attempt} counts as succeeded and did not do its work" for e in undone]
