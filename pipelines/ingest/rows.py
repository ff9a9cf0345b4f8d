"""Work on batches of rows, as it runs inside Ray Data's tasks: read, clean, split, measure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipelines.run import Whereabouts

SIDE = "__side"


@dataclass(frozen=True, slots=True)
class ReadSklearn:
    """Read part ``part`` of ``n_parts`` of a set that ships with scikit-learn."""

    name: str
    n_parts: int

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        from sklearn import datasets

        frame = getattr(datasets, f"load_{self.name}")(as_frame=True).frame
        frame.columns = [str(column).strip().replace(" ", "_") for column in frame.columns]
        return pd.concat([frame.iloc[int(part) :: self.n_parts] for part in batch["part"]])


@dataclass(frozen=True, slots=True)
class Clean:
    """Keep the wanted columns as numbers, drop rows with gaps, and say on which side of the split each row falls."""

    target: str
    drop: tuple[str, ...]
    test: float
    seed: int
    whereabouts: Whereabouts

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.whereabouts.say()
        frame = frame.drop(columns=[name for name in self.drop if name in frame.columns]).dropna()
        features = frame.drop(columns=[self.target]).astype("float64")
        frame = pd.concat([features, frame[self.target]], axis=1)
        finite = np.isfinite(features.to_numpy()).all(axis=1)
        frame = frame[finite].reset_index(drop=True)
        frame[SIDE] = sides(frame, self.test, self.seed)
        return frame


def sides(frame: pd.DataFrame, test: float, seed: int) -> np.ndarray[Any, Any]:
    """Return ``train`` or ``test`` for each row from a hash of its values, whatever the order of rows."""
    target = frame.iloc[:, -1].astype(str).to_numpy()
    values = np.ascontiguousarray(frame.iloc[:, :-1].to_numpy(dtype="float64"))
    key = seed.to_bytes(16, "little")
    limit = int(test * 2**64)
    out = np.empty(len(frame), dtype=object)
    for i, row in enumerate(values):
        digest = hashlib.blake2b(row.tobytes() + target[i].encode(), digest_size=8, key=key).digest()
        out[i] = "test" if int.from_bytes(digest, "little") < limit else "train"
    return out


def unique(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop_duplicates(ignore_index=True)


@dataclass(frozen=True, slots=True)
class Measure:
    """Return one row of sums for a batch: enough for means and spreads without a second look."""

    features: tuple[str, ...]
    whereabouts: Whereabouts

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.whereabouts.say()
        values = frame[list(self.features)].to_numpy(dtype="float64")
        mean = values.mean(axis=0)
        return pd.DataFrame(
            {"n": [len(values)], "mean": [mean.tolist()], "m2": [((values - mean) ** 2).sum(axis=0).tolist()]}
        )


def combine(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return mean and scale (standard deviation, 1 where a feature is constant) over all measured batches.

    Notes
    -----
    Chan, Golub and LeVeque's pairwise update: ``M2 = M2a + M2b + d² na nb / (na + nb)``; doi:10.2307/2683386.
    """
    n, mean, m2 = 0, np.zeros(1), np.zeros(1)
    for part in parts:
        n_b, mean_b, m2_b = int(part["n"]), np.asarray(part["mean"]), np.asarray(part["m2"])
        delta = mean_b - mean
        total = n + n_b
        mean = mean + delta * n_b / total
        m2 = m2 + m2_b + delta**2 * n * n_b / total
        n = total
    scale = np.sqrt(m2 / max(n, 1))
    scale = np.where(scale > 1e-12, scale, 1.0)
    return {"mean": mean.tolist(), "scale": scale.tolist()}
