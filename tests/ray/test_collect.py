"""Ingest on real Ray: files, databases and streams become versions; checks decide; a lost attempt doubles nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aios.adapters.embedded import Keeper
from aios.engines import Input, Result, RunContext, WorkloadFailed, engine_of
from examples.data import city, clinic, driving
from pipelines.data.reading import load
from pipelines.ingest.sources.generators import host_samples
from pipelines.train.table import read_manifest, read_table
from placement.model import Resources
from tests.support.brokers import MOSQUITTO, mosquitto

pytestmark = [pytest.mark.ray, pytest.mark.timeout(150)]


@dataclass
class Heard:
    """What an attempt said."""

    lines: list[str] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def ran_on(self, node_id: str, bundle: int | None = None) -> None: ...
    def saved(self, uri: str, step: int) -> None: ...
    def preempting(self) -> bool:
        return False

    def progress(self, metrics: Any) -> None:
        self.metrics.append(dict(metrics))

    def log(self, line: str) -> None:
        self.lines.append(line)


@dataclass
class Lab:
    """Runs ingests as attempts and keeps the versions that they end with, as the kernel does."""

    storage: Path
    node: str
    versions: dict[str, Input] = field(default_factory=dict)
    n: int = 0
    heard: Heard = field(default_factory=Heard)

    def run(self, document: dict[str, Any], publish: bool = True) -> Result:
        self.n += 1
        self.heard = Heard()
        spec = engine_of(document["kind"]).spec_type.model_validate(document)
        name = spec.outputs["data"].partition("://")[2]
        folder = self.storage / "attempts" / str(self.n)
        folder.mkdir(parents=True)
        ctx = RunContext(
            workload=f"w{self.n}",
            name=spec.name,
            tenant="lab",
            attempt=1,
            fence=self.n,
            nodes=(self.node,),
            bundles=(Resources.parse({"CPU": 2}),),
            inputs={role: self.versions[ref.partition("://")[2]] for role, ref in spec.inputs.items()},
            outputs=spec.outputs,
            dir=folder,
            storage=self.storage,
            reporter=self.heard,
            bases={"data": self.versions[name]} if name in self.versions else {},
        )
        result: Result = engine_of(document["kind"]).run(spec, ctx)
        if publish:
            for artefact in result.artefacts:
                reference = f"dataset://{name}@{self.n}"
                self.versions[name] = Input(reference, artefact.uri, json.loads(artefact.meta))
        return result

    def rows(self, name: str) -> list[dict[str, Any]]:
        return load(self.versions[name].uri).to_pylist()


@pytest.fixture(scope="module")
def lab(driver: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    node = next(n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU"))
    return Lab(tmp_path_factory.mktemp("storage"), node)


def ingest(source: dict[str, Any], name: str = "d", **settings: Any) -> dict[str, Any]:
    return {
        "kind": "ingest",
        "name": f"{name}-ingest",
        "source": source,
        "outputs": {"data": f"dataset://{name}"},
        **settings,
    }


def test_health_care_records_of_a_database_become_a_version_and_training_input(lab: Lab, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'clinic.db'}"
    clinic.fill(url)
    lab.run(clinic.documents(url)[0])
    manifest = read_manifest(lab.versions["clinic"].uri)
    train, test = (read_table(lab.versions["clinic"].uri, side, manifest) for side in ("train", "test"))
    assert len(train) + len(test) == 569
    assert train.features.shape[1] == 30
    assert manifest["classes"] == [0, 1]
    assert "patient" not in manifest["features"]
    assert [rule["ok"] for rule in manifest["checks"]["rules"]] == [True] * len(manifest["checks"]["rules"])
    assert manifest["source"]["read"] == {"rows": 569, "ranges": 4}


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_smart_city_telemetry_over_a_broker_is_in_the_versions_once_also_after_a_lost_attempt(
    lab: Lab, tmp_path: Path
) -> None:
    with mosquitto(tmp_path) as port:
        (document,) = city.documents(port, idle="1s")
        # 1. Nothing has come: no version, but from now on the broker keeps what comes.
        assert lab.run(document).artefacts == ()
        city.publish(port, host_samples(40, 0.0))
        # 2. An attempt commits all of it and is lost before its end is taken: nothing is published.
        lost = lab.run(document, publish=False)
        assert lost.artefacts
        # 3. The next one finds it all again, and what came meanwhile.
        city.publish(port, host_samples(20, 0.0))
        lab.run(document)
        rows = lab.rows("cabinet")
        assert len(rows) == 60
        assert len({row["at"] for row in rows}) == 60
        # 4. A later run adds only what is new.
        city.publish(port, host_samples(5, 0.0))
        lab.run(document)
        assert len(lab.rows("cabinet")) == 65
    manifest = read_manifest(lab.versions["cabinet"].uri)
    assert manifest["features"] == ["cpu_percent", "memory_percent", "processes"]
    assert len(read_table(lab.versions["cabinet"].uri, "train", manifest)) > 30
    assert any(metrics.get("messages") == 5 for metrics in lab.heard.metrics)


def test_driving_frames_are_joined_with_the_simulated_drive_and_become_features(lab: Lab, tmp_path: Path) -> None:
    driving.fill(tmp_path, 120)
    for document in driving.documents(tmp_path):
        lab.run(document)
    manifest = read_manifest(lab.versions["frames"].uri)
    train = read_table(lab.versions["frames"].uri, "train", manifest)
    assert train.features.shape[1] == 64 + 1 + 2
    assert len(train) + len(read_table(lab.versions["frames"].uri, "test", manifest)) == 120
    speed = manifest["features"].index("simulated_speed")
    assert abs(float(train.features[:, speed].mean())) < 1e-9
    assert set(manifest["classes"]) <= set("0123456789")


def records(folder: Path, n: int = 200) -> dict[str, Any]:
    for part in range(4):
        lines = [f"{i},{'x' if i == 50 else 'abc'[i % 3]},{-1 if i == 7 else i},{i % 2}" for i in range(part, n, 4)]
        (folder / f"{part}.csv").write_text("id,group,value,y\n" + "\n".join(lines) + "\n")
    return {"path": str(folder)}


RULES = [
    {"column": "value", "min": 0, "on_fail": "quarantine"},
    {"column": "group", "in": ["a", "b", "c"], "on_fail": "warn"},
    {"unique": ["id"]},
]


def test_checks_stop_set_aside_or_warn_and_report_rule_column_count_and_examples(lab: Lab, tmp_path: Path) -> None:
    source = records(tmp_path)
    prepare = [{"one_hot": ["group"]}, {"standardise": ["value"]}]
    lab.run(ingest(source, "checked", target="y", key=["id"], check=RULES, prepare=prepare))
    manifest = read_manifest(lab.versions["checked"].uri)
    assert {"group=a", "group=b", "group=c", "value"} <= set(manifest["features"])
    assert sorted(row["id"] for row in lab.rows("checked")) == [i for i in range(200) if i != 7]
    assert manifest["checks"]["quarantined"] == 1
    (aside,) = load(manifest["quarantine"]["uri"]).to_pylist()
    assert (aside["id"], aside["value"]) == (7, -1)
    warned = next(rule for rule in manifest["checks"]["rules"] if rule["on_fail"] == "warn")
    assert (warned["count"], warned["examples"][0]["group"]) == (1, "x")
    assert any("check, warn: column 'group' one of a, b, c: 1 row" in line for line in lab.heard.lines)
    # A rule that says stop: nothing is published, and it is said why.
    with (tmp_path / "0.csv").open("a") as file:
        file.write("4,a,1,0\n")
    with pytest.raises(WorkloadFailed, match=r"key \(id\) unique: 1 row fail.*id=4.*nothing is published"):
        lab.run(ingest(source, "checked", target="y", key=["id"], check=RULES))
    assert len(lab.rows("checked")) == 199


def test_doubles_go_wherever_they_are_and_a_bad_row_is_told_by_file_row_and_column(lab: Lab, tmp_path: Path) -> None:
    source = records(tmp_path)
    shutil.copy(tmp_path / "1.csv", tmp_path / "9.csv")
    lab.run(ingest(source, "single", prepare=[{"unique": {"by": ["id"]}}]))
    assert sorted(row["id"] for row in lab.rows("single")) == list(range(200))
    with (tmp_path / "3.csv").open("a") as file:
        file.write("201,a,many,1\n")
    with pytest.raises(WorkloadFailed, match=r"3\.csv: row 51, column 'value':.*many"):
        lab.run(ingest({**source, "types": {"value": "int64"}}, "single"))
    assert len(lab.rows("single")) == 200


def test_a_database_is_read_on_from_its_watermark(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    with sqlite3.connect(path) as made:
        made.execute("create table t (id integer, v real)")
        made.executemany("insert into t values (?, ?)", [(i, i / 2) for i in range(10)])
    document = ingest({"sql": {"url": f"sqlite:///{path}", "table": "t", "watermark": "id"}}, "marked", key=["id"])
    lab.run(document)
    assert lab.run(document).artefacts == ()
    with sqlite3.connect(path) as made:
        made.execute("insert into t values (10, 5.0)")
    made.close()
    lab.run(document)
    assert sorted(row["id"] for row in lab.rows("marked")) == list(range(11))
