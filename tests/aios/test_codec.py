"""Every event survives the log, and what does not fit is refused with its place and what to do."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.errors import UnreadableEvent
from aios.kernel.events import EVENTS, Event, Finished, NodeChanged, PlanAdopted, WorkloadId
from aios.store.codec import coder, decode, dumps, encode, loads
from placement.model import Bundle, Demand, Node, NodeId, Policy, Resources, Shape, Tenant, Topology

SAMPLES = Path(__file__).parents[1] / "contract" / "logs"

# Text with everything that JSON, SQLite and terminals stumble over: NUL, lone surrogates, quotes, line separators.
texts = st.text(max_size=8) | st.sampled_from(["", "\x00", "\ud800", '"\\', "\u2028", "naïve 数据 🙂", "inf"])
finite = st.floats(0, 1e12)
amounts = st.dictionaries(texts, st.integers(1, 2**62), max_size=3)
st.register_type_strategy(str, texts)
st.register_type_strategy(float, st.floats(allow_nan=False))
st.register_type_strategy(Resources, amounts.map(Resources.of))


def of_type(cls: type, **given_fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return instances of a dataclass with all of its fields drawn, defaults or not."""
    hints = get_type_hints(cls)
    drawn = {f.name: st.from_type(hints[f.name]) for f in fields(cls)} | given_fields
    return st.builds(cls, **drawn)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    bundles = tuple(draw(st.lists(of_type(Bundle), min_size=1, max_size=3)))
    return Shape(bundles, draw(st.integers(1, len(bundles))), draw(st.floats(0.01, 10)))


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    bundles = tuple(draw(st.lists(of_type(Bundle), min_size=1, max_size=3)))
    pairs = st.lists(st.tuples(texts, finite), max_size=2).map(tuple)
    made: Demand = draw(
        of_type(
            Demand,
            bundles=st.just(bundles),
            min_bundles=st.integers(1, len(bundles)),
            topologies=st.lists(st.from_type(Topology), max_size=1).map(tuple),
            submitted_s=finite,
            runtime_s=st.none() | finite,
            deadline_s=st.none() | finite,
            served_s=finite,
            attained=finite,
            speed=pairs,
            scaling=st.lists(st.tuples(st.integers(1, 9), finite), max_size=2).map(tuple),
        )
    )
    return made


st.register_type_strategy(
    Topology,
    st.one_of(
        of_type(Topology, kind=st.just("pack"), slice=st.sampled_from([0, 2, 4]), skew=st.none()),
        of_type(Topology, kind=st.just("spread"), slice=st.just(0), skew=st.one_of(st.none(), st.integers(1, 9))),
    ),
)
limits = st.none() | st.lists(st.tuples(texts, st.integers(0, 2**62)), max_size=2).map(tuple)
st.register_type_strategy(
    Tenant, of_type(Tenant, weight=st.floats(0.001, 1000), borrow_limit=limits, lend_limit=limits, limit=limits)
)
seconds = st.none() | st.floats(0.001, 1e9)
neighbours = st.lists(st.tuples(texts, texts, st.floats(0, 1)), max_size=2).map(tuple)
st.register_type_strategy(
    Policy,
    of_type(
        Policy,
        ageing_s=seconds,
        time_slice_s=seconds,
        usage_half_life_s=st.floats(1, 1e9),
        interference=neighbours,
    ),
)
st.register_type_strategy(Node, of_type(Node, resources=amounts.map(lambda a: Resources.of({**a, "GPU": 1000}))))
st.register_type_strategy(Shape, shapes())
st.register_type_strategy(Demand, demands())
events: st.SearchStrategy[Event] = st.sampled_from(EVENTS).flatmap(of_type)


@given(events)
@settings(max_examples=300, deadline=None)
def test_every_event_comes_back_from_its_line_as_it_was(event: Event) -> None:
    line = dumps(event)
    assert line.isascii()
    assert "\n" not in line
    back = loads(line)
    assert back == event
    assert type(back) is type(event)
    assert dumps(back) == line


def test_all_event_types_have_a_coder() -> None:
    for cls in EVENTS:
        assert is_dataclass(cls)
        coder(cls)


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_logs_of_every_released_version_still_decode(sample: Path) -> None:
    lines = sample.read_text().splitlines()
    seen = [loads(line) for line in lines]
    assert {type(event).__name__ for event in seen} == {json.loads(line)["type"] for line in lines}
    for line, event in zip(lines, seen, strict=True):
        # What was written then is still there now; later versions may have added fields to it, and renamed one.
        assert contains(json.loads(dumps(event)), renamed(json.loads(line)))


def renamed(record: Any) -> Any:
    """Return a record with its fields by the names of today."""
    if isinstance(record, list):
        return [renamed(item) for item in record]
    if not isinstance(record, dict):
        return record
    out = {key: renamed(value) for key, value in record.items() if key != "topology" or "bundles" not in record}
    if "topology" in record and "bundles" in record:
        out["topologies"] = [] if record["topology"] is None else [record["topology"]]
    return out


def test_the_newest_sample_has_all_event_types() -> None:
    newest = sorted(SAMPLES.glob("*.jsonl"))[-1]
    named = {json.loads(line)["type"] for line in newest.read_text().splitlines()}
    assert named == {cls.__name__ for cls in EVENTS}


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


FINISHED = Finished(2.5, WorkloadId("w-1"), "FAILED", reason="error", exit_code=3)
ADOPTED = PlanAdopted(1.0, 1, "cpsat", "optimal", 1.0, 1.0, 0.0, 0.25, terms=(("wait", -2.0),))


def test_numbers_that_json_lacks_are_kept() -> None:
    event = replace(ADOPTED, bound=math.inf, gap=math.nan, objective=-math.inf)
    back = loads(dumps(event))
    assert isinstance(back, PlanAdopted)
    assert (back.bound, back.objective) == (math.inf, -math.inf)
    assert math.isnan(back.gap)


def test_missing_fields_take_their_defaults() -> None:
    assert loads('{"type":"Finished","at_s":2.5,"workload":"w-1","status":"STOPPED"}') == Finished(
        2.5, WorkloadId("w-1"), "STOPPED"
    )


@pytest.mark.parametrize(
    "change, message",
    [
        pytest.param({"colour": "red"}, "Finished.colour: Finished has no such field", id="unknown field"),
        pytest.param({"type": "Teleported"}, "'Teleported' is not known", id="unknown event"),
    ],
)
def test_what_a_newer_version_wrote_is_refused_and_said_to_be_newer(change: dict[str, str], message: str) -> None:
    with pytest.raises(UnreadableEvent, match=message) as caught:
        decode(encode(FINISHED) | change)
    assert "newer version of AIOS" in caught.value.hint


def test_an_unknown_member_of_an_enum_is_refused_and_said_to_be_newer() -> None:
    line = dumps(NodeChanged(1.0, Node(NodeId("n1"), Resources.of({"CPU": 1000})))).replace('"ready"', '"asleep"')
    with pytest.raises(UnreadableEvent, match=r"NodeChanged\.node\.state: 'asleep' is not one of ready") as caught:
        loads(line)
    assert "newer" in caught.value.hint


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"type":"Finished"', "not JSON"),
        ("[]", "an event is an object"),
        ('{"type":3}', "an event is an object"),
        ('{"type":"Finished","at_s":1}', "lacks status, workload"),
        ('{"type":"Finished","at_s":"1","workload":"w","status":"S"}', r"Finished\.at_s: '1' \(str\) is not a finite"),
        ('{"type":"Finished","at_s":true,"workload":"w","status":"S"}', r"at_s: True"),
        ('{"type":"Finished","at_s":NaN,"workload":"w","status":"S"}', "NaN is not JSON"),
        ('{"type":"Finished","at_s":1e999,"workload":"w","status":"S"}', "at_s: inf"),
        ('{"type":"Finished","at_s":1,"workload":null,"status":"S"}', r"workload: None .* is not text"),
        ('{"type":"Finished","at_s":1,"workload":"w","status":"S","exit_code":1.5}', "exit_code: 1.5"),
        ('{"type":"Granted","at_s":1,"workload":"w","attempt":1,"fence":1,"nodes":["a",2]}', r"Granted\.nodes\[1\]: 2"),
        ('{"type":"TenantsApplied","at_s":1,"tenants":[{"id":"t","weight":-1}]}', "weight must be a positive"),
        ('{"type":"TenantsApplied","at_s":1,"tenants":[{"id":"t","usage":[["CPU"]]}]}', r"usage\[0\]: .*list of 2"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_with_its_place(line: str, message: str) -> None:
    with pytest.raises(UnreadableEvent, match=message):
        loads(line)


@pytest.mark.parametrize(
    "event, message",
    [
        pytest.param(replace(FINISHED, status=7), r"Finished\.status: 7 \(int\) is not text", id="type"),
        pytest.param(replace(FINISHED, exit_code=True), r"Finished\.exit_code: True", id="bool for int"),
        pytest.param(replace(ADOPTED, terms=[("a", 1.0)]), r"PlanAdopted\.terms: .*is not a tuple", id="list"),
        pytest.param(replace(ADOPTED, terms=(("a", "1"),)), r"PlanAdopted\.terms\[0\]\[1\]: '1'", id="deep"),
    ],
)
def test_an_event_that_could_not_be_read_is_never_written(event: Event, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        dumps(event)


class Shade(Enum):
    DARK = 1
    LIGHT = 2


@dataclass(frozen=True, slots=True)
class Circle:
    r: float


@dataclass(frozen=True, slots=True)
class Square:
    a: int
    shade: Shade | None = None


@dataclass(frozen=True, slots=True)
class Drawing:
    shapes: tuple[Circle | Square, ...] = ()
    title: str | int | None = None
    shades: Mapping[Shade, Mapping[str, int]] = None  # type: ignore[assignment]  # always given below


@given(of_type(Drawing))
@settings(deadline=None)
def test_unions_mappings_and_enums_come_back_too(drawing: Drawing) -> None:
    both = coder(Drawing)
    assert both.decode(json.loads(json.dumps(both.encode(drawing)))) == drawing


def test_types_that_a_log_must_not_hold_are_refused_when_they_are_declared() -> None:
    with pytest.raises(TypeError, match="cannot be written to the log"):
        coder(bytes)
    with pytest.raises(TypeError, match="is not in EVENTS"):
        encode(Circle(1.0))  # type: ignore[arg-type]  # no event: that is the point
