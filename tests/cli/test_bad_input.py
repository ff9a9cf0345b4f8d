"""What users get wrong: each says what, where and how to mend it, has its exit code, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Aios
from tests.support.plane import Served

GOOD = "kind: script\nname: count\nentrypoint: python count.py\nestimate: 5s\n"
TRAIN = """\
kind: pipeline
name: digits
stages:
  - kind: ingest
    name: ingest
    source: {sklearn: digits}
    outputs: {data: dataset://digits}
  - kind: train
    name: train
    inputs: {data: dataset://digits}
    outputs: {model: model://digits}
    epocs: 5
"""


@dataclass(frozen=True, slots=True)
class Case:
    text: str
    code: int
    says: tuple[str, ...]


CASES = {
    "an unknown key in a stage": Case(
        TRAIN, 2, ("bad.yaml:12: train.epocs: unknown key", "did you mean 'epochs'?", "valid keys: ", "batch_size")
    ),
    "an unknown key at the top": Case(
        GOOD + "num_cpu: 2\n", 2, ("bad.yaml:5: num_cpu: unknown key", "did you mean 'num_cpus'?")
    ),
    "a wrong unit": Case(
        GOOD + "memory: 2 gigs\n", 2, ("bad.yaml:5: memory: ", "'2 gigs' is not an amount", "KiB, MiB, GiB or TiB")
    ),
    "a unit where none belongs": Case(
        GOOD + "resources: {GPU: 2GiB}\n", 2, ("bad.yaml:5: resources: ", "has a unit of memory", "plain number")
    ),
    "a wrong duration": Case(
        GOOD + "grace: 5 parsecs\n", 2, ("bad.yaml:5: grace: ", "'5 parsecs' is no duration", "such as 30s")
    ),
    "text where a number belongs": Case(
        GOOD + "num_cpus: two\n", 2, ("bad.yaml:5: num_cpus: must be a number", "such as 2 or 0.5")
    ),
    "a priority that is a fraction": Case(
        GOOD + "priority: 1.5\n", 2, ("bad.yaml:5: priority: must be a whole number",)
    ),
    "a key that is given twice": Case(GOOD + "name: other\n", 2, ("bad.yaml:5: name: given twice, first in line 2",)),
    "no YAML": Case("kind: [script\n", 2, ("bad.yaml:", "no valid YAML")),
    "an empty file": Case("\n", 2, ("bad.yaml: there is nothing in it",)),
    "an unknown kind": Case(
        GOOD.replace("script", "scirpt"), 2, ("bad.yaml:1: kind: unknown kind 'scirpt'", "did you mean 'script'?")
    ),
    "no kind": Case("name: x\n", 2, ("bad.yaml:1: kind: is missing", "one of ", "script")),
    "a missing key": Case("kind: script\nname: x\n", 2, ("entrypoint: is missing",)),
    "an unknown tenant": Case(
        GOOD + "tenant: visoin\n",
        2,
        ("bad.yaml:5: tenant: unknown tenant 'visoin'", "did you mean 'vision'?", "known: "),
    ),
    "a bundle that no node could ever hold": Case(
        GOOD + "num_cpus: 64\n",
        104,
        ("no node could ever hold one bundle of 64 CPU", "the largest node, ", "has 2 CPU"),
    ),
    "a gang that the cluster could never hold": Case(
        GOOD + "workers: {num_workers: 9, resources_per_worker: {GPU: 1}}\n",
        104,
        ("a gang of 9 asks for 9 GPU, and the whole cluster has 6 CPU, 3 GPU", "ask for fewer"),
    ),
    "a topology that the cluster does not have": Case(
        GOOD + "workers: {num_workers: 4, resources_per_worker: {CPU: 1}, placement_strategy: STRICT_SPREAD}\n",
        104,
        ("could not start even on the empty cluster: ", "; "),
    ),
    "a selector that no node meets": Case(
        GOOD + "accelerator_type: TPU\n", 104, ("no node has ray.io/accelerator-type=TPU", "aios nodes -o wide")
    ),
    "a missing dataset": Case(
        "kind: train\nname: t\ninputs: {data: dataset://digitz}\noutputs: {model: model://m}\n",
        2,
        ("bad.yaml:3: inputs.data: missing dataset: there is no dataset://digitz",),
    ),
    "a need that nobody meets": Case(GOOD + "needs: [nobody]\n", 2, ("needs[0]: 'nobody' is not in this submission",)),
    "stages that need each other": Case(
        "kind: pipeline\nname: p\nstages:\n"
        "  - {kind: script, name: a, entrypoint: x, needs: [b]}\n"
        "  - {kind: script, name: b, entrypoint: x, needs: [a]}\n",
        2,
        ("go round in a circle: p-a → p-b → p-a",),
    ),
    "a stage that is named twice": Case(
        "kind: pipeline\nname: p\nstages:\n"
        "  - {kind: script, name: a, entrypoint: x}\n"
        "  - {kind: script, name: a, entrypoint: y}\n",
        2,
        ("bad.yaml:5: a.name: 'p-a' is given twice",),
    ),
    "a name that is none": Case(
        GOOD.replace("count\n", "Count It\n"), 2, ("bad.yaml:2: name: ", "is no name: use 1 to 63")
    ),
    "a working_dir that is not there": Case(GOOD + "working_dir: nowhere\n", 2, ("nowhere is no folder",)),
    "not a number at all": Case(GOOD + "num_cpus: .nan\n", 2, ("bad.yaml:5: num_cpus: .nan is not a finite number",)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_is_refused_with_what_where_and_how(aios: Aios, plane: Served, case: Case) -> None:
    assert aios("tenant", "apply", "-f", _write("tenants.yaml", "kind: tenant\nname: vision\n")).code == 0
    before = plane.state.version
    _write("bad.yaml", case.text)
    for command in (["run"], ["apply", "--dry-run", "-f"]):
        ran = aios(*command, "bad.yaml")
        assert ran.code == case.code, ran.err
        assert ran.out == ""
        for part in case.says:
            assert part in ran.err
        assert "Traceback" not in ran.err
        assert plane.state.version == before
    assert not (plane.home / "storage" / "packages").exists()


def test_all_problems_of_a_file_are_told_at_once(aios: Aios) -> None:
    ran = aios("submit", _write("bad.yaml", GOOD + "num_cpu: 2\ngrace: ten\n---\nkind: nothing\n"))
    assert [line.partition(": ")[2].partition(": ")[0] for line in ran.err.splitlines()[:3]] == [
        "bad.yaml:6", "bad.yaml:5", "bad.yaml:8",
    ]  # fmt: skip


def test_a_refused_submission_uploads_nothing(aios: Aios, plane: Served) -> None:
    Path("count.py").write_text("print(1)")
    assert aios("run", "--num-cpus", "64", "--", "python", "count.py").code == 104
    assert not (plane.home / "storage" / "packages").exists()
    assert not plane.state.workloads


def test_the_same_name_and_content_is_the_same_workload(aios: Aios, plane: Served) -> None:
    first = aios("submit", _write("good.yaml", GOOD))
    again = aios("submit", "good.yaml")
    assert (again.code, again.out) == (0, first.out)
    assert "was submitted before" in again.err
    assert len(plane.state.workloads) == 1


def test_the_same_name_with_other_content_is_refused(aios: Aios, plane: Served) -> None:
    id = aios("submit", _write("good.yaml", GOOD)).out.strip()
    other = aios("submit", _write("other.yaml", GOOD + "priority: 5\n"))
    assert other.code == 104
    assert f"'count' is taken by {id}" in other.err
    assert "choose another name" in other.err
    assert len(plane.state.workloads) == 1


def test_what_was_stopped_says_so(aios: Aios) -> None:
    aios("submit", _write("good.yaml", GOOD.replace("5s", "100d")))
    aios("stop", "count")
    waited = aios("wait", "count", "--timeout", "20s")
    assert waited.code == 103
    assert "STOPPED" in waited.err


@pytest.mark.parametrize("command", ["describe", "explain", "stop", "wait", "logs"])
def test_what_is_not_there_is_not_found(aios: Aios, command: str) -> None:
    aios("submit", _write("good.yaml", GOOD))
    ran = aios(command, "conut")
    assert ran.code == 102
    assert "there is no workload 'conut'" in ran.err
    assert "did you mean 'count'?" in ran.err


def test_a_prefix_of_several_lists_them(aios: Aios) -> None:
    ids = [aios("submit", _write("good.yaml", GOOD.replace("count", name))).out.strip() for name in ("aa", "ab")]
    ran = aios("stop", "a")
    assert ran.code == 2
    assert all(id in ran.err for id in ids)


@pytest.mark.parametrize(
    "command", [["ps"], ["run", "good.yaml"], ["status"], ["stop", "x"], ["apply", "-f", "good.yaml"]], ids=" ".join
)
def test_no_cluster_says_how_to_start_one(alone: Aios, command: list[str]) -> None:
    _write("good.yaml", GOOD)
    ran = alone(*command)
    assert ran.code == 108
    assert "no cluster is running here" in ran.err
    assert "aios up" in ran.err


def test_a_control_plane_that_does_not_answer_is_given_up_after_a_while(
    alone: Aios, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOS_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("AIOS_TOKEN", "x")
    ran = alone("ps")
    assert ran.code == 108
    assert "trying again for up to 1 s" in ran.err
    assert "no control plane answers at http://127.0.0.1:9" in ran.err


def test_a_wrong_token_is_refused(aios: Aios, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOS_TOKEN", "wrong")
    ran = aios("ps")
    assert ran.code == 107
    assert "api_token" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        ["run"],
        ["run", "a.yaml", "--", "python", "x.py"],
        ["run", "--num-cpus", "2", "a.yaml"],
        ["rnu", "a.yaml"],
        ["ps", "-s", "DOING"],
        ["wait", "x", "--timeout", "soon"],
        ["ps", "-o", "xml"],
        ["run", "missing.yaml"],
        ["logs"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_a_usage_error(aios: Aios, command: list[str]) -> None:
    ran = aios(*command)
    assert ran.code == 2, ran.err
    assert ran.err
    assert "Traceback" not in ran.err


def test_a_mistyped_command_gets_a_suggestion(alone: Aios) -> None:
    assert "Did you mean 'explain'?" in alone("explian", "x").err


def _write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


TENANTS = {
    "parents in a circle": ("kind: tenant\nname: a\nparent: b\n---\nkind: tenant\nname: b\nparent: a\n", "a → b → a"),
    "an unknown parent": (
        "kind: tenant\nname: a\nparent: nope\n",
        "bad.yaml:3: parent: tenant 'a' has an unknown parent",
    ),
    "a weight of nothing": (
        "kind: tenant\nname: a\nweight: 0\n",
        "bad.yaml:3: weight: must be greater than or equal to 0.000001",
    ),
    "a quota in a wrong unit": ("kind: tenant\nname: a\nquota: {memory: 3 apples}\n", "'3 apples' is not an amount"),
    "a limit below the quota": (
        "kind: tenant\nname: a\nquota: {CPU: 4}\nlimit: {CPU: 2}\n",
        "bad.yaml:4: limit: limit 2 CPU is below the quota 4",
    ),
    "a workload": (GOOD, "only documents of kind tenant belong here"),
}


@pytest.mark.parametrize("case", TENANTS)
def test_a_wrong_tenant_is_refused_and_none_is_changed(aios: Aios, plane: Served, case: str) -> None:
    text, says = TENANTS[case]
    before = plane.state.tenants
    ran = aios("tenant", "apply", "-f", _write("bad.yaml", text))
    assert ran.code == 2
    assert says in ran.err
    assert ran.out == ""
    assert plane.state.tenants == before
