"""What is optimised: the original version, its network where its code is known, and the rows it is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from aios.engines import WorkloadFailed
from pipelines.models.onnx import ONNX
from pipelines.models.session import INPUT
from pipelines.models.weights import restore
from pipelines.optimise.measure import Candidate
from pipelines.train.network import build, load, read_card
from pipelines.train.table import Streamed, Table, read_manifest, read_table

EVERYTHING = 1 << 62


@dataclass(frozen=True, slots=True)
class Subject:
    """The original, and the data version: ``rows`` (n, f) and ``expected`` of its test part, ``train`` to learn."""

    folder: Path
    card: Mapping[str, Any]
    train: Table | Streamed
    rows: npt.NDArray[Any]
    expected: Sequence[Any]
    working_dir: Path

    @property
    def n_outputs(self) -> int:
        return len(self.card["classes"] or [0])

    @property
    def as_it_is(self) -> Candidate:
        """The original as it is served."""
        if self.card["model"]["type"] in ("factory", "onnx"):
            return Candidate("original", "onnx", self.folder / ONNX, self.form)
        return Candidate("original", "torch", self.folder)

    @property
    def form(self) -> dict[str, Any]:
        model = self.card["model"]
        return {**INPUT, **{key: model[key] for key in INPUT if model.get(key) is not None}}

    def network(self) -> nn.Sequential | None:
        """Return the original as a PyTorch network that can learn; None where it is ONNX, or its code is not here."""
        model = self.card["model"]
        if model["type"] == "onnx" or (model["type"] == "factory" and self.working_dir == Path()):
            return None
        network = self.build(model)
        restore(network, self.folder, self.card["name"])
        return network

    def build(self, model: Mapping[str, Any]) -> nn.Sequential:
        """Return a new network over the same features and outputs."""
        return build(model, len(self.card["features"]), self.n_outputs, self.card["statistics"], self.working_dir)

    def calibration(self, n: int, form: Mapping[str, Any]) -> npt.NDArray[Any]:
        """Return the first rows of a shuffled train part, as the ONNX file takes them."""
        if isinstance(self.train, Streamed):
            rows = next(self.train.batches(n, 0, 0, 0, 0, 1))[1].numpy()
        else:
            order = np.random.default_rng(0).permutation(len(self.train))[:n]
            rows = self.train.features.numpy()[order]
        values = rows.astype(form["dtype"])
        return values.reshape(len(values), *form["shape"]) if form["shape"] else values


def subject_of(folder: Path, data: str, reference: str, working_dir: Path) -> Subject:
    """Read the original and the data it is judged by; raises WorkloadFailed where they do not fit each other."""
    card, manifest = read_card(folder), read_manifest(data)
    if card["model"]["type"] == "custom":
        raise WorkloadFailed(f"model {card['name']!r} was made by a train_loop: only its author's code can load it")
    lacks = sorted(set(card["features"]) - set(manifest["features"]))
    if lacks:
        raise WorkloadFailed(f"{reference} lacks {', '.join(lacks[:5])}, which the model takes: give one that has them")
    if card.get("recipe") != manifest.get("recipe"):
        raise WorkloadFailed(
            f"{reference} was prepared by other steps or statistics than the training data of the model: give that one"
        )
    if card["task"] != manifest["task"]:
        raise WorkloadFailed(f"the model does {card['task']}, but {reference} is for {manifest['task']}")
    if manifest["classes"] is not None and (other := set(manifest["classes"]) - set(card["classes"])):
        some = ", ".join(map(str, sorted(other, key=str)[:5]))
        raise WorkloadFailed(f"{reference} has classes that the model does not know: {some}")
    seen = {**manifest, "features": card["features"], "classes": card["classes"]}
    train = read_table(data, "train", seen)
    test = read_table(data, "test", seen, EVERYTHING)
    assert isinstance(test, Table)
    if not len(test):
        raise WorkloadFailed(f"{reference} has no test part, so nothing can be measured: give its ingest a split")
    targets = test.targets.tolist()
    expected = targets if card["classes"] is None else [card["classes"][i] for i in targets]
    return Subject(folder, card, train, test.features.numpy(), expected, working_dir)


def teacher_of(folder: Path, subject: Subject, reference: str) -> nn.Module:
    """Return a teacher ready to answer; raises WorkloadFailed where it answers another question."""
    network, card = load(folder)
    for what in ("features", "classes"):
        if card[what] != subject.card[what]:
            raise WorkloadFailed(f"teacher {reference} has other {what} than the model: it cannot teach it")
    return network
