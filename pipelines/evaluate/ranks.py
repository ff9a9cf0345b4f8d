"""The measure of ranking: each group of rows is one ranked list, whose metrics are summed over groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torchmetrics.functional import retrieval

from pipelines.evaluate.sums import Array, Sums

NAMES = ("ndcg", "mrr", "map", "hit_rate", "precision_at_k", "recall_at_k")


@dataclass(frozen=True)
class Ranks:
    """Statistics of ranked lists; rows here are groups, ``predicted`` their metrics (n, 6)."""

    k: int = 10
    task: str = "ranking"

    @property
    def shape(self) -> tuple[int, int]:
        return 1, 1 + len(NAMES)

    def of_group(self, relevance: Array, scores: Array) -> list[float]:
        """Return the metrics of one list: relevance (n,), where 0 is of no use, and scores (n,)."""
        score, graded = torch.as_tensor(scores, dtype=torch.float64), torch.as_tensor(relevance, dtype=torch.float64)
        score = score - score.min() + 1  # torchmetrics takes what is not above 0 for not retrieved
        useful = graded > 0
        return [
            float(retrieval.retrieval_normalized_dcg(score, graded, top_k=self.k)),
            float(retrieval.retrieval_reciprocal_rank(score, useful)),
            float(retrieval.retrieval_average_precision(score, useful)),
            float(retrieval.retrieval_hit_rate(score, useful, top_k=self.k)),
            float(retrieval.retrieval_precision(score, useful, top_k=self.k)),
            float(retrieval.retrieval_recall(score, useful, top_k=self.k)),
        ]

    def rows(self, expected: Array, predicted: Array) -> tuple[Any, Any]:
        """Return the statistics of groups: their metrics (n, 6); ``expected`` is how many rows each has."""
        each = np.column_stack([np.ones(len(predicted)), predicted])
        return sparse.csr_array(expected[:, None].astype(float)), sparse.csr_array(each)

    def point(self, sums: Sums) -> dict[str, float]:
        return {name: float(value[0]) for name, value in self.replicates(sums.each[:1]).items()}

    def replicates(self, each: Array) -> dict[str, Array]:
        """Return the mean of each metric over groups."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return {name: each[:, i + 1] / each[:, 0] for i, name in enumerate(NAMES)}
