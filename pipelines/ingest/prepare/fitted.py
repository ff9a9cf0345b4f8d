"""Steps with a memory: what is measured on the train part once is applied unchanged wherever rows go in afterwards.

Each has ``partial`` (what one batch contributes), ``combine`` (all of them to what is kept, as JSON) and ``apply``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.prepare.steps import columns_there, filled, put
from pipelines.ingest.sources.errors import BadSource, shown

KEYS = ("impute", "standardise", "minmax", "one_hot", "label")
MOST_CATEGORIES = 1_000
QUANTILES = 10_001
State = dict[str, Any]


def partial(key: str, value: Any, table: pa.Table) -> State:
    """Return what a batch contributes to a step's fit, by column (JSON)."""
    columns_there(table, value, key)
    return {name: _measured(key, value[name] if key == "impute" else "", table[name], name) for name in value}


def combine(key: str, value: Any, partials: Sequence[State]) -> State:
    """Return what is kept of a step, by column; the order of batches does not matter."""
    return {name: _kept(key, value, name, [part[name] for part in partials]) for name in value}


def apply(key: str, value: Any, state: State, table: pa.Table) -> pa.Table:
    """Return the rows with a fitted step applied."""
    columns_there(table, value, key)
    for name in value:
        table = _applied(key, state[name], table, name)
    return table


def _measured(key: str, how: str, column: pa.ChunkedArray, name: str) -> State:
    if key in ("one_hot", "label") or how == "most_frequent":
        return {"counts": _counts(column, name, key)}
    values = _numbers(column, name, key)
    if key == "minmax":
        return {"low": float(values.min()), "high": float(values.max())} if len(values) else {}
    if how == "median":
        return {"n": len(values), "quantiles": _thinned(np.sort(values)).tolist()}
    mean = float(values.mean()) if len(values) else 0.0
    return {"n": len(values), "mean": mean, "m2": float(((values - mean) ** 2).sum())}


def _kept(key: str, value: Any, name: str, parts: Sequence[State]) -> Any:
    if key in ("one_hot", "label"):
        categories = sorted(sum((Counter(part["counts"]) for part in parts), Counter()))
        if len(categories) > MOST_CATEGORIES:
            raise BadSource(
                f"prepare: {key}: column {name!r} has {len(categories)} different values, at most {MOST_CATEGORIES} "
                f"go: use hash: {{{name}: 64}}"
            )
        return categories
    if key == "minmax":
        seen = [part for part in parts if part]
        _some(seen, key, name)
        return [min(part["low"] for part in seen), max(part["high"] for part in seen)]
    how = value[name] if key == "impute" else "standardise"
    if how == "most_frequent":
        counts: Counter[str] = sum((Counter(part["counts"]) for part in parts), Counter())
        _some(counts, key, name)
        return min(counts, key=lambda category: (-counts[category], category))
    if how == "median":
        return _median(parts, key, name)
    n, mean, m2 = _moments(parts)
    _some(n, key, name)
    if key == "impute":
        return mean
    scale = float(np.sqrt(m2 / n))
    return [mean, scale if scale > 1e-12 * max(1.0, abs(mean)) else 1.0]


def _applied(key: str, state: Any, table: pa.Table, name: str) -> pa.Table:
    column = table[name]
    match key:
        case "impute":
            if isinstance(state, str) and not pa.types.is_string(column.type):
                return put(table, name, filled(column, pa.scalar(state).cast(column.type).as_py(), name))
            if pa.types.is_integer(column.type) and isinstance(state, float):
                column = column.cast(pa.float64())
            return put(table, name, filled(column, state, name))
        case "standardise":
            mean, scale = state
            return put(table, name, pc.divide(pc.subtract(_floats(column, name, key), mean), scale))
        case "minmax":
            low, high = state
            return put(table, name, pc.divide(pc.subtract(_floats(column, name, key), low), (high - low) or 1.0))
        case "label":
            index = pc.index_in(_words(column, name, key), pa.array(state, pa.string()))
            return put(table, name, pc.fill_null(index, -1).cast(pa.int64()))
        case "one_hot":
            words = _words(column, name, key)
            table = table.drop_columns([name])
            for category in state:
                hit = pc.fill_null(pc.equal(words, category), False)
                table = put(table, f"{name}={category}", hit.cast(pa.float64()))
            return table
    raise AssertionError(f"{key} is no fitted step")


def hashed(table: pa.Table, widths: Mapping[str, int]) -> pa.Table:
    """Return text (or lists of words) as signed counts in so many columns; nothing is measured for it.

    References
    ----------
    Weinberger et al., Feature Hashing for Large Scale Multitask Learning; doi:10.1145/1553374.1553516.
    """
    columns_there(table, widths, "hash")
    for name, width in widths.items():
        column = table[name]
        values = column.to_pylist() if pa.types.is_list(column.type) else _words(column, name, "hash").to_pylist()
        out = np.zeros((len(values), width))
        for i, value in enumerate(values):
            for word in value if isinstance(value, list) else [value]:
                if word is not None:
                    digest = int.from_bytes(hashlib.blake2b(str(word).encode(), digest_size=8).digest(), "little")
                    out[i, (digest >> 1) % width] += 1.0 if digest & 1 else -1.0
        table = table.drop_columns([name])
        for j in range(width):
            table = table.append_column(f"{name}#{j}", pa.array(out[:, j]))
    return table


def _words(column: pa.ChunkedArray, name: str, key: str) -> pa.ChunkedArray:
    """Return categories as text: whole numbers without a point, so that 1 and 1.0 are one."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    if pa.types.is_floating(column.type):
        whole = column.cast(pa.float64())
        try:
            return pc.if_else(pc.is_nan(whole), None, whole).cast(pa.int64()).cast(pa.string())
        except pa.ArrowInvalid:
            return whole.cast(pa.string())
    if pa.types.is_nested(column.type) or isinstance(column.type, pa.ExtensionType):
        raise BadSource(f"prepare: {key}: column {name!r} is {column.type}, not a category")
    return column.cast(pa.string())


def _counts(column: pa.ChunkedArray, name: str, key: str) -> dict[str, int]:
    found = pc.value_counts(_words(column, name, key))
    counts = {one["values"].as_py(): one["counts"].as_py() for one in found if one["values"].as_py() is not None}
    if len(counts) > 100 * MOST_CATEGORIES:
        raise BadSource(
            f"prepare: {key}: column {name!r} has {len(counts)} values in one block: it holds no categories"
        )
    return counts


def _numbers(column: pa.ChunkedArray, name: str, key: str) -> np.ndarray[Any, Any]:
    values = _floats(column, name, key).drop_null().to_numpy()
    return values[np.isfinite(values)]


def _floats(column: pa.ChunkedArray, name: str, key: str) -> pa.ChunkedArray:
    try:
        if pa.types.is_string(column.type):
            raise pa.ArrowInvalid("text")
        return column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise BadSource(
            f"prepare: {key}: column {name!r} is {column.type}, not a number: {shown(column.type)}"
        ) from None


def _thinned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return at most ``QUANTILES`` of sorted values, evenly by rank."""
    if len(values) <= QUANTILES:
        return values
    return values[np.linspace(0, len(values) - 1, QUANTILES).round().astype(int)]


def _median(parts: Sequence[State], key: str, name: str) -> float:
    """Return the median of all values: exact where no batch was thinned, else within 1 / 10,000 of the rank."""
    values = np.concatenate([np.asarray(part["quantiles"], dtype=float) for part in parts] or [np.zeros(0)])
    weights = np.concatenate(
        [np.full(len(part["quantiles"]), part["n"] / max(1, len(part["quantiles"]))) for part in parts] or [np.zeros(0)]
    )
    _some(len(values), key, name)
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weights[order])
    half = reached[-1] / 2
    at = int(np.searchsorted(reached, half, side="left"))
    if np.isclose(reached[at], half) and at + 1 < len(values):
        return float((values[at] + values[at + 1]) / 2)
    return float(values[at])


def _moments(parts: Sequence[State]) -> tuple[int, float, float]:
    """Return number, mean and sum of squares about it; Chan, Golub and LeVeque, doi:10.2307/2683386."""
    n, mean, m2 = 0, 0.0, 0.0
    for part in sorted(parts, key=lambda part: (part["n"], part["mean"], part["m2"])):
        if part["n"] == 0:
            continue
        total = n + part["n"]
        delta = part["mean"] - mean
        mean += delta * part["n"] / total
        m2 += part["m2"] + delta**2 * n * part["n"] / total
        n = total
    return n, mean, m2


def _some(what: Any, key: str, name: str) -> None:
    if not what:
        raise BadSource(f"prepare: {key}: column {name!r} has no value in the train part")
