"""``aios models`` over real folders: what a user sees of versions, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from aios.cli.judging import _lines
from aios.cli.options import Options
from aios.client import Client
from aios.kernel.events import VersionTagged
from aios.models.aliases import before
from aios.models.manifest import SIGNATURE
from tests.cli.conftest import Aios
from tests.support.judged import dataset, judged, spec_of
from tests.support.models import made, signed
from tests.support.plane import Served


class Models:
    """Versions of the model ``m``, published one by one."""

    def __init__(self, storage: Path, client: Client) -> None:
        self.storage, self.client = storage, client
        self.n = 0

    def publish(self, name: str = "m", **card: Any) -> Path:
        self.n += 1
        folder = self.storage / "models" / name / f"train-{self.n}"
        artefact = made(folder, name, above=self.n / 10, **card)
        fields = {"name": name, "uri": artefact.uri, "digest": artefact.digest, "meta": json.loads(artefact.meta)}
        self.client._wire.send("POST", "/versions/model", body={**fields, "inputs": ["dataset://rows@1"]})
        return folder


@pytest.fixture
def models(plane: Served) -> Models:
    """Versions 1, 2 and 3, each better than the one before."""
    models = Models(plane.home / "storage", plane.client())
    models.publish()
    models.publish(scores={"accuracy": 0.93}, trained={"epochs": 5, "lr": 0.01})
    wider = {"name": "x", "type": "number", "dtype": "float"}, {"name": "z", "type": "number", "dtype": "double"}
    outputs = {"name": "y", "task": "classification"}
    models.publish(scores={"accuracy": 0.95}, signature={"inputs": wider, "outputs": outputs})
    return models


def test_versions_are_listed_shown_and_compared(aios: Aios, models: Models) -> None:
    listed = aios("models", "list")
    assert [line.split()[:2] for line in listed.out.splitlines()[1:]] == [["m", "1"], ["m", "2"], ["m", "3"]]
    assert "accuracy 0.93" in listed.out
    assert aios("model", "list", "m").out == listed.out
    shown = aios("models", "show", "m@2").out
    for part in ("verified: 3 files", "epochs 5", "x: double", "dataset://rows@1"):
        assert part in shown
    found = aios("models", "diff", "m@1", "m@3").out
    for part in ("+0.05", "input z added", "input x: double -> float", "data: the same", "parameters: the same"):
        assert part in found
    assert "epochs" in aios("models", "diff", "m@1", "m@2").out
    assert "one and the same" in aios("models", "diff", "m@1", "m@1").out
    assert "| accuracy | 0.95 |" in aios("models", "card", "m").out


def test_an_alias_moves_and_goes_back_two_versions_in_two_rollbacks(aios: Aios, models: Models) -> None:
    assert "no alias" in aios("models", "rollback", "m", "--alias", "prod").err
    for version in (1, 2, 3):
        assert f"prod is model://m@{version} now" in aios("models", "promote", f"m@{version}", "--to", "prod").out
    assert "m@3 already" in aios("models", "promote", "m@3", "--to", "prod").out
    assert aios("models", "show", "m@prod", "-o", "json").json["version"] == 3
    assert "prod is model://m@2 now; it was m@3" in aios("models", "rollback", "m", "--alias", "prod").out
    assert "prod is model://m@1 now" in aios("models", "rollback", "m", "--alias", "prod").out
    ran = aios("models", "rollback", "m", "--alias", "prod")
    assert (ran.code, "no earlier version" in ran.err) == (104, True)
    assert aios("models", "aliases", "m").out.splitlines()[1].split()[:3] == ["prod", "1", "-"]
    assert aios("models", "retire", "m", "--alias", "prod").code == 0
    assert aios("models", "show", "m@prod").code == 102


def test_a_changed_byte_is_refused_everywhere_and_the_file_is_named(aios: Aios, models: Models) -> None:
    folder = models.publish()
    assert "3 files are as they were signed" in aios("models", "verify", "m@4").out
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    for command in (("verify", "m@4"), ("card", "m@4"), ("promote", "m@4", "--to", "prod")):
        ran = aios("models", *command)
        assert ran.code == 104
        assert "model://m@4: model.safetensors was changed after it was signed" in ran.err
        assert "train it again" in ran.err
    assert "NOT USABLE" in aios("models", "show", "m@4").out


def test_a_pickle_in_the_folder_is_refused(aios: Aios, models: Models) -> None:
    torch.save({}, models.publish() / "optimizer.pt")
    ran = aios("models", "verify", "m@4")
    assert (ran.code, "optimizer.pt is a pickle" in ran.err) == (104, True)


BAD = [
    (("show", "n"), 102, "there is no model 'n'"),
    (("verify", "m@9"), 102, "versions: 1, 2, 3"),
    (("promote", "m@stable", "--to", "prod"), 102, "tags: none"),
    (("promote", "m@1", "--to", "7"), 2, "looks like a version"),
    (("promote", "m@1", "--to", "v2"), 2, "looks like a version"),
    (("promote", "m@1", "--to", "latest"), 2, "looks like a version"),
    (("promote", "m@1", "--to", "2026-11-01"), 2, "is no alias"),
    (("promote", "m@1", "--to", "Prod!"), 2, "is no alias"),
    (("promote", "m@1"), 2, "--to"),
    (("rollback", "n", "--alias", "prod"), 102, "there is no model 'n'"),
    (("retire", "m", "--alias", "prod"), 102, "has no tag 'prod'"),
    (("list", "n"), 102, "there is: m"),
    (("gc", "n"), 102, "there is no model 'n'"),
    (("gc", "m", "--older-than", "soon"), 2, "soon"),
]


def test_bad_input_is_told(aios: Aios, models: Models) -> None:
    for args, code, told in BAD:  # one control plane for all
        ran = aios("models", *args)
        assert (ran.code, told in ran.err) == (code, True), (args, ran.err)


def test_a_folder_that_is_gone_is_told(aios: Aios, models: Models) -> None:
    folder = models.publish()
    folder.rename(folder.parent / "moved")
    ran = aios("models", "verify", "m@4")
    assert (ran.code, "its folder" in ran.err, "is gone" in ran.err) == (102, True, True)


def test_gc_keeps_what_is_new_or_has_an_alias_and_takes_the_files_of_the_rest(aios: Aios, models: Models) -> None:
    aios("models", "promote", "m@1", "--to", "prod")
    assert "m@2 would go" in aios("models", "gc", "m", "--keep", "1").out
    ran = aios("models", "gc", "m", "--keep", "1", "--apply")
    assert "m@2 is gone" in ran.out
    assert "kept for their aliases: m@1 (prod)" in ran.err
    folders = sorted(path.name for path in (models.storage / "models" / "m").iterdir())
    assert folders == ["train-1", "train-3"]
    assert aios("models", "verify", "m@2").code == 102
    assert aios("models", "verify", "m@1").code == 0


def test_a_version_without_signature_is_signed_when_the_control_plane_starts(plane: Served, models: Models) -> None:
    from aios.kernel.events import EpochStarted
    from aios.models.registrar import Registrar

    folder = models.publish()
    (folder / SIGNATURE).unlink()
    state = plane.state
    Registrar(plane.home, plane.home / "storage", lambda _: None)([EpochStarted(0.0, 1, "")], state)
    assert (folder / SIGNATURE).is_file()


def test_the_version_before_is_the_one_that_had_the_alias_first() -> None:
    def history(*versions: int) -> list[VersionTagged]:
        return [VersionTagged(float(i), "model://m", "prod", version) for i, version in enumerate(versions)]

    assert before([], "prod") == (0, 0)
    assert before(history(1), "prod") == (1, 0)
    assert before(history(1, 2, 3), "prod") == (3, 2)
    assert before(history(1, 2, 3, 2), "prod") == (2, 1)
    assert before(history(1, 2, 3), "prod", gone={2}) == (3, 1)
    assert before(history(1, 2, 0), "prod") == (0, 0)
    assert before(history(1, 2, 0, 3), "prod") == (3, 2)
    assert before(history(1, 2), "canary") == (0, 0)


def test_a_version_that_nobody_judged_has_no_report(aios: Aios, models: Models) -> None:
    none = aios("models", "report", "m@2")
    assert none.code == 102
    assert "model://m@2 has no report: it has none" in none.err
    assert "kind: evaluate" in none.err


def test_a_report_is_told_with_its_gates_metrics_and_slices(tmp_path: Path) -> None:
    rows = pa.table({"x": [0.1, 0.4, 0.9, 0.8] * 20, "y": ["no", "no", "yes", "no"] * 20, "sex": ["f", "m"] * 40})
    inputs = {
        "model": signed(made(tmp_path / "m"), tmp_path / "home", tmp_path, 2),
        "data": dataset(tmp_path / "rows", rows, features=["x"]),
    }
    report, _ = judged(spec_of(gates={"accuracy": 0.9, "recall[yes]": 0.5}, slices=["sex"]), inputs, tmp_path)
    text = "\n".join(_lines(Options(), report))
    for part in ("model://m@2 on 80 rows", "MISSED", "0.7500 is below 0.9", "held", "95% INTERVAL", "sex=m"):
        assert part in text
    assert "AGAINST THE BASELINE" not in text


def test_explaining_a_prediction_needs_one_row(aios: Aios, models: Models, tmp_path: Path) -> None:
    row = tmp_path / "row.json"
    row.write_text('{"x": 2.0}')
    found = json.loads(aios("explain-prediction", "m@2", "--row", str(row), "-o", "json").out)
    assert (found["model"], found["prediction"], found["features"][0]["feature"]) == ("model://m@2", "yes", "x")
    assert found["sum"] == pytest.approx(found["output"] - found["usual"], abs=0.005)
    assert "together" in aios("explain-prediction", "m@2", "--row", str(row)).out
    assert "give --row FILE, or --data NAME@V with --index N" in aios("explain-prediction", "m@2").err
    row.write_text("{")
    assert "is no JSON" in aios("explain-prediction", "m@2", "--row", str(row)).err
