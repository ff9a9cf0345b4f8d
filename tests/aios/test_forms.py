"""Alternatives, speeds and deadlines of a workload file reach the planner as they were meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from aios.errors import InvalidSpec
from aios.submission import compile_documents
from placement.model import ACCELERATOR_KEY, Demand

BASE = {"kind": "script", "name": "fit", "entrypoint": "python fit.py"}


def demand(**keys: object) -> Demand:
    (work,) = compile_documents([{**BASE, **keys}]).works
    return work.demand


def test_another_number_of_workers_is_another_form() -> None:
    one = demand(
        workers={"num_workers": 8, "resources_per_worker": {"GPU": 1}},
        alternatives=[{"workers": {"num_workers": 4, "resources_per_worker": {"GPU": 2}}, "throughput": 0.9}],
    )
    (other,) = one.alternatives
    assert [len(one.bundles), len(other.bundles)] == [8, 4]
    assert other.bundles[0].resources.get("GPU") == 2000
    assert other.throughput == 0.9
    assert one.form(1).min_bundles == 4


def test_another_accelerator_keeps_the_rest_of_the_form() -> None:
    one = demand(
        workers={"num_workers": 4, "min_workers": 2, "resources_per_worker": {"GPU": 1}},
        accelerator_type="H100",
        alternatives=[{"accelerator_type": "A100"}],
    )
    first, second = one.bundles[0].selector, one.alternatives[0].bundles[0].selector
    assert (str(first), str(second)) == (f"{ACCELERATOR_KEY}=H100", f"{ACCELERATOR_KEY}=A100")
    assert (len(one.alternatives[0].bundles), one.alternatives[0].min_bundles) == (4, 2)


def test_speed_scaling_and_deadline_are_passed_on() -> None:
    one = demand(
        workers={"num_workers": 4, "min_workers": 1, "scaling": {"1": 1, "4": 2.5}},
        speed={"H100": 2, "A100": 1},
        deadline="2h",
        profile="memory",
    )
    assert one.speed == (("A100", 1.0), ("H100", 2.0))
    assert one.scaling == ((1, 1.0), (4, 2.5))
    assert (one.deadline_s, one.profile) == (7200.0, "memory")


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"alternatives": [{"throughput": 0.5}]}, "nothing else"),
        ({"alternatives": [{"accelerator_type": "A100", "throughput": 0}]}, "throughput"),
        ({"alternatives": [{"accelerator": "A100"}]}, "accelerator"),
        ({"speed": {"H100": -1}}, "speed"),
        ({"workers": {"num_workers": 2, "scaling": {"4": 2}}}, "above num_workers"),
        ({"deadline": "soon"}, "deadline"),
    ],
)
def test_forms_that_make_no_sense_are_refused(keys: dict[str, object], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec) as caught:
        demand(**keys)
    told = " ".join(f"{'.'.join(map(str, p.loc))} {p.message} {p.hint}" for p in caught.value.problems)
    assert complaint in told
