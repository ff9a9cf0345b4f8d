"""A user at a shell and in a notebook, on a real cluster: the command as a process, its streams and its exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from aios.client import Client
from aios.config import Settings
from aios.main import ClusterInfo
from tests.support.polling import eventually

pytestmark = pytest.mark.ray

EXAMPLES = Path(__file__).parents[2] / "examples"
SOON_S = 20.0
"""Far less than the grace of 30 s at whose end work is killed."""


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell whose environment has nothing but the home of the cluster."""

    folder: Path
    env: dict[str, str]

    def __call__(self, *command: str, timeout_s: float = 180.0) -> Ran:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def aios(self, *args: str) -> Ran:
        return self(sys.executable, "-m", "aios.cli", *args)

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return name


@pytest.fixture(scope="module")
def shell(settings: Settings, info: ClusterInfo, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AIOS_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    env = {**kept, "AIOS_HOME": str(settings.home), "RAY_USAGE_STATS_ENABLED": "0", "PATH": path}
    return Shell(tmp_path_factory.mktemp("work"), env)


@pytest.fixture(autouse=True)
def nothing_is_left(client: Client) -> Iterator[None]:
    """After each test nothing runs, and Ray has all its CPUs back."""
    import ray

    yield
    for view in client.workloads():
        client.stop(view.id)
    total = ray.cluster_resources()["CPU"]
    eventually(lambda: not client.workloads(), what="the end of all workloads")
    eventually(lambda: ray.available_resources().get("CPU") == total, what="every CPU free again")


RAISES = """
import ray
print("the parent speaks")

@ray.remote
def child(i):
    print("a child speaks")
    return [1][5]

children = [child.remote(i) for i in range(2)]
ray.wait(children, num_returns=2)
ray.get(children)
"""


def test_a_commands_own_exit_code_words_and_error_come_through(shell: Shell) -> None:
    # 1. A command's own code, its words on stdout and all else on stderr.
    ran = shell.aios("run", "--", "bash", "-c", "echo its words; exit 7")
    assert ran.code == 7
    assert ran.out.startswith("its words\n")
    assert "FAILED: bash -c 'echo its words; exit 7' exited with status 7" in ran.err
    assert ran.err.splitlines()[-1].startswith("next: aios logs bash-")

    # 2. One that ends its own process, at once and unchanged.
    assert shell.aios("run", "--name", "leaver", "--", "python", "-c", "import os; os._exit(9)").code == 9

    # 3. A script that raises: its own line, nobody else's frames; they come with -v.
    shell.write("raises.py", RAISES)
    ran = shell.aios("run", "raises.py")
    assert ran.code == 1
    assert "FAILED: raises.py:8: IndexError: list index out of range" in ran.err
    assert "line 8, in child" not in ran.err
    verbose = shell.aios("wait", "raises", "-v")
    assert verbose.code == 1
    assert verbose.err.index("IndexError: list") < verbose.err.index("line 8, in child")
    assert "site-packages" not in verbose.err

    # 4. What its children printed is in its log, and the reason is said once.
    log = shell.aios("logs", "raises").out
    assert "the parent speaks" in log
    assert log.count("a child speaks") == 2
    assert log.count("raises.py:8: IndexError") == 1


NESTED = """
import sys, time
import ray
ray.init()

@ray.remote(num_cpus=0.25)
class Grandchild:
    def group(self):
        return ray.util.get_current_placement_group().id.hex()

@ray.remote(num_cpus=0.25)
class Child:
    def begin(self):
        self.below = Grandchild.remote()
        return ray.get(self.below.group.remote())

@ray.remote(num_cpus=0.25)
def task():
    child = Child.remote()
    group = ray.get(child.begin.remote())
    print("group", group, flush=True)
    time.sleep(600)

ray.get([task.remote() for _ in range(2)])
"""


def _heed_ctrl_c() -> None:
    """Undo what a shell does to commands in its background: they are told to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_children_of_children_stay_in_the_placement_group_and_go_with_a_stop(shell: Shell, client: Client) -> None:
    import ray
    from ray.util.state import list_actors

    # 1. Two tasks, each with an actor that has an actor of its own.
    shell.write("nested.py", NESTED)
    id = shell.aios("submit", "--name", "nested", "--workers", "2", "--", "python", "nested.py").out.strip()
    log = eventually(lambda: (text := shell.aios("logs", id).out).count("group ") == 2 and text, what="both groups")
    (group,) = set(str(log).split()[1::2])

    # 2. As Ray says: all of them in the one group, on the planned nodes.
    view = client.get(id)
    planned = {node.id for node in client.nodes() if node.name in view.planned_nodes and node.state != "down"}
    dashboard = client.status().info["dashboard_url"]
    alive = list_actors(dashboard, filters=[("state", "=", "ALIVE")], detail=True, limit=1000)
    theirs = [actor for actor in alive if actor.class_name in ("Child", "Grandchild")]
    assert len(theirs) == 4
    assert {actor.placement_group_id for actor in theirs} == {group}
    assert {actor.node_id for actor in theirs} <= planned
    assert view.planned_nodes == view.actual_nodes

    # 3. Ctrl-C while waiting detaches, and says so.
    waiting = subprocess.Popen(
        [sys.executable, "-m", "aios.cli", "wait", id],
        env=shell.env,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_ctrl_c,
    )
    eventually(lambda: _interruptible(waiting.pid), what="the command's own handler")
    time.sleep(1.0)  # for its first request, so that it is waiting
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert f"detached: {id} goes on" in said
    assert client.get(id).status == "RUNNING"

    # 4. Stopped, it is gone with all its children.
    assert shell.aios("stop", id).code == 0
    stopped = shell.aios("wait", id)
    assert (stopped.code, client.get(id).status) == (103, "STOPPED")
    groups = ray.util.placement_group_table().values()
    assert {one["state"] for one in groups if one["name"] == f"aios/{id}/1"} == {"REMOVED"}


def _interruptible(pid: int) -> bool:
    """Return whether Python in that process has its handler for SIGINT."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGINT - 1))


def test_a_stop_ends_an_ingest_within_seconds_and_leaves_nothing_of_it(
    shell: Shell, client: Client, settings: Settings
) -> None:
    # 1. Millions of rows: far more than is read before the stop.
    source = shell.folder / "rows"
    source.mkdir()
    numbers = numpy.random.default_rng(0).random((250_000, 12), dtype=numpy.float32)
    table = pyarrow.table({f"x{i}": column for i, column in enumerate(numbers.T)})
    table = table.append_column("y", pyarrow.array(numpy.arange(len(table)) % 3))
    for i in range(16):
        pyarrow.parquet.write_table(table, source / f"{i}.parquet", compression="none")
    document = {
        "kind": "ingest",
        "name": "large",
        "source": {"path": str(source)},
        "target": "y",
        "outputs": {"data": "dataset://large"},
    }
    id = client.submit(document).workloads[0].id
    client.wait(id, "running", timeout=120)

    # 2. A preemption, as a stop, is heard while Ray Data runs.
    began_s = time.monotonic()
    client.stop(id)
    (view,) = client.wait(id, timeout=60)
    assert (view.status, view.attempts[-1].error) == ("STOPPED", "")
    assert time.monotonic() - began_s < SOON_S
    shutil.rmtree(source)
    assert [
        path for path in (settings.storage / "datasets").rglob("*") if path.is_file() and "large" in path.parts
    ] == []
    assert "large" not in {dataset.name for dataset in client.datasets()}


FAILING_DRIVER = """
import sys
import aios

with aios.Client() as client:
    (ended,) = client.run({"kind": "script", "name": "hopeless", "entrypoint": ["sh", "-c", "exit 5"]})
print("it ended as", ended.status)
sys.exit(ended.exit_code)
"""
# Where the urgent gang wants every CPU: not on the small node beside.
SERVED = """
kind: serve
name: {name}
route_prefix: /flowers
inputs: {{model: model://iris}}
label_selector: {{zone: "in(z1,z2)"}}
"""
URGENT = """
kind: script
name: urgent-flowers
priority: 50
entrypoint: sleep 2
workers: {num_workers: 3, resources_per_worker: {CPU: 2}}
"""


def _ask(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None


def test_a_ray_job_drives_a_pipeline_and_its_model_is_served(shell: Shell, client: Client, settings: Settings) -> None:
    # 1. `aios env` tells Ray's own commands where the cluster is, and the job's exit status tells how it went.
    exports = shell.aios("env").out.splitlines()
    ray_env = dict(word.split("=", 1) for line in exports for word in shlex.split(line.removeprefix("export ")))
    users = Shell(shell.folder, {**shell.env, **ray_env})
    for name in ("driver.py", "ray_tasks.py"):
        shutil.copy(EXAMPLES / name, shell.folder / name)
    submit = ("ray", "job", "submit", "--working-dir", ".", "--")
    job = users(*submit, "python", "driver.py", timeout_s=300)
    assert job.code == 0, job.out + job.err
    assert "iris-evaluate: SUCCEEDED" in job.out
    shell.write("fails.py", FAILING_DRIVER)
    failed = users(*submit, "python", "fails.py")
    assert failed.code != 0
    assert "exit code 5" in failed.out + failed.err
    assert client.get("hopeless").exit_code == 5

    # 2. Plain Ray code of the examples, unchanged.
    plain = shell.aios("run", "ray_tasks.py")
    assert plain.code == 0
    assert "squares: [0, 1, 4, 9, 16, 25, 36, 49]" in plain.out

    # 3. What was made is served, by its version.
    flowers = shell.aios("run", shell.write("flowers.yaml", SERVED.format(name="flowers")))
    assert flowers.code == 0, flowers.err
    url = client.get("flowers").url
    assert url is not None
    status, answer = _ask(url, {"rows": [[5.1, 3.5, 1.4, 0.2]]})
    assert (status, answer["model"], answer["predictions"]) == (200, "iris@1", [0])
    assert "model://iris@1" in shell.aios("endpoint", "list").out

    # 4. A second endpoint at the same route is told whose it is.
    second = shell.aios("run", shell.write("again.yaml", SERVED.format(name="flowers-again")))
    taken = f"route /flowers is taken by {client.get('flowers').id}"
    assert second.code == 100
    assert taken in second.err
    assert "Traceback" not in second.err
    assert _ask(url)[0] == 200

    # 5. Displaced by something urgent it goes, comes back by itself, and answers at the same place.
    urgent = shell.aios("run", shell.write("urgent.yaml", URGENT))
    assert urgent.code == 0, urgent.err
    client.wait("flowers", "ready", timeout=120)
    view = client.get("flowers")
    assert [attempt.outcome for attempt in view.attempts] == ["preempted", None]
    assert "yielded to urgent-" in shell.aios("explain", "flowers").out
    assert _ask(url)[0] == 200

    # 6. Stopped, the route is free.
    shell.aios("stop", "flowers")
    assert shell.aios("wait", "flowers").code == 103
    assert _ask(url)[0] == 404


def test_explain_answers_with_numbers_and_names(shell: Shell) -> None:
    hog = "kind: script\nname: hog\nentrypoint: sleep 600\nworkers: {num_workers: 3, resources_per_worker: {GPU: 1}}\n"
    hungry = "kind: script\nname: hungry\nentrypoint: 'true'\nnum_gpus: 1\naccelerator_type: H100\n"
    shell.write("two.yaml", f"{hog}---\n{hungry}")
    assert shell.aios("submit", "two.yaml").code == 0
    assert shell.aios("wait", "hog", "--for", "running").code == 0
    waits = eventually(lambda: (text := shell.aios("explain", "hungry").out).count("would run if") and text)
    assert "needs 1 GPU" in str(waits)
    assert "it would run if: hog-" in str(waits)
    assert re.search(r"2 of \d+ nodes have what a bundle asks for: a-1, a-2", str(waits)), waits
    runs = shell.aios("explain", "hog").out
    assert "runs on" in runs
    assert "put it" in runs
    shell.aios("stop", "hog")
    assert shell.aios("wait", "hungry").code == 0
    over = shell.aios("explain", "hungry").out
    assert "is SUCCEEDED:\n  ran " in over
    for text in (str(waits), runs, over):
        assert not any(len(word) > 40 for word in text.replace("/", " ").split())
