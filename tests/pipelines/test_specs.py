"""What users may write for each engine's kind, and what they are told when it is wrong."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from aios.engines import engine_of
from aios.errors import InvalidSpec

SHA = "0" * 64
INGEST: dict[str, Any] = {"source": {"sklearn": "digits"}, "outputs": {"data": "dataset://digits"}}
TRAIN: dict[str, Any] = {"inputs": {"data": "dataset://digits"}, "outputs": {"model": "model://digits"}}
EVALUATE: dict[str, Any] = {"inputs": {"data": "dataset://digits", "model": "model://digits@3"}}
SERVE: dict[str, Any] = {"inputs": {"model": "model://digits"}}
SCRIPT: dict[str, Any] = {"entrypoint": "python train.py --lr 0.1"}
GOOD = {"ingest": INGEST, "train": TRAIN, "evaluate": EVALUATE, "serve": SERVE, "script": SCRIPT}


def spec_of(kind: str, **changes: Any) -> Any:
    return engine_of(kind).spec_type.model_validate({"kind": kind, "name": "w", **GOOD[kind], **changes})


@pytest.mark.parametrize("kind", GOOD)
def test_the_smallest_spec_of_each_kind_asks_for_one_cpu(kind: str) -> None:
    demand = engine_of(kind).demand(spec_of(kind))
    assert [bundle.resources.items() for bundle in demand.bundles] == [(("CPU", 1000),)]


@pytest.mark.parametrize("kind", GOOD)
def test_a_spec_survives_its_json(kind: str) -> None:
    spec = spec_of(kind)
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


BAD = [
    ("ingest", {"source": {}}, "exactly one of sklearn, path"),
    ("ingest", {"source": {"sklearn": "digits", "path": "a.csv"}}, "not sklearn and path"),
    ("ingest", {"source": {"path": "ftp://h/a.csv"}}, "no scheme 'ftp'"),
    ("ingest", {"source": {"sql": {"url": "postgresql://u:pw@h/d", "table": "t"}}}, "holds a password"),
    ("ingest", {"source": {"sql": {"url": "sqlite:///a.db"}}}, "exactly one of table and query"),
    ("ingest", {"source": {"mqtt": {"host": "h", "topic": "t"}}}, "key is missing"),
    ("ingest", {"source": {"kafka": {"servers": "h", "topic": "t"}}, "mode": "overwrite"}, "a stream is added"),
    ("ingest", {"source": {"kafka": {"servers": "h", "topic": "t", "password": "pw"}}}, "pattern"),
    ("ingest", {"source": {"python": {"call": "os.system('x')"}}}, "pattern"),
    ("ingest", {"prepare": [{"drop": ["a"], "select": ["b"]}]}, "exactly one key"),
    ("ingest", {"prepare": [{"filter": "a = 1"}]}, "is no expression"),
    ("ingest", {"prepare": [{"filter": "__import__('os')"}]}, "no function '__import__'"),
    ("ingest", {"prepare": [{"convert": {"t": {"from": "degC", "to": "kg"}}}]}, "two units of one quantity"),
    ("ingest", {"prepare": [{"join": {"role": "other", "on": ["id"]}}]}, "inputs needs 'other'"),
    ("ingest", {"check": [{"column": "a"}]}, "a rule demands something"),
    ("ingest", {"check": [{"column": "a", "fresh": "1d", "on_fail": "quarantine"}]}, "no single row"),
    ("ingest", {"check": [{"column": "a", "regex": "("}]}, "regex"),
    ("ingest", {"split": {"by": ["a"], "time": "t", "since": "2026-01-01"}}, "one of by, time and column"),
    ("ingest", {"source": {"sklearn": "mnist"}}, "'digits'"),
    ("ingest", {"source": {"path": "a.xlsx"}, "target": "y"}, "'.xlsx'"),
    ("ingest", {"split": {"test": 0}}, "greater than 0"),
    ("ingest", {"split": {"test": 1.0}}, "less than 1"),
    ("ingest", {"split": {"test": float("nan")}}, "finite"),
    ("ingest", {"outputs": {}}, "outputs needs 'data'"),
    ("ingest", {"outputs": {"data": "model://digits"}}, "must be a dataset"),
    ("ingest", {"inputs": {"data": "dataset://digits"}}, "takes nothing"),
    ("ingest", {"target": "y", "drop": ["y"]}, "drop has the target"),
    ("ingest", {"normalize": True}, "normalize"),
    ("train", {"inputs": {}}, "inputs needs 'data'"),
    ("train", {"outputs": {"model": "model://m", "log": "dataset://d"}}, "log"),
    ("train", {"model": {"type": "cnn", "hidden": [4]}}, "hidden belongs to type mlp"),
    ("train", {"model": {"type": "transformer"}}, "'mlp'"),
    ("train", {"epochs": 0}, "greater than or equal to 1"),
    ("train", {"lr": -1}, "greater than 0"),
    ("train", {"batch_size": 2, "workers": {"num_workers": 3}}, "at least 3"),
    ("train", {"train_loop": "no colon"}, "pattern"),
    ("train", {"train_loop": "m:f", "model": {"type": "mlp"}}, "give one"),
    ("train", {"working_dir": "/code"}, "belong to train_loop"),
    ("train", {"train_loop": "m:f", "working_dir": "package://x"}, "64 hex digits"),
    ("train", {"model": {"factory": "no colon"}}, "pattern"),
    ("train", {"model": {"type": "mlp", "factory": "m:f"}}, "belong together"),
    ("train", {"model": {"type": "mlp", "channels": [4]}}, "channels belongs to type cnn"),
    ("train", {"model": {"type": "mlp", "arguments": {"a": 1}}}, "arguments belong to factory"),
    ("train", {"optimizer": {"type": "adam", "momentum": 0.9}}, "momentum belongs to sgd, not to adam"),
    ("train", {"optimizer": {"type": "sgd", "nesterov": True}}, "nesterov needs a momentum"),
    ("train", {"optimizer": "lion"}, "'adamw'"),
    ("train", {"loss": {"type": "mse", "label_smoothing": 0.1}}, "label_smoothing belongs to cross_entropy"),
    ("train", {"schedule": {"type": "cosine", "factor": 0.5}}, "factor belongs to step"),
    ("train", {"schedule": {"type": "cosine", "warm_up": 3}}, "warm_up"),
    ("train", {"precision": "fp16"}, "precision fp16 needs GPUs"),
    ("train", {"strategy": "fsdp"}, "give at least 2"),
    ("train", {"accumulate": 100}, "cannot be taken in 100 parts"),
    ("train", {"early_stopping": {"metric": "val_loss"}}, "val_loss needs validation"),
    ("train", {"early_stopping": {"metric": "auc"}}, "'val_accuracy'"),
    ("train", {"early_stopping": {"metric": "loss"}, "checkpoints": {"metric": "accuracy"}}, "give one"),
    ("train", {"train_loop": "m:f", "precision": "bf16"}, "precision and train_loop: the loop decides that itself"),
    ("train", {"report_within": "10m"}, "report_within belongs to train_loop"),
    ("evaluate", {"inputs": {"model": "model://m"}}, "inputs needs 'data'"),
    ("evaluate", {"gates": {"accuracy": 90}}, "from 0 to 1"),
    ("evaluate", {"gates": {"beauty": 0.9}}, "'beauty' is no metric: there are accuracy"),
    ("serve", {"num_replicas": 0}, "greater than or equal to 1"),
    ("serve", {"num_replicas": 2, "min_replicas": 3}, "min_replicas 3 is above num_replicas 2"),
    ("serve", {"route_prefix": "digits"}, "pattern"),
    ("serve", {"workers": {"num_workers": 2}}, "give num_replicas"),
    ("script", {"entrypoint": ""}, "at least 1"),
    ("script", {"entrypoint": "python 'train.py"}, "No closing quotation"),
    ("script", {"working_dir": "package://abc"}, "64 hex digits"),
    ("script", {"env": {"RAY_ADDRESS": "x"}}, "set by the system"),
    ("script", {"runtime_env": {"env_vars": {"AIOS_ATTEMPT": "9"}}}, "set by the system"),
]


@pytest.mark.parametrize("kind, changes, word", BAD)
def test_a_wrong_spec_is_refused_with_a_word_on_how_to_mend_it(kind: str, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError) as refused:
        spec_of(kind, **changes)
    assert word in str(refused.value)


def test_each_replica_of_an_endpoint_is_one_bundle() -> None:
    elastic = engine_of("serve").demand(spec_of("serve", num_replicas=3, min_replicas=1))
    assert (len(elastic.bundles), elastic.min_bundles) == (3, 1)
    demand = engine_of("serve").demand(spec_of("serve", num_replicas=3, num_cpus=0.5))
    assert (len(demand.bundles), demand.min_bundles, demand.bundles[0].resources.get("CPU")) == (3, 3, 500)


def test_a_training_gang_is_elastic_where_the_user_says_so() -> None:
    demand = engine_of("train").demand(spec_of("train", workers={"num_workers": 4, "min_workers": 2}))
    assert (len(demand.bundles), demand.min_bundles) == (4, 2)


def test_a_training_worker_without_cpu_is_refused() -> None:
    spec = spec_of("train", workers={"num_workers": 2, "resources_per_worker": {"GPU": 1}})
    with pytest.raises(InvalidSpec, match="needs CPU"):
        engine_of("train").demand(spec)


def test_a_command_may_be_a_line_or_a_list() -> None:
    assert spec_of("script").entrypoint == ("python", "train.py", "--lr", "0.1")
    assert spec_of("script", entrypoint=["bash", "-c", "a b"]).entrypoint == ("bash", "-c", "a b")
    assert spec_of("script", working_dir=f"package://{SHA}").working_dir == f"package://{SHA}"


def test_reading_specs_loads_no_framework() -> None:
    heavy = "{'ray', 'torch', 'pandas', 'sklearn', 'pyarrow'}"
    code = f"import sys; from aios.engines import engines; engines(); print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.strip() == "[]"
