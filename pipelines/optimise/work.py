"""The passes in order on the planned node: make, measure, gate, save; then all variants side by side."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from aios.checkpoints import seal
from aios.engines import Preempted, Reporter, WorkloadFailed
from pipelines.files import read_json, sync_tree, write_folder, write_json
from pipelines.models.onnx import ONNX
from pipelines.models.session import INPUT, OnnxNetwork
from pipelines.optimise.front import chosen, front
from pipelines.optimise.measure import Candidate, glance, memory_of, score, side_by_side
from pipelines.optimise.passes import Passes
from pipelines.optimise.spec import OptimiseSpec
from pipelines.optimise.subject import Subject, subject_of, teacher_of
from pipelines.run import Whereabouts
from pipelines.train.network import load

PROGRESS = "progress.json"
NETWORK = "network.safetensors"


@dataclass(frozen=True, slots=True)
class Order:
    """What the process on the node gets."""

    spec: OptimiseSpec
    original: Path
    data: str
    data_reference: str
    teacher: Path | None
    teacher_reference: str
    working_dir: Path
    folder: Path
    checkpoint: str
    stop_file: Path
    n_threads: int
    whereabouts: Whereabouts
    reporter: Reporter
    check_fence: Callable[[], None]
    alive: Callable[..., None] = lambda: None


def work(order: Order) -> dict[str, Any]:
    """Run all passes from the latest checkpoint on; return the report. Raises Preempted between epochs."""
    order.alive()
    order.whereabouts.say()
    torch.set_num_threads(order.n_threads)
    return Optimising(order).run()


@dataclass(slots=True)
class Optimising:
    order: Order
    variants: list[dict[str, Any]] = field(default_factory=list)
    n_done: int = 0
    base: str = "original"
    """The variant whose network the next pass works on."""

    def run(self) -> dict[str, Any]:
        spec, order = self.order.spec, self.order
        subject = subject_of(order.original, order.data, order.data_reference, order.working_dir)
        teacher = teacher_of(order.teacher, subject, order.teacher_reference) if order.teacher else None
        passes = self._begin(subject, teacher)
        if not self.variants:
            value = score(load(order.original)[0], subject.card, subject.rows, subject.expected)
            self.variants.append({"name": "original", "score": value, "rejected": "", "note": "as it is served"})
        for i in range(self.n_done, len(spec.passes)):
            self._asked()
            self._one(i, passes, subject)
            self._checkpoint(passes)
        self._asked()
        return self._report(subject)

    def _begin(self, subject: Subject, teacher: Any) -> Passes:
        """Take up what an earlier attempt left."""
        folder = self.order.folder / "variants"
        if self.order.checkpoint and not folder.exists():
            shutil.copytree(self.order.checkpoint, folder)
        folder.mkdir(parents=True, exist_ok=True)
        network, model = subject.network(), dict(subject.card["model"])
        if (folder / PROGRESS).exists():
            left = read_json(folder / PROGRESS)
            there, names = (
                [one["name"] for one in left["variants"][1:]],
                map(self.order.spec.name_of, range(left["done"])),
            )
            if there != list(names):
                raise WorkloadFailed(
                    f"checkpoint {self.order.checkpoint} is of other passes ({', '.join(there)}): submit the work "
                    "under a new name"
                )
            self.variants, self.n_done, self.base = left["variants"], left["done"], left["base"]
            model = left["model"]
            if (folder / NETWORK).exists():
                network = subject.build(model)
                network.load_state_dict(load_file(folder / NETWORK))
        return Passes(
            subject, folder, network, model, teacher, self.order.spec.seed, self._asked, self.order.reporter.log
        )

    def _one(self, i: int, passes: Passes, subject: Subject) -> None:
        """Make, measure and judge one variant."""
        spec, folder = self.order.spec, passes.folder
        name = spec.name_of(i)
        path = folder / f"{name}.onnx"
        network, model, note = passes.make(spec.passes[i], path)
        (folder / ONNX).unlink(missing_ok=True)
        value = self._score(path, passes, network is not None, subject)
        lost, allowed = self.variants[0]["score"] - value, spec.drop_of(i)
        rejected = f"rejected: loses {lost:.4f}, and may lose {allowed:g}" if lost > allowed + 1e-12 else ""
        form = self._form(passes, network)
        variant = {
            "name": name,
            "score": value,
            "rejected": rejected,
            "note": f"of {self.base}{f', {note}' if note else ''}",
            "form": form,
        }
        self.variants.append(variant)
        times = glance([subject.as_it_is, self._candidate(variant, folder)], subject.rows)
        faster = times["original"]["1"]["p50_us"] / times[name]["1"]["p50_us"]
        self.order.reporter.log(
            f"pass {i + 1}/{len(spec.passes)} {name}: {self._metric(subject)} {value:.4f}, {faster:.2f}x as fast, "
            f"{path.stat().st_size / 1024:,.0f} KiB, {variant['note']}{f'; {rejected}' if rejected else ''}"
        )
        self.order.reporter.progress({"pass": i + 1, "of": len(spec.passes), "variant": name, "score": round(value, 6)})
        if network is not None and not rejected:
            passes.network, passes.model, passes.base = network, model, None
            self.base = name
        self.n_done = i + 1

    def _score(self, path: Path, passes: Passes, ours: bool, subject: Subject) -> float:
        ours = ours or passes.network is not None
        card = {"name": path.stem, "model": {} if ours else subject.card["model"]}
        path.with_name(ONNX).write_bytes(path.read_bytes())
        found = score(OnnxNetwork(path.parent, card), subject.card, subject.rows, subject.expected)
        path.with_name(ONNX).unlink()
        return found

    def _form(self, passes: Passes, network: Any) -> dict[str, Any] | None:
        """Return how the variant's file is called, where that is not our own way."""
        return None if network is not None or passes.network is not None else passes.subject.form

    def _candidate(self, variant: dict[str, Any], folder: Path) -> Candidate:
        return Candidate(variant["name"], "onnx", folder / f"{variant['name']}.onnx", variant["form"] or dict(INPUT))

    def _checkpoint(self, passes: Passes) -> None:
        folder, order = passes.folder, self.order
        if passes.network is not None:
            tensors = {key: value.contiguous().clone() for key, value in passes.network.state_dict().items()}
            save_file(tensors, folder / NETWORK)
        write_json(
            folder / PROGRESS,
            {"done": self.n_done, "variants": self.variants, "model": passes.model, "base": self.base},
        )
        order.check_fence()
        to = order.folder / "checkpoints" / f"pass-{self.n_done:03d}"
        if not to.exists():
            write_folder(to, lambda part: self._fill(folder, part))
        order.reporter.saved(str(to), self.n_done)
        for old in sorted((order.folder / "checkpoints").glob("pass-*"))[:-2]:
            shutil.rmtree(old)

    def _fill(self, folder: Path, part: Path) -> None:
        shutil.copytree(folder, part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("probe.*", "base.onnx"))
        seal(part)

    def _report(self, subject: Subject) -> dict[str, Any]:
        """Time all variants in one run, and say which one is taken."""
        spec, folder = self.order.spec, self.order.folder / "variants"
        candidates = [subject.as_it_is, *(self._candidate(one, folder) for one in self.variants[1:])]
        times = side_by_side(candidates, subject.rows, folder)
        rows = []
        for one, candidate in zip(self.variants, candidates, strict=True):
            latency = times[candidate.name]
            rows.append(
                {**one, "latency": latency, "latency_us": latency["1"]["p50_us"],
                 "rows_per_s": max(by["rows_per_s"] for by in latency.values()), "size_bytes": candidate.size_bytes,
                 "memory_bytes": memory_of(candidate, subject.rows, folder)}
            )  # fmt: skip
        first = rows[0]
        for row in rows:
            row["faster"] = round(first["latency_us"] / row["latency_us"], 3)
            row["smaller"] = round(first["size_bytes"] / row["size_bytes"], 3)
        able = [row for row in rows if not row["rejected"]]
        sync_tree(folder)
        return {
            "format": 1, "name": spec.name, "metric": self._metric(subject), "rows": len(subject.rows),
            "variants": rows, "front": front(able), "taken": chosen(able, spec.prefer), "prefer": spec.prefer,
            "n_threads": 1,
        }  # fmt: skip

    def _metric(self, subject: Subject) -> str:
        return "r2" if subject.card["classes"] is None else "accuracy"

    def _asked(self) -> None:
        if self.order.stop_file.exists() or self.order.reporter.preempting():
            raise Preempted
