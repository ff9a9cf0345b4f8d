"""The five engines on real Ray: real data, workers on exactly the planned nodes, and an end when they are asked to.

Each test is one attempt as a supervisor runs it: the engine in a thread of its own, and its reports in a named actor.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aios.adapters.embedded import Keeper
from aios.adapters.supervisor import ActorReporter
from aios.checkpoints import damage
from aios.config import NAMESPACE
from aios.engines import Input, Preempted, Result, RunContext, WorkloadFailed, engine_of
from aios.packages import pack
from placement.model import Resources
from tests.support.models import signed
from tests.support.polling import eventually

pytestmark = pytest.mark.ray

CPU = Resources.parse({"CPU": 1})
FEATURES = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
GPU = Resources.parse({"CPU": 1, "GPU": 1})


class Notes:
    """What a supervisor would be told, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.yields = False

    def ran_on(self, node_id: str, bundle: int | None) -> None:
        self.heard.append(("ran_on", bundle, node_id))

    def saved(self, uri: str, step: int) -> None:
        self.heard.append(("saved", uri, step))

    def progress(self, metrics: str) -> None:
        self.heard.append(("progress", json.loads(metrics)))

    def log(self, line: str) -> None:
        self.heard.append(("log", line))

    def preempting(self) -> bool:
        return self.yields

    def preempt(self) -> None:
        self.yields = True

    def all(self) -> list[tuple[Any, ...]]:
        return self.heard


@dataclass
class Attempt:
    """One run of an engine in a thread of its own."""

    spec: Any
    ctx: RunContext
    notes: Any
    outcome: dict[str, Any] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)

    def start(self) -> Attempt:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _run(self) -> None:
        try:
            self.outcome["result"] = engine_of(self.spec.kind).run(self.spec, self.ctx)
        except BaseException as error:  # handed to the test by end()
            self.outcome["error"] = error
        self.ready.set()

    def end(self) -> Result:
        self.thread.join(timeout=120)
        assert not self.thread.is_alive(), "the engine does not end"
        if "error" in self.outcome:
            raise self.outcome["error"]
        return self.outcome["result"]  # type: ignore[no-any-return]

    def ask_to(self, why: str) -> None:
        import ray

        if why == "preempt":
            ray.get(self.notes.preempt.remote())
        self.ctx.stop_reason = why
        self.ctx.stop_event.set()

    def heard(self, what: str) -> list[tuple[Any, ...]]:
        import ray

        return [note[1:] for note in ray.get(self.notes.all.remote()) if note[0] == what]

    @property
    def actual(self) -> tuple[str, ...]:
        return tuple(node for _, node in sorted(set(self.heard("ran_on"))))

    def log(self) -> str:
        return "\n".join(line for (line,) in self.heard("log"))


@dataclass
class Lab:
    """Makes attempts on a cluster."""

    storage: Path
    nodes: Sequence[str]
    n_made: int = 0

    def attempt(
        self,
        kind: str,
        nodes: Sequence[str],
        bundle: Resources = CPU,
        given: Mapping[str, Input] | None = None,
        checkpoint: tuple[str, int] = ("", 0),
        **fields: Any,
    ) -> Attempt:
        import ray

        self.n_made += 1
        spec = engine_of(kind).spec_type.model_validate({"kind": kind, "name": f"{kind}-lab", **fields})
        workload = f"lab{self.n_made}"
        name = f"aios/{workload}/1"
        notes = ray.remote(Notes).options(name=f"{name}/notes", namespace=NAMESPACE, num_cpus=0).remote()
        folder = self.storage / "lab" / workload
        folder.mkdir(parents=True)
        made = Attempt(spec, None, notes)  # type: ignore[arg-type]  # its context needs the attempt
        made.ctx = RunContext(
            workload=workload,
            name=spec.name,
            tenant="lab",
            attempt=1,
            fence=1,
            nodes=tuple(nodes),
            bundles=(bundle,) * len(nodes),
            inputs=given or {},
            outputs=spec.outputs,
            dir=folder,
            storage=self.storage,
            reporter=ActorReporter(f"{name}/notes"),
            checkpoint=checkpoint[0],
            step=checkpoint[1],
            grace_s=20,
            ready=lambda artefacts: (made.outcome.update(artefacts=artefacts), made.ready.set()),  # type: ignore[func-returns-value]
        )
        return made.start()


@pytest.fixture(scope="module")
def lab(driver: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    big = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    return Lab(tmp_path_factory.mktemp("storage"), sorted(big))


@pytest.fixture(scope="module")
def digits(lab: Lab) -> Input:
    """A dataset version that the ingest engine made."""
    attempt = lab.attempt("ingest", [lab.nodes[1]], source={"sklearn": "digits"}, outputs={"data": "dataset://digits"})
    (artefact,) = attempt.end().artefacts
    assert attempt.actual == (lab.nodes[1],)
    return Input("dataset://digits@1", artefact.uri, json.loads(artefact.meta))


@pytest.fixture(scope="module")
def trained(lab: Lab, digits: Input) -> tuple[Input, Attempt, Attempt]:
    """A model version of two attempts: the first yields in the middle, the second goes on with one worker."""
    fields = {
        "inputs": {"data": "dataset://digits"},
        "outputs": {"model": "model://digits"},
        "epochs": 60,
        "batch_size": 32,
        "checkpoint_every": 5,
    }
    gang = {"num_workers": 2, "resources_per_worker": {"CPU": 1, "GPU": 1}}
    first = lab.attempt("train", [lab.nodes[2], lab.nodes[0]], GPU, {"data": digits}, workers=gang, **fields)
    eventually(lambda: len(first.heard("saved")) >= 2 or first.outcome)
    first.ask_to("preempt")
    with pytest.raises(Preempted):
        first.end()
    second = lab.attempt("train", [lab.nodes[1]], CPU, {"data": digits}, first.heard("saved")[-1], **fields)
    (artefact,) = second.end().artefacts
    return signed(artefact, lab.storage / "home", lab.storage), first, second


def test_ingest_splits_real_data_and_says_what_it_made(lab: Lab, digits: Input) -> None:
    assert sum(digits.meta["rows"].values()) == 1797
    assert digits.meta["classes"] == list(range(10))
    assert len(digits.meta["features"]) == len(digits.meta["statistics"]["mean"]) == 64


def test_ingest_of_a_file_without_its_target_says_which_columns_there_are(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    source = {"path": str(tmp_path / "a.csv")}
    attempt = lab.attempt("ingest", [lab.nodes[0]], source=source, target="y", outputs={"data": "dataset://a"})
    with pytest.raises(WorkloadFailed, match="target 'y' is no column of the source: the columns are a, b"):
        attempt.end()


def test_training_runs_on_the_planned_nodes_and_yields_with_its_progress(
    trained: tuple[Input, Attempt, Attempt],
) -> None:
    _, first, _ = trained
    assert first.actual == first.ctx.nodes
    assert 0 < first.heard("saved")[-1][1] < 60
    assert Path(first.heard("saved")[-1][0]).is_dir()


def test_training_goes_on_where_it_left_off_with_another_number_of_workers(
    trained: tuple[Input, Attempt, Attempt],
) -> None:
    model, first, second = trained
    epochs = sorted({metrics["epoch"] for (metrics,) in second.heard("progress") if "epoch" in metrics})
    assert epochs == list(range(first.heard("saved")[-1][1] + 1, 61))
    assert second.actual == second.ctx.nodes
    assert model.meta["trained"]["resumed_from"] == first.heard("saved")[-1][1]
    assert model.meta["scores"]["accuracy"] > 0.95


def test_sharded_training_is_configured_and_its_factory_is_kept_as_onnx(
    lab: Lab, digits: Input, tmp_path: Path
) -> None:
    """A network of the user's own, sharded over two nodes: what is left answers without the user's code."""
    from pipelines.train.network import load, predict

    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def wide(n_in, n_out, width):\n"
        "    return nn.Sequential(nn.Linear(n_in, width), nn.GELU(), nn.Linear(width, n_out))\n"
    )
    package = pack(tmp_path)
    (lab.storage / "packages").mkdir(exist_ok=True)
    (lab.storage / "packages" / f"{package.digest}.zip").write_bytes(package.content)
    fields = {
        "inputs": {"data": "dataset://digits"},
        "outputs": {"model": "model://wide"},
        "model": {"factory": "my_nets:wide", "arguments": {"width": 32}},
        "working_dir": package.uri,
        "epochs": 8,
        "lr": 0.01,
        "strategy": "fsdp",
        "precision": "bf16",
        "schedule": {"type": "cosine", "warmup_steps": 10},
        "validation": 0.1,
        "early_stopping": {"metric": "val_accuracy", "patience": 8},
        "workers": {"num_workers": 2},
    }
    attempt = lab.attempt("train", [lab.nodes[0], lab.nodes[1]], CPU, {"data": digits}, **fields)
    (artefact,) = attempt.end().artefacts
    meta = json.loads(artefact.meta)
    assert meta["trained"]["strategy"] == "fsdp"
    assert meta["scores"]["val_accuracy"] > 0.9
    network, card = load(Path(artefact.uri))
    predictions, probabilities = predict(network, card, [[0.0] * 64])
    assert predictions[0] in range(10)
    assert probabilities is not None
    assert "epoch 1/8 loss" in attempt.log()


@pytest.mark.parametrize(
    "body, word",
    [
        (
            "import threading; threading.Event().wait()",
            "has not reported for 2.*has never done so; it stood at quiet.py:2",
        ),
        ("pass", "returned and has never reported"),
        ("import ray.train; ray.train.report({'loss': 1})", "reported 1 time and left no checkpoint"),
    ],
    ids=["waits", "returns", "no checkpoint"],
)
def test_a_loop_that_does_not_report_fails_by_what_it_did(
    lab: Lab, digits: Input, tmp_path: Path, body: str, word: str
) -> None:
    (tmp_path / "quiet.py").write_text(f"def loop(config):\n    {body}\n")
    roles = {"inputs": {"data": "dataset://digits"}, "outputs": {"model": "model://quiet"}}
    fields = {**roles, "train_loop": "quiet:loop", "working_dir": str(tmp_path), "report_within": "2s"}
    attempt = lab.attempt("train", [lab.nodes[0]], CPU, {"data": digits}, **fields)
    with pytest.raises(WorkloadFailed, match=word):
        attempt.end()


def test_evaluation_scores_the_test_part_and_keeps_the_gate(
    lab: Lab, digits: Input, trained: tuple[Input, Attempt, Attempt]
) -> None:
    inputs = {"model": trained[0], "data": digits}
    roles = {"model": "model://digits", "data": "dataset://digits"}
    attempt = lab.attempt("evaluate", [lab.nodes[2]], CPU, inputs, inputs=roles, gates={"accuracy": 0.9})
    result = attempt.end()
    assert result.metrics["rows"] == digits.meta["rows"]["test"]
    assert 0.9 < result.metrics["accuracy"] <= 1
    assert attempt.actual == (lab.nodes[2],)
    strict = lab.attempt("evaluate", [lab.nodes[2]], CPU, inputs, inputs=roles, gates={"accuracy": 0.9999})
    with pytest.raises(WorkloadFailed, match=r"gate: accuracy 0\.9\d+ is below 0\.9999") as missed:
        strict.end()
    assert missed.value.exit_code == 105


def test_the_driving_example_ends_with_a_small_model_that_runs_at_the_edge(lab: Lab, tmp_path: Path) -> None:
    """
    1. The stages of the example, one after the other: ingest, train, optimise, evaluate.
    2. The small model is smaller and faster, its parent is in its lineage, and it met its gate.
    3. Exported, it answers its sample where only ONNX Runtime and numpy are imported.
    """
    import yaml

    from aios.cli.exporting import _written
    from aios.models.keys import pem_of, signing_key

    storage = lab.storage
    example = Path(__file__).parents[2] / "examples" / "edge" / "driving.yaml"
    made: dict[str, Input] = {}
    results: dict[str, Result] = {}
    for stage in yaml.safe_load(example.read_text())["stages"]:
        kind, inputs = stage.pop("kind"), stage.get("inputs", {})
        stage.pop("name")
        attempt = lab.attempt(kind, [lab.nodes[0]], CPU, {role: made[ref] for role, ref in inputs.items()}, **stage)
        results[kind] = attempt.end()
        for artefact in results[kind].artefacts:
            if artefact.type == "model":
                made[f"model://{artefact.name}"] = signed(artefact, storage / "home", storage)
            elif artefact.type == "dataset":
                reference = f"dataset://{artefact.name}"
                made[reference] = Input(f"{reference}@1", artefact.uri, json.loads(artefact.meta))

    small = made["model://signs-small"]
    assert results["optimise"].metrics["faster"] > 1.5
    assert results["optimise"].metrics["smaller"] > 2
    assert small.meta["lineage"]["parent"] == "model://signs@1"
    assert results["evaluate"].metrics["accuracy"] >= 0.95
    page = next(Path(one.uri) for one in results["optimise"].artefacts if one.type == "report").with_name("report.html")
    assert "<svg" in page.read_text()

    key = signing_key(storage / "home", storage)
    folder = tmp_path / "edge"
    said = _written(Path(small.uri), small.reference, "signs-small", folder, key, pem_of(key.public_key()))
    assert said == "32 rows are answered as expected"


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(
            error.read() or b"null"
        ) if error.headers.get_content_type() != "text/plain" else None


def test_an_endpoint_answers_from_the_planned_nodes_until_it_is_stopped(
    lab: Lab, trained: tuple[Input, Attempt, Attempt]
) -> None:
    from sklearn.datasets import load_digits

    # 1. Two replicas on one node and one on another: counts that one Serve deployment cannot hold.
    nodes = [lab.nodes[0], lab.nodes[0], lab.nodes[1]]
    half = Resources.parse({"CPU": 0.5})
    roles = {"model": "model://digits"}
    attempt = lab.attempt("serve", nodes, half, {"model": trained[0]}, inputs=roles, num_replicas=3, num_cpus=0.5)
    assert attempt.ready.wait(timeout=120)
    if "error" in attempt.outcome:
        raise attempt.outcome["error"]
    (endpoint,) = attempt.outcome["artefacts"]
    assert attempt.actual == attempt.ctx.nodes

    # 2. Real rows get their labels.
    rows, labels = load_digits(return_X_y=True)
    status, answer = ask(endpoint.uri, {"rows": rows[:50].tolist()})
    assert (status, answer["model"]) == (200, "digits@1")
    assert sum(p == y for p, y in zip(answer["predictions"], labels[:50].tolist(), strict=True)) >= 45

    # 3. A row that does not fit is told where; GET says what fits.
    status, problem = ask(endpoint.uri, {"rows": [[1.0, 2.0]]})
    assert (status, problem["errors"][0]["expected"]) == (422, "64 numbers in GET's order")
    assert [one["name"] for one in ask(endpoint.uri)[1]["inputs"]] == FEATURES

    # 4. Stopped, it is gone.
    attempt.ask_to("stop")
    attempt.end()
    assert ask(endpoint.uri)[0] == 404


def test_an_endpoint_gives_up_replicas_and_gets_them_back_and_no_request_fails(
    lab: Lab, trained: tuple[Input, Attempt, Attempt]
) -> None:
    """
    1. Three replicas, of which one always stays; a client asks without a pause.
    2. Two are given up: they go, and the one that stays answers.
    3. Two come, on other nodes than before, and answer too.
    4. Throughout, no request failed; and after a kill of a replica it answers again.
    """
    half = Resources.parse({"CPU": 0.5})
    fields = {"inputs": {"model": "model://digits"}, "num_replicas": 3, "min_replicas": 1, "num_cpus": 0.5}
    attempt = lab.attempt("serve", list(lab.nodes), half, {"model": trained[0]}, **fields)
    sizes: list[int] = []
    attempt.ctx.resized = sizes.append
    assert attempt.ready.wait(timeout=120)
    if "error" in attempt.outcome:
        raise attempt.outcome["error"]
    (endpoint,) = attempt.outcome["artefacts"]
    assert attempt.actual == attempt.ctx.nodes
    codes: list[int] = []
    over = threading.Event()

    def client() -> None:
        while not over.wait(0.02):
            codes.append(ask(endpoint.uri, {"rows": [[0.0] * 64]})[0])

    asking = threading.Thread(target=client, daemon=True)
    asking.start()
    assert len(replicas(attempt)) == 3

    attempt.ctx.wanted = tuple(lab.nodes[:1])
    eventually(lambda: sizes == [1], what="the smaller size")
    eventually(lambda: len(replicas(attempt)) == 1, what="the end of two replicas")

    attempt.ctx.wanted = (lab.nodes[0], lab.nodes[2], lab.nodes[2])
    eventually(lambda: sizes == [1, 3], timeout_s=120, what="the larger size")
    assert len(replicas(attempt)) == 3
    seen = len(codes)
    eventually(lambda: len(codes) > seen + 50, what="fifty answers more")
    over.set()
    asking.join(30)
    assert set(codes) == {200}
    heard = set(attempt.heard("ran_on"))
    assert {(1, lab.nodes[2]), (2, lab.nodes[2])} <= heard

    import ray

    ray.kill(ray.get_actor(replicas(attempt)[0], namespace="serve"))
    eventually(lambda: all(ask(endpoint.uri)[0] == 200 for _ in range(5)), timeout_s=60, what="an answer")
    attempt.ask_to("stop")
    attempt.end()
    eventually(lambda: not replicas(attempt), what="the end of all replicas")


def replicas(attempt: Attempt) -> list[str]:
    import ray

    rows = ray.util.list_named_actors(all_namespaces=True)
    return sorted(row["name"] for row in rows if row["name"].startswith(f"SERVE_REPLICA::aios-{attempt.ctx.workload}-"))


PLAIN_RAY = """
import os, sys
import ray
ray.init(address="auto")

@ray.remote
def where():
    print("a task says hello")
    return ray.get_runtime_context().get_node_id()

@ray.remote
def nested():
    return ray.get([where.remote() for _ in range(2)]) + [ray.get_runtime_context().get_node_id()]

@ray.remote
class Counter:
    def where(self):
        return ray.get_runtime_context().get_node_id()

counter = Counter.remote()
found = {ray.get(counter.where.remote())}
ray.kill(counter)
found |= set(ray.get([where.remote() for _ in range(6)]))
for several in ray.get([nested.remote() for _ in range(2)]):
    found |= set(several)
with open(os.environ["AIOS_OUTPUT_DIR"] + "/nodes", "w") as out:
    out.write(" ".join(sorted(found)))
print("arguments:", *sys.argv[1:])
ray.shutdown()
"""


def test_a_plain_ray_script_stays_with_all_its_children_on_its_nodes(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN_RAY)
    nodes = [lab.nodes[1], lab.nodes[2]]
    fields = {"entrypoint": "python plain.py --lr 0.1", "working_dir": str(tmp_path), "workers": {"num_workers": 2}}
    attempt = lab.attempt("script", nodes, **fields)
    attempt.end()
    found = (attempt.ctx.dir / "output" / "nodes").read_text().split()
    assert set(found) <= set(nodes)
    assert attempt.actual == tuple(nodes)
    assert "arguments: --lr 0.1" in attempt.log()
    assert "a task says hello" in attempt.log()


def fails(lab: Lab, **fields: Any) -> WorkloadFailed:
    attempt = lab.attempt("script", [lab.nodes[0]], **fields)
    with pytest.raises(WorkloadFailed) as failed:
        attempt.end()
    return failed.value


def test_a_script_that_fails_says_its_own_line_first(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "import ray\n@ray.remote\ndef f():\n    raise KeyError('label')\nray.get(f.remote())\n"
    )
    error = fails(lab, entrypoint="python bad.py", working_dir=str(tmp_path))
    assert (error.message, error.exit_code) == ("bad.py:4: KeyError: 'label'", 1)


@pytest.mark.parametrize(
    "entrypoint, code",
    [(["python", "-c", "import sys; sys.exit(7)"], 7), (["sh", "-c", "exit 9"], 9), (["nonesuch"], 127)],
)
def test_a_commands_exit_code_comes_through(lab: Lab, entrypoint: list[str], code: int) -> None:
    assert fails(lab, entrypoint=entrypoint).exit_code == code


WAITS = (
    "import os, time; open(os.environ['AIOS_CHECKPOINT_DIR'] + '/at', 'w').write('3'); print('waits'); time.sleep(600)"
)


@pytest.mark.parametrize("entrypoint", [["python", "-c", WAITS], ["sh", "-c", "echo waits; sleep 600"]])
def test_a_script_ends_at_once_when_it_is_asked_to(lab: Lab, entrypoint: list[str]) -> None:
    import ray

    attempt = lab.attempt("script", [lab.nodes[0]], entrypoint=entrypoint)
    eventually(lambda: "waits" in attempt.log() or attempt.outcome)
    attempt.ask_to("preempt")
    with pytest.raises(Preempted):
        attempt.end()
    saved = attempt.heard("saved")
    assert [step for _, step in saved] == ([1] if entrypoint[0] == "python" else [])
    groups = ray.util.placement_group_table().values()
    assert {group["state"] for group in groups if group["name"] == attempt.ctx.run_name} == {"REMOVED"}


THEIR_LOOP = """
import os, tempfile
import ray.train
from ray.train import Checkpoint

def loop(config):
    for epoch in range(config["epochs"]):
        if epoch == config["breaks_at"]:
            raise ValueError("my own bug")
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "weights"), "w") as out:
                out.write(str(epoch))
            ray.train.report({"epoch": epoch + 1}, checkpoint=Checkpoint.from_directory(folder))
"""


HEEDS = """
import os, tempfile, time
import ray.train
from ray.train import Checkpoint

def loop(config):
    for step in range(100_000):
        time.sleep(0.05)
        info = ray.train.get_preemption_info()
        if info is not None:
            with tempfile.TemporaryDirectory() as folder:
                with open(os.path.join(folder, "weights"), "w") as out:
                    out.write(f"{step} {info.deadline_ms} {len(info.preempted_ranks)}")
                ray.train.report({"step": step}, checkpoint=Checkpoint.from_directory(folder))
        elif step == 5:
            ray.train.report({"step": step})
"""


def test_a_plain_ray_train_loop_sees_the_notice_saves_and_yields(lab: Lab, digits: Input, tmp_path: Path) -> None:
    (tmp_path / "heeds.py").write_text(HEEDS)
    attempt = lab.attempt(
        "train",
        [lab.nodes[0], lab.nodes[1]],
        CPU,
        {"data": digits},
        inputs={"data": "dataset://digits"},
        outputs={"model": "model://heeds"},
        train_loop="heeds:loop",
        working_dir=str(tmp_path),
        workers={"num_workers": 2, "resources_per_worker": {"CPU": 1}},
    )
    eventually(lambda: attempt.heard("progress") or attempt.outcome, timeout_s=120)
    asked_s = time.time()
    attempt.ctx.ends_s = asked_s + 20
    attempt.ask_to("preempt")
    with pytest.raises(Preempted):
        attempt.end()
    ((folder, step),) = set(attempt.heard("saved"))
    assert step == 1
    told = (Path(folder) / "weights").read_text().split()
    assert abs(int(told[1]) / 1000 - asked_s - 20) < 1
    assert told[2] == "2"
    assert damage(folder) == ""


def test_a_training_loop_of_the_users_own_reports_saves_and_fails_by_its_own_line(
    lab: Lab, digits: Input, tmp_path: Path
) -> None:
    (tmp_path / "theirs.py").write_text(THEIR_LOOP)
    attempt = lab.attempt(
        "train",
        [lab.nodes[1]],
        CPU,
        {"data": digits},
        inputs={"data": "dataset://digits"},
        outputs={"model": "model://theirs"},
        train_loop="theirs:loop",
        working_dir=str(tmp_path),
        train_loop_config={"epochs": 5, "breaks_at": 2},
    )
    with pytest.raises(WorkloadFailed) as failed:
        attempt.end()
    assert failed.value.message == "theirs.py:9: ValueError: my own bug"
    assert [step for _, step in attempt.heard("saved")] == [1, 2]
    assert attempt.actual == (lab.nodes[1],)
