"""Ranked lists: rows are brought together by group on the planned nodes, and only sums over groups come back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from aios.engines import RunContext
from pipelines.data.reading import of_side, read_input
from pipelines.evaluate.classes import names_of
from pipelines.evaluate.judging import Plan, expected_of, predicted_by
from pipelines.evaluate.ranks import NAMES, Ranks
from pipelines.evaluate.spec import EvaluateSpec
from pipelines.evaluate.sums import BLOCK, Array, Key, Sums, packed, unpacked, weights
from pipelines.run import Whereabouts

EXPECTED, LABELLED = "__expected", "__labelled"


def ranked(
    plan: Plan, spec: EvaluateSpec, ctx: RunContext, options: Mapping[str, float]
) -> tuple[dict[Key, Sums], int]:
    """Return the sums over groups of ``spec.group``, and how many rows do not say what is expected."""
    assert spec.group is not None
    data = ctx.inputs["data"]
    positive = 1
    if plan.classes is not None and spec.positive is not None:
        positive = names_of(plan.classes).index(str(spec.positive))
    rows = read_input(data, plan.columns, of_side(data.uri, plan.side), **options)
    scored = rows.map_batches(
        Score(plan, spec.group, positive, Whereabouts.of(ctx)), batch_format="pyarrow", batch_size=BLOCK, **options
    )
    groups = scored.groupby(spec.group).map_groups(OfGroup(plan, spec.group), batch_format="pyarrow", **options)
    parts = groups.map_batches(SumGroups(plan), batch_format="pyarrow", batch_size=BLOCK, **options)
    sums, unlabelled = plan.empty(), 0
    for part in parts.iter_rows():
        for key, more in unpacked(part["sums"]).items():
            sums[key].merge(more)
        unlabelled += int(part["unlabelled"])
        ctx.reporter.progress({"groups": sums["model", ""].n})
    return sums, unlabelled


@dataclass(frozen=True, slots=True)
class Score:
    """Adds each model's score to rows, and keeps what groups need."""

    plan: Plan
    group: str
    positive: int
    whereabouts: Whereabouts

    def __call__(self, rows: pa.Table) -> pa.Table:
        self.whereabouts.say()
        plan = self.plan
        expected, there = expected_of(plan, rows)
        if plan.classes is not None:
            expected = (expected == self.positive).astype(float)
        out = rows.select(list(dict.fromkeys([self.group, *(one.column for one in plan.slices)])))
        out = out.append_column(EXPECTED, pa.array(expected)).append_column(LABELLED, pa.array(there))
        for one in plan.models:
            predicted = predicted_by(one, rows, plan)
            scores = predicted if plan.classes is None else predicted[:, self.positive]
            out = out.append_column(f"__{one.role}", pa.array(np.asarray(scores, dtype=float)))
        return out


@dataclass(frozen=True, slots=True)
class OfGroup:
    """One row for a group: its number of rows, each model's metrics, and the slices that its first row is in."""

    plan: Plan
    group: str
    __name__ = "of_group"  # Ray Data names the step by it

    def __call__(self, rows: pa.Table) -> pa.Table:
        there = np.asarray(rows[LABELLED].to_numpy(), dtype=bool)
        relevance = np.array(rows[EXPECTED].to_numpy(), dtype=float)[there]
        measure = self.plan.measure
        assert isinstance(measure, Ranks)
        first = rows.slice(0, 1)
        name = str(rows[self.group][0].as_py())
        out: dict[str, Any] = {
            "key": int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big"),
            "n": int(there.sum()),
            "unlabelled": int((~there).sum()),
            "slices": [bool(one.mask(first)[0]) for one in self.plan.slices],
        }
        for one in self.plan.models:
            scores = np.asarray(rows[f"__{one.role}"].to_numpy(), dtype=float)[there]
            out[one.role] = measure.of_group(relevance, scores) if there.any() else [0.0] * len(NAMES)
        return pa.Table.from_pylist([out])


@dataclass(frozen=True, slots=True)
class SumGroups:
    """Sums the metrics of groups, with a group's weights by its name alone."""

    plan: Plan

    def __call__(self, groups: pa.Table) -> pa.Table:
        plan = self.plan
        found = plan.empty()
        n = np.asarray(groups["n"].to_numpy(), dtype=float)
        drawn = np.column_stack([
            weights(plan.seed, int(key), 1, plan.n_replicates)[:, 0] for key in groups["key"].to_pylist()
        ])  # fmt: skip
        inside = np.array(groups["slices"].to_pylist(), dtype=bool).reshape(len(groups), len(plan.slices))
        masks: dict[str, Array] = {"": n > 0}
        masks |= {one.label: inside[:, i] & (n > 0) for i, one in enumerate(plan.slices)}
        for one in plan.models:
            once, each = plan.measure.rows(n, np.array(groups[one.role].to_pylist(), dtype=float))
            for label, mask in masks.items():
                if mask.any():
                    found[one.role, label].add(once[mask], each[mask], drawn[:, mask])
        out = {"sums": packed(found), "unlabelled": int(np.sum(groups["unlabelled"].to_numpy()))}
        return pa.Table.from_pylist([out])
