"""``python -m placement``: answers as JSON and as tables, for a file and for a folder, and refuses in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from placement.__main__ import PLANNERS, main

SCENARIOS = Path(__file__).parent / "scenarios"
EXAMPLES = Path(__file__).parents[2] / "examples" / "scenarios"
OURS = sorted([*SCENARIOS.glob("*.yaml"), *EXAMPLES.glob("*.yaml")])
URGENT = SCENARIOS / "urgent-work-displaces-training.yaml"


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_every_planner_answers_as_the_scenario_expects(
    path: Path, planner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = _run(capsys, "solve", path, "--planner", planner)
    assert (status, "NOT as expected" in out, "as expected" in out) == (0, False, True), out


def test_the_json_answer_has_the_form_of_the_format(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "solve", URGENT, "--json")
    answer = json.loads(out)
    assert status == 0
    assert list(answer) == ["admitted", "preempted", "resized", "moved", "waiting", "shares", "solver"]
    (node,) = answer["admitted"]["urgent"]["nodes"]
    assert node in ("a-0", "a-1")
    assert answer["preempted"] == {"vision-train": "priority of urgent"}
    assert set(answer["solver"]) == {"status", "objective", "bound", "gap", "wall_s", "planner"}


def test_a_wait_is_answered_with_code_sentence_and_hints(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _run(capsys, "solve", SCENARIOS / "draining-nodes-take-nothing-new.yaml", "--json")
    wait = json.loads(out)["waiting"]["large"]
    assert wait["reason"] == "drained"
    assert "needs 4 GPU" in wait["detail"]
    assert "node old were ready (draining now)" in wait["would_run_if"]


def test_a_folder_is_answered_by_file_name(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "solve", "--json", SCENARIOS, "--planner", "greedy")
    assert status == 0
    assert set(json.loads(out)) == {path.name for path in SCENARIOS.glob("*.yaml")}


def test_a_wrong_file_in_a_folder_does_not_cost_the_others_their_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.yaml").write_text(URGENT.read_text())
    (tmp_path / "wrong.yaml").write_text("tenant: []")
    status, out, err = _run(capsys, "solve", "--json", tmp_path, "--planner", "greedy")
    answers = json.loads(out)
    assert status == 0
    assert answers["good.yaml"]["admitted"]
    assert "did you mean 'tenants'?" in answers["wrong.yaml"]["error"]
    assert "wrong.yaml:1: tenant: unknown key" in err


def test_an_answer_that_is_not_as_expected_says_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(URGENT.read_text().replace("admitted: [urgent]", "admitted: []\n  bundles: {urgent: 2}"))
    _, out, _ = _run(capsys, "solve", path, "--planner", "greedy")
    assert "NOT as expected" in out
    assert "admitted: expected [], got [urgent]" in out
    assert "bundles: urgent expected 2, got 1" in out


def test_explain_tells_one_workload(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "explain", SCENARIOS / "every-reason-in-one-cluster.yaml", "nowhere")
    assert status == 0
    assert out.startswith("nowhere: waiting (selector)\n  needs 1 GPU; none of 4 nodes has zone=z9")
    _, out, _ = _run(capsys, "explain", URGENT, "vision-train")
    assert out.startswith("vision-train: preempted\n")
    _, out, _ = _run(capsys, "explain", URGENT, "health-train")
    assert out.startswith("health-train: running\n")


REFUSED = {
    "a wrong file": (["solve", "{wrong}"], "wrong.yaml:1: tenant: unknown key; did you mean 'tenants'?"),
    "no file": (["solve", "{folder}/absent.yaml"], "absent.yaml: cannot be read: No such file or directory"),
    "a folder without scenarios": (["solve", "{folder}/empty"], "empty: holds no .yaml file"),
    "a folder of wrong files": (["solve", "{folder}/bad"], "bad.yaml:1: is 'x', not a mapping"),
    "an unknown workload": (["explain", str(URGENT), "urgnet"], "is named 'urgnet'; did you mean 'urgent'?"),
}


@pytest.mark.parametrize("arguments, message", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_answered_ends_with_status_2_and_says_why(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.yaml").write_text("tenant: []")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.yaml").write_text("x")
    filled = [a.replace("{wrong}", str(tmp_path / "wrong.yaml")).replace("{folder}", str(tmp_path)) for a in arguments]
    status, _, err = _run(capsys, *filled)
    assert (status, message in err) == (2, True), err


@pytest.mark.parametrize("arguments", [["solve"], ["solve", "x", "--seconds", "nan"], ["solve", "x", "--planner", "y"]])
def test_a_wrong_command_line_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m placement" in capsys.readouterr().err


def test_it_runs_as_a_module_and_stays_quiet_when_its_reader_leaves() -> None:
    command = [sys.executable, "-m", "placement", "solve", str(URGENT), "--planner", "greedy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
