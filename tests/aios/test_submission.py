"""Documents become works: stages are joined by what passes between them, and every complaint has its place."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.documents import read_text, render
from aios.engines import engines
from aios.errors import InvalidSpec, Problem, UnknownTenant
from aios.submission import Known, compile_documents
from placement.model import Resources


def script(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "script", "name": name, "entrypoint": "python x.py", **more}


def pipeline(*stages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "pipeline", "name": "p", "stages": list(stages), **more}


def problems(*documents: Any, known: Known | None = None) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(InvalidSpec) as caught:
        compile_documents(documents, known)
    return {problem.loc: f"{problem.message}; {problem.hint}" for problem in caught.value.problems}


def test_stages_take_name_tenant_and_priority_of_their_pipeline() -> None:
    compiled = compile_documents(
        [pipeline(script("a"), script("b", needs=["a"]), tenant="default", priority=7, labels={"team": "x"})]
    )
    assert [(w.name, w.tenant, w.priority, w.pipeline, w.needs) for w in compiled.works] == [
        ("p-a", "default", 7, "p", ()),
        ("p-b", "default", 7, "p", ("p-a",)),
    ]
    assert compiled.places == ((0, "stages", 0), (0, "stages", 1))
    assert json.loads(compiled.works[0].spec)["labels"] == {"team": "x"}


def test_a_workload_needs_whoever_makes_its_inputs() -> None:
    """Also in another document, and in whatever order they are written."""
    reads = script("reads", inputs={"data": "dataset://d"})
    makes = script("makes", outputs={"data": "dataset://d"})
    compiled = compile_documents([reads, makes])
    assert compiled.works[0].needs == ("makes",)
    assert compiled.works[1].needs == ()


def test_an_input_with_a_version_comes_from_the_catalogue() -> None:
    makes = script("makes", outputs={"data": "dataset://d"})
    reads = script("reads", inputs={"data": "dataset://d@2"})
    known = Known(versions={"dataset://d": (1, 2)})
    assert compile_documents([makes, reads], known).works[1].needs == ()
    assert "versions: 1, 2" in problems(script("x", inputs={"d": "dataset://d@3"}), known=known)[0, "inputs", "d"]


def test_a_workload_may_read_and_renew_the_same_dataset() -> None:
    both = script("renews", inputs={"d": "dataset://d"}, outputs={"d": "dataset://d"})
    assert compile_documents([both], Known(versions={"dataset://d": (1,)})).works[0].needs == ()
    assert (0, "inputs", "d") in problems(both)


def test_a_dataset_that_somebody_else_makes_now_names_the_maker() -> None:
    known = Known(makers={"dataset://d": "ingest-1a2b"})
    assert "aios wait ingest-1a2b" in problems(script("x", inputs={"d": "dataset://d"}), known=known)[0, "inputs", "d"]


def test_equal_documents_have_equal_content_whatever_the_order_of_keys() -> None:
    one = script("x", labels={"a": "1", "b": "2"}, num_cpus=2)
    other = dict(reversed(one.items())) | {"labels": {"b": "2", "a": "1"}}
    (first,), (second,) = (compile_documents([document]).works for document in (one, other))
    assert first.content == second.content
    assert first.content != compile_documents([{**one, "num_cpus": 3}]).works[0].content


@pytest.mark.parametrize(
    "document",
    [
        script("x", workers={"num_workers": 2, "resources_per_worker": {"CPU": 1, "memory": "1GiB"}}, grace="5s"),
        {"kind": "train", "name": "t", "inputs": {"data": "dataset://d"}, "outputs": {"model": "model://m"}},
        {"kind": "ingest", "name": "i", "source": {"sklearn": "digits"}, "outputs": {"data": "dataset://i"}},
        {"kind": "serve", "name": "s", "inputs": {"model": "model://m"}},
    ],
    ids=lambda document: document["kind"],
)
def test_the_engine_gets_back_the_spec_that_was_validated(document: dict[str, Any]) -> None:
    known = Known(versions={"dataset://d": (1,), "model://m": (1,)})
    (work,) = compile_documents([document], known).works
    engine = engines()[work.kind]
    again = engine.spec_type.model_validate_json(work.spec)
    assert engine.demand(again) == work.demand


def test_what_a_gang_asks_for_is_its_demand() -> None:
    gang = {"num_workers": 3, "min_workers": 2, "resources_per_worker": {"CPU": 1.5, "GPU": 1}}
    (work,) = compile_documents([script("x", workers=gang)]).works
    assert [bundle.resources for bundle in work.demand.bundles] == [Resources.parse({"CPU": 1.5, "GPU": 1})] * 3
    assert work.demand.min_bundles == 2


def test_all_problems_are_found_at_once() -> None:
    found = problems(script("x", bogus=1), {"kind": "nothing"}, "text", pipeline(script("a", needs=["b"]), tenant=5))
    assert set(found) == {(0, "bogus"), (1, "kind"), (2,), (3, "tenant")}


def test_an_unknown_tenant_alone_is_told_apart() -> None:
    with pytest.raises(UnknownTenant):
        compile_documents([script("x", tenant="nobody")])


def test_a_tenant_of_the_same_file_is_known() -> None:
    compiled = compile_documents([script("x", tenant="new"), {"kind": "tenant", "name": "new", "weight": 2}])
    assert [tenant.id for tenant in compiled.tenants] == ["new"]


def test_a_stage_may_not_leave_its_pipelines_tenant() -> None:
    assert (0, "stages", 0, "tenant") in problems(pipeline(script("a", tenant="other")))


def test_two_that_make_the_same_are_refused() -> None:
    same = {"d": "dataset://d"}
    assert "made by 'a' already" in problems(script("a", outputs=same), script("b", outputs=same))[1, "outputs", "d"]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_circle_of_any_length_is_named(n: int) -> None:
    stages = [script(f"s{i}", needs=[f"s{(i + 1) % n}"]) for i in range(n)]
    (text,) = problems(pipeline(*stages)).values()
    assert text.count("→") == n


@given(st.permutations(range(6)), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_needs_without_a_circle_are_accepted(order: list[int], pairs: set[tuple[int, int]]) -> None:
    before = {(order.index(a), order.index(b)) for a, b in pairs if a != b}
    edges = [(order[min(a, b)], order[max(a, b)]) for a, b in before]
    stages = [script(f"s{i}", needs=[f"s{a}" for a, b in edges if b == i]) for i in range(6)]
    assert len(compile_documents([pipeline(*stages)]).works) == 6


def test_a_misspelt_key_deep_inside_is_found_where_it_is() -> None:
    text = "kind: script\nname: x\nentrypoint: x\nworkers:\n  num_workers: 2\n  resources_per_wroker: {CPU: 1}\n"
    documents = read_text(text, "f.yaml")
    with pytest.raises(InvalidSpec) as caught:
        compile_documents([document.value for document in documents])
    (line,) = (render(problem, documents) for problem in caught.value.problems)
    assert line.startswith("f.yaml:6: workers.resources_per_wroker: unknown key; did you mean 'resources_per_worker'?")
    assert "num_workers" in line


def test_yaml_is_read_as_people_mean_it() -> None:
    (document,) = read_text("kind: train\nlr: 1e-3\nwhen: 2026-01-01\nflag: true\nnothing:\nlist: [a, 1, 2.5]\n---\n")
    assert document.value == {
        "kind": "train", "lr": 0.001, "when": "2026-01-01", "flag": True, "nothing": None, "list": ["a", 1, 2.5],
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["a: &x [*x]", "a: !!python/object/apply:os.system [x]", "? [a]\n: b", "- list", "a: 1\n b: 2", "a: \x00", "]", ""],
)
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        read_text(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidSpec):
        assert all(isinstance(document.value, dict) for document in read_text(text))


def test_a_bomb_of_anchors_is_refused() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
    )
    with pytest.raises(InvalidSpec, match="values"):
        read_text(bomb)


def test_a_problem_without_a_place_is_still_told() -> None:
    assert render(Problem((), "wrong", "mend it"), []) == "wrong; mend it"
