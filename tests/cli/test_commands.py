"""The daily commands against a control plane over a simulated cluster."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aios.cli.__main__ import run as run_aios
from aios.cli.options import Options
from aios.cli.output import terms_table
from aios.errors import InvalidSpec
from aios.packages import pack
from aios.views import PlanView
from tests.cli.conftest import Aios
from tests.support.plane import Served

SCRIPT = "kind: script\nname: count\nentrypoint: python count.py\nestimate: 5s\n"
FOREVER = "kind: script\nname: endless\nentrypoint: python endless.py\nestimate: 100d\n"
PIPELINE = """\
kind: pipeline
name: digits
stages:
  - {kind: ingest, name: ingest, source: {sklearn: digits}, outputs: {data: 'dataset://digits'}, estimate: 5s}
  - {kind: train, name: train, inputs: {data: 'dataset://digits'}, outputs: {model: 'model://digits'}, estimate: 5s}
  - {kind: serve, name: serve, inputs: {model: 'model://digits'}}
"""


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_run_follows_a_script_to_its_end(aios: Aios) -> None:
    ran = aios("run", write("count.yaml", SCRIPT))
    assert (ran.code, ran.out) == (0, "hello from count, try 1\n")
    assert "submitted count-" in ran.err
    assert " on a-1" in ran.err
    assert "next: aios describe count-" in ran.err


def test_run_takes_a_command_and_uploads_its_folder(aios: Aios, plane: Served) -> None:
    Path("train.py").write_text("print('x')")
    Path("__pycache__").mkdir()
    Path("__pycache__/train.pyc").write_bytes(b"x")
    flags = ["--num-cpus", "2", "--tenant", "default", "--estimate", "1s"]
    ran = aios("run", *flags, "--", "python", "train.py", "--lr", "1")
    assert ran.code == 0, ran.err
    view = aios("describe", "train", "-o", "json").json
    assert view["demand"] == "2 CPU"
    spec = json.loads(plane.state.workloads[view["id"]].work.spec)
    assert spec["entrypoint"] == ["python", "train.py", "--lr", "1"]
    digest = spec["working_dir"].removeprefix("package://")
    assert (plane.home / "storage" / "packages" / f"{digest}.zip").is_file()


def test_an_unnamed_command_runs_again_each_time(aios: Aios) -> None:
    first, second = (aios("run", "--estimate", "1s", "--", "true") for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert len(aios("ps", "-a", "-o", "json").json["workloads"]) == 2


@pytest.mark.parametrize(
    "entrypoint, code",
    [("exit 3", 3), ("raise", 100), ("exit 137", 137), ("exit 101", 101)],
    ids=["its own code", "no code", "by a signal", "a code that we use too"],
)
def test_a_failed_workloads_own_code_comes_through(aios: Aios, entrypoint: str, code: int) -> None:
    ran = aios("run", write("fails.yaml", SCRIPT.replace("python count.py", entrypoint)))
    assert ran.code == code
    assert aios("wait", "count").code == code
    assert aios("logs", "-f", "count").code == code
    assert ("the workload's own exit code" in ran.err) == (code == 101)


def test_a_workloads_own_error_comes_first_and_frames_behind_v(aios: Aios) -> None:
    file = write("fails.yaml", SCRIPT.replace("python count.py", "raise"))
    plain = aios("run", file)
    assert "FAILED: ValueError: no such column" in plain.err
    assert "frames of the framework" not in plain.err
    assert "frames of the framework" in aios("wait", "count", "-v").err


def test_a_pipeline_is_addressed_by_its_name(aios: Aios) -> None:
    ran = aios("run", write("digits.yaml", PIPELINE))
    assert ran.code == 0, ran.err
    assert "digits-serve   READY at http://sim/digits-serve" in ran.err
    assert "digits-ingest | hello from digits-ingest, try 1" in ran.out
    stages = aios("describe", "digits", "-o", "json").json["workloads"]
    assert [(s["name"], s["status"]) for s in stages] == [
        ("digits-ingest", "SUCCEEDED"),
        ("digits-train", "SUCCEEDED"),
        ("digits-serve", "RUNNING"),
    ]
    assert all(s["planned_nodes"] == s["actual_nodes"] != [] for s in stages)
    assert aios("wait", "digits").code == 0
    assert "digits" in aios("data", "list").out
    assert aios("stop", "digits").code == 0
    assert aios("wait", "digits", "--for", "over", "--timeout", "20s").code == 103


def test_submit_ps_explain_wait_stop(aios: Aios) -> None:
    submitted = aios("submit", write("endless.yaml", FOREVER))
    id = submitted.out.strip()
    assert submitted.code == 0
    assert id.startswith("endless-")
    assert aios("wait", id, "--for", "RUNNING", "--timeout", "20s").code == 0
    late = aios("wait", id, "--timeout", "10ms")
    assert late.code == 101
    assert f"{id} is RUNNING" in late.err
    table = aios("ps")
    assert table.out.splitlines()[0].split()[:4] == ["ID", "TENANT", "PRIO", "STATUS"]
    assert "RUNNING" in table.out
    explained = aios("explain", "endless")
    assert f"{id} is RUNNING" in explained.out
    assert "runs on a-1" in explained.out
    assert aios("plan").out.startswith("plan ")
    assert aios("stop", id[:-2]).code == 0
    assert aios("wait", id).code == 103
    assert aios("ps").err.startswith("no workloads that are not over")


def test_what_does_not_fit_yet_waits_and_explain_says_why(aios: Aios) -> None:
    many = FOREVER + "workers: {num_workers: 3, resources_per_worker: {CPU: 2}}\n"
    aios("submit", write("all.yaml", many))
    aios("wait", "endless", "--for", "running", "--timeout", "20s")
    aios("submit", write("count.yaml", SCRIPT))
    planned = aios("apply", "--dry-run", "-f", write("late.yaml", SCRIPT.replace("count", "late")))
    assert "would wait: " in planned.out
    explained = aios("explain", "count", "-o", "json").json["explanations"][0]
    assert explained["status"] == "QUEUED"
    assert explained["message"]
    assert explained["evidence"]
    assert explained["next"] == "aios plan"


def test_apply_dry_run_starts_nothing(aios: Aios, plane: Served) -> None:
    before = plane.state.version
    ran = aios("apply", "-f", write("digits.yaml", "kind: tenant\nname: vision\n---\n" + PIPELINE), "--dry-run")
    assert ran.code == 0, ran.err
    assert "would start now on a-1" in ran.out
    assert "would start after digits-ingest" in ran.out
    assert "tenant vision: would be applied" in ran.out
    assert not plane.state.workloads
    assert "vision" not in plane.state.tenants
    assert plane.state.version == before


def test_tenants_are_applied_and_listed(aios: Aios) -> None:
    file = write("tenants.yaml", "kind: tenant\nname: vision\nweight: 2\nquota: {CPU: 4}\n")
    assert aios("tenant", "apply", "-f", file).code == 0
    listed = {t["name"]: t for t in aios("tenant", "list", "-o", "json").json["tenants"]}
    assert listed["vision"]["weight"] == 2
    assert listed["vision"]["quota"] == {"CPU": "4"}
    assert "default" in listed


def test_output_has_a_stable_schema(aios: Aios) -> None:
    aios("run", write("count.yaml", SCRIPT))
    shown = aios("ps", "-a", "-o", "json").json
    assert shown["schemaVersion"] == 1
    assert {
        "id", "name", "kind", "tenant", "priority", "pipeline", "status", "reason", "message", "next", "planned_nodes",
        "actual_nodes", "attempts", "waited_s", "ran_s", "exit_code", "metrics", "artefacts", "url", "checkpoint_step",
    } <= set(shown["workloads"][0])  # fmt: skip
    assert yaml.safe_load(aios("ps", "-a", "-o", "yaml").out) == shown
    assert aios("-o", "json", "ps", "-a").json == shown
    for command in (["status"], ["node", "list"], ["plan"], ["describe", "count"], ["event", "list"], ["version"]):
        assert aios(*command, "-o", "json").json["schemaVersion"] == 1


def test_every_command_names_the_next(aios: Aios) -> None:
    aios("run", write("count.yaml", SCRIPT))
    for command in (["status"], ["ps"], ["ps", "-a"], ["describe", "count"], ["logs", "count"], ["explain", "count"],
                    ["plan"], ["tenant", "list"], ["nodes"], ["wait", "count"], ["stop", "count"]):  # fmt: skip
        ran = aios(*command)
        assert ran.code == 0, ran.err
        assert "next: aios " in ran.err, command
        assert "next:" not in ran.out, command


def test_logs_can_begin_with_the_last_lines(aios: Aios, plane: Served) -> None:
    aios("run", write("count.yaml", SCRIPT))
    id = next(iter(plane.state.workloads))
    plane.executor.log_file(id, 1).write_text("".join(f"line {i}\n" for i in range(100)))
    assert aios("logs", "count", "--tail", "2").out == "line 98\nline 99\n"
    assert aios("logs", "count").out.count("\n") == 100


def test_ctrl_c_lets_a_workload_go_on_and_says_so(aios: Aios, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. Wait is interrupted; 2. it says what goes on and how to follow it; 3. the workload still runs."""
    id = aios("submit", write("endless.yaml", FOREVER)).out.strip()

    def interrupted(*args: object, **others: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("aios.client.Client.poll", interrupted)
        waited = aios("wait", id)
    assert waited.code == 130
    assert f"detached: {id} goes on" in waited.err
    assert f"aios logs -f {id}" in waited.err
    assert aios("wait", id, "--for", "RUNNING", "--timeout", "20s").code == 0


def test_simulate_needs_no_control_plane(alone: Aios) -> None:
    ran = alone("simulate", write("digits.yaml", PIPELINE), "-o", "json")
    assert ran.code == 0, ran.err
    assert [row["status"] for row in ran.json["workloads"]].count("SUCCEEDED") == 2
    same = alone("simulate", "digits.yaml", "-o", "json")
    assert same.out == ran.out


def test_simulate_takes_arrivals_and_unknown_tenants(alone: Aios) -> None:
    write("one.yaml", SCRIPT + "tenant: vision\n")
    ran = alone("simulate", "one.yaml@30", "-o", "json")
    assert ran.code == 0
    assert ran.json["workloads"][0]["submitted_s"] == 30
    assert "'vision' is in none of these files" in ran.err


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom aios.cli.__main__ import run\nrun(['--help'])\n"
        "heavy = {'ray', 'torch', 'fastapi', 'httpx', 'pydantic', 'sqlalchemy', 'numpy', 'rich', 'yaml'}\n"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_client_side_never_loads_ray(plane: Served) -> None:
    program = (
        "import sys\nfrom aios.cli.__main__ import run\nassert run(['ps']) == 0\n"
        "sys.exit(','.join(sorted({'ray', 'torch', 'fastapi', 'ortools'} & set(sys.modules))) or 0)"
    )
    environment = {**os.environ, "AIOS_HOME": str(plane.home)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    from aios.cli.__main__ import _ALL

    for name in _ALL:
        assert run_aios([name, "--help"]) == 0
        assert "Usage: aios" in capsys.readouterr().out


def test_help_takes_little_of_a_cpu() -> None:
    """``aios --help`` may take 0.4 s of CPU time, starting Python included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "aios.cli", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.4


def test_env_gives_what_rays_own_commands_need(alone: Aios, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ran = alone("env")
    assert ran.code == 108
    assert "no cluster is running here" in ran.err
    info = {"address": "10.0.0.1:1", "api_url": "http://127.0.0.1:1", "ray_version": "2", "python_version": "3"}
    more = {"embedded": True, "dashboard_url": "http://127.0.0.1:2"}
    (home / "cluster.json").write_text(json.dumps({**info, **more, "pids": []}))
    assert alone("env").out.splitlines() == [
        "export RAY_API_SERVER_ADDRESS=http://127.0.0.1:2",
        "export RAY_AUTH_MODE=token",
        f"export RAY_AUTH_TOKEN_PATH={home / 'ray_token'}",
    ]
    (home / "cluster.json").write_text(json.dumps({**info, **more, "embedded": False, "pids": []}))
    assert alone("env", "-o", "json").json == {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:2"}


def test_a_plans_terms_are_shown_with_what_they_count() -> None:
    shown = terms_table(Options(), PlanView(terms={"admitted": 0.5, "harm": -0.0, "invented_later": 2.0}))
    assert shown.splitlines()[0].split() == ["TERM", "VALUE", "WHICH", "COUNTS"]
    assert "admitted        0.5    pending work that starts" in shown
    assert "harm            0      minus the bundles of running work that stop" in shown
    assert shown.endswith("invented_later  2      -")


def test_a_plan_says_how_long_it_took_and_what_is_proven(aios: Aios) -> None:
    write("count.yaml", SCRIPT)
    assert "solved in" in aios("apply", "-f", "count.yaml", "--dry-run").out
    aios("run", "count.yaml")
    assert "no plan can have more than" in aios("plan").out


def test_explain_says_how_it_ended(aios: Aios) -> None:
    write("count.yaml", SCRIPT)
    aios("run", "count.yaml")
    explained = aios("explain", "count").out
    assert "is SUCCEEDED:\n  ran " in explained
    assert "on a-1, after" in explained
    assert "attempt 1: put on a-1 by plan" in explained
    assert aios("describe", "count").err.splitlines()[-1].startswith("next: aios logs count-")
    again = aios("stop", "count")
    assert "was over before: SUCCEEDED" in again.err
    assert again.err.splitlines()[-1].startswith("next: aios describe")


def test_builds_and_environments_are_not_uploaded(tmp_path: Path) -> None:
    for name in ("run.py", ".venv/lib/x.py", "build/x.o", "dist/x.whl", "src/build/y.o", "src/y.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert pack(tmp_path).n_files == 2
    (tmp_path / ".gitignore").write_text("!/build/\n")
    assert pack(tmp_path).n_files == 4
    with pytest.raises(InvalidSpec, match="more than 0 MiB") as large:
        pack(tmp_path, largest=2)
    assert "name data in .gitignore" in large.value.hint
