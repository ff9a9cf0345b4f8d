"""Gates: what a model must reach, and whether it does, gate by gate and slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.evaluate.metrics import better
from pipelines.evaluate.results import Difference, Value
from pipelines.evaluate.slicing import Slice
from pipelines.evaluate.spec import GateSpec


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one slice, or of all rows: metrics, and how they differ from the baseline's."""

    n: int
    values: Mapping[str, Value]
    differences: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate on one slice: what it asks, whether it held, and why."""

    metric: str
    slice: str
    asks: str
    held: bool
    why: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verdicts(
    gates: Sequence[GateSpec], measured: Mapping[str, Measured], slices: Sequence[Slice], has_baseline: bool
) -> list[Verdict]:
    """Return the verdict on each gate, in order; one on a column has a verdict for each of its slices."""
    return [verdict for gate in gates for verdict in _of_gate(gate, measured, slices, has_baseline)]


def unknown_slices(gates: Sequence[GateSpec], slices: Sequence[Slice]) -> list[str]:
    """Return the slices that gates name and the data does not have."""
    there = {one.label for one in slices} | {one.column for one in slices}
    return [gate.slice for gate in gates if gate.slice is not None and gate.slice not in there]


def _of_gate(
    gate: GateSpec, measured: Mapping[str, Measured], slices: Sequence[Slice], has_baseline: bool
) -> Iterator[Verdict]:
    for label in _labels(gate, slices):
        found = measured[label]
        of_all = gate.slice is not None and gate.slice != label
        for asks, held, why in _judged(gate, found, has_baseline):
            if of_all and found.n < gate.min_rows:
                yield Verdict(gate.metric, label, asks, True, f"not judged: {found.n} rows, fewer than {gate.min_rows}")
            else:
                yield Verdict(gate.metric, label, asks, held, why)


def _labels(gate: GateSpec, slices: Sequence[Slice]) -> list[str]:
    if gate.slice is None:
        return [""]
    column = [one.label for one in slices if one.column == gate.slice]
    return column or [gate.slice]


def _judged(gate: GateSpec, found: Measured, has_baseline: bool) -> Iterator[tuple[str, bool, str]]:
    value = found.values.get(gate.metric)
    sure = f" with the whole {'interval' if gate.confident else ''}".rstrip() if gate.confident else ""
    for name, bound in (("min", gate.min), ("max", gate.max)):
        if bound is None:
            continue
        asks = f"{'at least' if name == 'min' else 'at most'} {bound:g}{sure}"
        if value is None:
            yield asks, False, f"it cannot be computed from these {found.n} rows"
            continue
        at = _deciding(value, name, gate.confident)
        if at is None:
            yield asks, False, "it has no interval on these rows"
            continue
        held = at >= bound if name == "min" else at <= bound
        end = f" (its {'lower' if name == 'min' else 'upper'} end {at:.4f})" if gate.confident else ""
        yield asks, held, f"{value.value:.4f}{end} is {_side(at, bound)} {bound:g}"
    if gate.max_drop is not None:
        asks = f"at most {gate.max_drop:g} worse than the baseline{sure}"
        difference = found.differences.get(gate.metric)
        if not has_baseline:
            yield asks, True, "there is no baseline yet to compare with"
        elif difference is None:
            yield asks, False, f"it cannot be compared on these {found.n} rows"
        else:
            yield asks, *_dropped(gate, difference)


def _dropped(gate: GateSpec, difference: Difference) -> tuple[bool, str]:
    assert gate.max_drop is not None
    way = better(gate.metric)
    worst = difference.value
    if gate.confident:
        end = difference.low if way > 0 else difference.high
        if end is None:
            return False, "the difference has no interval on these rows"
        worst = end
    drop = -worst * way
    end_text = f" (up to {drop:.4f} with the interval)" if gate.confident else ""
    told = f"{difference.value:+.4f} against the baseline{end_text}"
    return drop <= gate.max_drop, told if drop <= gate.max_drop else f"{told}, worse by more than {gate.max_drop:g}"


def _deciding(value: Value, name: str, confident: bool) -> float | None:
    if not confident:
        return value.value
    return value.low if name == "min" else value.high


def _side(value: float, bound: float) -> str:
    return "at" if value == bound else "above" if value > bound else "below"


def missed(found: Sequence[Verdict]) -> list[str]:
    """Return one sentence for each gate that is missed."""
    return [f"{one.metric}{f' on {one.slice}' if one.slice else ''} {one.why}" for one in found if not one.held]
