"""Dataset versions on real Ray: whole or not at all, whoever is killed in the middle of a publication."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aios.client import Client
from aios.config import NAMESPACE
from aios.engines import Input, Preempted, RunContext, engine_of
from aios.main import ClusterInfo, answers
from aios.views import ArtefactView
from pipelines.data.address import Address
from pipelines.data.feed import ingest_config, stream
from pipelines.data.fingerprint import fingerprint
from pipelines.data.lance_table import LanceTable
from pipelines.data.manifest import MANIFEST
from pipelines.data.parquet_folder import SIDE
from pipelines.data.reading import load, opened
from pipelines.data.table import Table, Write
from pipelines.run import slice_context
from placement.model import Resources
from tests.ray.publisher import Deaf
from tests.support.models import made, signed
from tests.support.polling import eventually

pytestmark = pytest.mark.ray


class Publisher:
    """A publication that a test holds, looks at and lets go."""

    def __init__(self, client: Client, folder: Path, name: str, **fields: Any) -> None:
        self.client, self.name, self.folder = client, name, folder / name
        self.folder.mkdir()
        document = {"kind": "publisher", "name": name, "folder": str(self.folder), "num_cpus": 1, **fields}
        client.submit({"outputs": {"data": f"dataset://{name}"}, **document})

    def holds(self, attempt: int = 1) -> int:
        """Wait until an attempt holds; returns the process that does."""
        reached = self.folder / f"reached-{attempt}"

        def look() -> bool:
            if reached.exists() and reached.read_text():
                return True
            view = self.client.get(self.name)
            if view.over:
                pytest.fail(f"{view.id} is {view.status}: {view.message} {''.join(self.client.logs(view.id))[-3000:]}")
            raise AssertionError(f"{view.status}: {view.message} {view.reason}")

        eventually(look, timeout_s=90, what=f"{self.name} at its point")
        return int(reached.read_text(encoding="utf-8"))

    def go(self) -> None:
        (self.folder / "go").touch()

    def ends(self) -> Any:
        (view,) = self.client.wait(self.name, timeout=120)
        assert view.status == "SUCCEEDED", view.message
        return view

    def supervisor(self, attempt: int = 1) -> int:
        import ray

        actor = ray.get_actor(f"aios/{self.client.get(self.name).id}/{attempt}", namespace=NAMESPACE)
        return int(ray.get(actor.pid.remote()))


def versions(client: Client, name: str) -> list[ArtefactView]:
    return [view for view in client.datasets() if view.name == name]


def ids(view: ArtefactView) -> list[int]:
    return sorted(load(view.uri)["id"].to_pylist())


def test_a_killed_worker_changes_nothing_of_the_one_version(client: Client, tmp_path: Path) -> None:
    held = Publisher(client, tmp_path, "worker-killed", holds_at="writing")
    os.kill(held.holds(), signal.SIGKILL)
    held.go()
    view = held.ends()
    (version,) = versions(client, "worker-killed")
    assert ids(version) == list(range(400))
    assert version.attempt == len(view.attempts) == 1
    assert set(load(version.uri)["node"].to_pylist()) == _nodes(view, client)


def _nodes(view: Any, client: Client) -> set[str]:
    ids_by_name = {node.name: node.id for node in client.nodes()}
    return {ids_by_name[name] for name in view.planned_nodes}


@pytest.mark.parametrize("holds_at, table", [("writing", "lance"), ("committed", "lance"), ("committed", "delta")])
def test_a_killed_driver_leaves_no_version_and_its_retry_publishes_exactly_one(
    client: Client, tmp_path: Path, holds_at: str, table: str
) -> None:
    """
    1. The supervisor, which drives the write, is killed in mid-write or between its commit and its end.
    2. No version is there, and the table, where there is one, is readable.
    3. The second attempt publishes one version with each row once.
    """
    name = f"driver-{holds_at}-{table}"
    held = Publisher(client, tmp_path, name, holds_at=holds_at, table=table)
    held.holds()
    os.kill(held.supervisor(), signal.SIGKILL)
    held.holds(attempt=2)
    assert not versions(client, name)
    held.go()
    assert len(held.ends().attempts) == 2
    (version,) = versions(client, name)
    assert version.attempt == 2
    assert ids(version) == list(range(400))
    opened_table, _ = opened(version.uri)
    runs = {one.properties.get("aios.run", "")[-1:] for one in opened_table.versions()} - {""}
    assert runs == ({"1", "2"} if holds_at == "committed" else {"2"})


def test_a_killed_control_plane_publishes_what_ended_while_it_was_away_exactly_once(
    client: Client, info: ClusterInfo, tmp_path: Path
) -> None:
    from aios.control import actor

    held = Publisher(client, tmp_path, "plane-killed", holds_at="committed")
    held.holds()
    os.kill(int(actor.health()["pid"]), signal.SIGKILL)
    eventually(lambda: not answers(info.api_url), timeout_s=20, every_s=0.01, what="the control plane's death")
    held.go()
    eventually(lambda: answers(info.api_url), timeout_s=90, what="the control plane")
    assert len(held.ends().attempts) == 1
    (version,) = versions(client, "plane-killed")
    assert ids(version) == list(range(400))


def test_of_two_appends_at_once_both_are_in_the_newest_version(client: Client, tmp_path: Path) -> None:
    """The later one is not taken, runs again on top of the first, and says so."""
    Publisher(client, tmp_path, "shared").ends()
    outputs = {"data": "dataset://shared"}
    one = Publisher(client, tmp_path, "one", holds_at="committed", start=1000, stop=1100, outputs=outputs)
    two = Publisher(client, tmp_path, "two", holds_at="committed", start=2000, stop=2100, outputs=outputs)
    one.holds()
    two.holds()
    one.go()
    two.go()
    attempts = [len(publisher.ends().attempts) for publisher in (one, two)]
    assert sorted(attempts) == [1, 2]
    first, second, third = versions(client, "shared")
    assert ids(first) == list(range(400))
    assert len(ids(second)) == 500
    assert ids(third) == [*range(400), *range(1000, 1100), *range(2000, 2100)]
    assert (second.origin, third.origin) == ("dataset://shared@1", "dataset://shared@2")


@pytest.mark.parametrize("format_", ["lance", "delta"])
def test_what_ray_writes_is_what_it_reads_on_the_planned_node_alone(driver: Any, tmp_path: Path, format_: str) -> None:
    import ray

    node = next(n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU"))
    options = dict(slice_context([node], [Resources.parse({"CPU": 1})]))
    table = _table(format_, tmp_path)
    columns = {"id": np.arange(5000), "name": [f"s-{i}" for i in range(5000)], "at": np.arange(5000) / 7}
    local = pa.table(columns)
    first = table.write(ray.data.from_arrow([local.slice(at, 1000) for at in range(0, 5000, 1000)]), Write(), **options)
    assert first.fingerprint == fingerprint(local)
    rows = table.read(first.version, ["id", "name"], (("id", ">=", 4000),), **options)
    assert rows.count() == 1000
    where = table.read(first.version, ["id"], **options).map_batches(_where, **options).unique("node")
    assert where == [node]
    with pytest.raises(Exception, match=r"the schema changed in the middle: column 'id'"):
        table.write(ray.data.from_arrow([pa.table({"id": [1]}), pa.table({"id": ["x"]})]), Write(base=first.version))
    assert table.count(first.version) == 5000


def _table(format_: str, folder: Path) -> Table:
    from pipelines.data.table import open_table

    return open_table(Address(format_, str(folder / f"t.{format_}"), 0))


def _where(batch: dict[str, Any]) -> dict[str, Any]:
    import ray

    return {"node": np.array([ray.get_runtime_context().get_node_id()] * len(batch["id"]))}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Input:
    """A model that says whether x is above 0.5."""
    storage = tmp_path_factory.mktemp("model")
    return signed(made(storage / "model"), storage / "home", storage)


def test_batch_inference_goes_on_behind_the_last_commit_and_predicts_each_row_once(
    driver: Any, model: Input, tmp_path: Path
) -> None:
    import ray

    node = next(n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU"))
    table = LanceTable(str(tmp_path / "rows.lance"))
    rows = pa.table({"id": np.arange(2500), "x": np.arange(2500) % 2 / 1.0, SIDE: ["train", "test"] * 1250})
    version = table.write(rows, Write(properties={MANIFEST: "{}"})).version
    data = Input("dataset://rows@1", str(Address("lance", table.location, version)), {})
    engine = engine_of("batch")
    fields = {"inputs": {"model": "model://m", "data": "dataset://rows"}, "outputs": {"data": "dataset://out"}}
    spec = engine.spec_type(kind="batch", name="out", num_cpus=1, portion_rows=1000, keep=("id",), **fields)

    def context(attempt: int, checkpoint: str = "", step: int = 0) -> RunContext:
        return RunContext(
            workload="out-1", name="out", tenant="t", attempt=attempt, fence=attempt, nodes=(node,),
            bundles=(Resources.parse({"CPU": 1}),), inputs={"model": model, "data": data},
            outputs={"data": "dataset://out"}, dir=tmp_path, storage=Path(model.uri).parent, reporter=Deaf(),
            checkpoint=checkpoint, step=step, stop_event=threading.Event(),
        )  # fmt: skip

    first = context(1)
    first.check_fence = lambda: first.stop_event.set() if first.reporter.heard else None  # type: ignore[attr-defined]
    first.stop_reason = "preempt"
    with pytest.raises(Preempted):
        engine.run(spec, first)
    uri, step = first.reporter.heard[-1]  # type: ignore[attr-defined]
    assert 0 < step < 2500
    (made,) = engine.run(spec, context(2, uri, step)).artefacts
    found = load(made.uri).to_pandas().sort_values("id")
    assert found["id"].tolist() == list(range(2500))
    assert found["prediction"].tolist() == ["no", "yes"] * 1250


def test_training_input_through_ray_train_s_split_stays_on_the_planned_node(driver: Any, tmp_path: Path) -> None:
    import ray

    node = next(n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU"))
    options = dict(slice_context([node], [Resources.parse({"CPU": 1})]))
    table = LanceTable(str(tmp_path / "rows.lance"))
    rows = pa.table({"id": np.arange(4000), SIDE: ["train", "test"] * 2000})
    uri = str(Address("lance", table.location, table.write(rows, Write(rows_per_file=500)).version))
    split = stream(uri, ["id"], **options).map_batches(_with_node, **options).streaming_split(2)
    ids_seen, nodes = [], set()

    @ray.remote(num_cpus=0)
    def consume(shard: Any) -> list[tuple[int, str]]:
        batches = shard.iter_batches(batch_size=256)
        return [pair for batch in batches for pair in zip(batch["id"].tolist(), batch["node"].tolist(), strict=True)]

    for part in ray.get([consume.remote(shard) for shard in split]):
        ids_seen += [i for i, _ in part]
        nodes |= {n for _, n in part}
    assert sorted(ids_seen) == list(range(0, 4000, 2))
    assert nodes == {node}
    (given,) = {str(options.label_selector) for options in _options_for_train(ingest_config())}
    assert node in given, "Train's own default forgets the selector"


def _options_for_train(config: Any) -> list[Any]:
    return [value for value in vars(config).values() if hasattr(value, "label_selector")]


def _with_node(batch: dict[str, Any]) -> dict[str, Any]:
    import ray

    return {**batch, "node": np.array([ray.get_runtime_context().get_node_id()] * len(batch["id"]))}
