"""Which features a model goes by over many rows: the mean size of their attributions, made on the planned nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from aios.engines import RunContext, WorkloadFailed
from pipelines.data.feed import Feed
from pipelines.evaluate.classes import Classes
from pipelines.evaluate.judging import Plan
from pipelines.models.attribution import attributions
from pipelines.models.rows import features_of, loaded
from pipelines.run import Whereabouts

AT_ONCE = 256


def explained(plan: Plan, n_rows: int, ctx: RunContext, options: Mapping[str, float]) -> dict[str, Any]:
    """Return the features by the mean absolute attribution over ``n_rows`` rows at equal distances."""
    feed = Feed(plan.data, plan.columns, side=plan.side, seed=None)
    chosen = np.unique(np.linspace(0, feed.n_rows - 1, min(n_rows, feed.n_rows)).astype(np.int64))
    pieces = [{"rows": chosen[at : at + AT_ONCE].tolist()} for at in range(0, len(chosen), AT_ONCE)]
    model = plan.models[0]
    network, card = loaded(model.uri)
    del network
    sample = np.array(features_of(feed.take(chosen.tolist()), card, model.raw).to_pandas(), dtype="float64")
    usual = np.nanmean(sample, axis=0)
    positive = plan.measure.classes[plan.measure.positive] if _is_binary(plan) else None
    task = ExplainRows(plan, tuple(usual.tolist()), positive, Whereabouts.of(ctx))
    parts = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        task, batch_format="pyarrow", batch_size=1, **options
    )
    total, signed, method, gap = np.zeros(len(card["features"])), np.zeros(len(card["features"])), "", 0.0
    for part in parts.iter_rows():
        if part["problem"]:
            raise WorkloadFailed(part["problem"])
        total += np.asarray(part["absolute"])
        signed += np.asarray(part["signed"])
        method, gap = part["method"], max(gap, float(part["gap"]))
    order = np.argsort(-total, kind="stable")
    what = (
        f"the probability of {positive}"
        if positive
        else "the answer"
        if card["classes"] is None
        else "the likeliest class's probability"
    )
    return {
        "method": method,
        "rows": len(chosen),
        "gap": gap,
        "about": f"How far each feature moves {what} from that of the mean row, by {method}: the mean of its size over "
        f"{len(chosen):,} rows. It says what the model goes by, not what causes what.",
        "features": [
            {
                "feature": card["features"][i],
                "mean_absolute": float(total[i] / len(chosen)),
                "mean": float(signed[i] / len(chosen)),
            }
            for i in order
        ],
    }


def _is_binary(plan: Plan) -> bool:
    return isinstance(plan.measure, Classes) and plan.measure.is_binary


@dataclass(frozen=True, slots=True)
class ExplainRows:
    """Explains some rows by position; what comes back is sums over them."""

    plan: Plan
    usual: tuple[float, ...]
    of: str | None
    whereabouts: Whereabouts

    def __call__(self, pieces: pa.Table) -> pa.Table:
        self.whereabouts.say()
        (piece,) = pieces.to_pylist()
        model = self.plan.models[0]
        rows = Feed(self.plan.data, self.plan.columns, side=self.plan.side, seed=None).take(piece["rows"])
        network, card = loaded(model.uri)
        features = np.array(features_of(rows, card, model.raw).to_pandas(), dtype="float64")
        try:
            found = attributions(network, card, features, np.asarray(self.usual), self.of)
        except WorkloadFailed as error:
            return pa.Table.from_pylist([_empty(error.message)])
        whole = {"absolute": np.abs(found.values).sum(axis=0).tolist(), "signed": found.values.sum(axis=0).tolist()}
        return pa.Table.from_pylist([{**whole, "method": found.method, "gap": found.gap, "problem": ""}])


def _empty(problem: str) -> dict[str, Any]:
    return {"absolute": [0.0], "signed": [0.0], "method": "", "gap": 0.0, "problem": problem}
