"""Rules on the values of a batch, by pandera: which rows fail which rule, counts and examples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.quality.spec import Rule
from pipelines.ingest.sources.errors import BadSource, first_line, listed, shown
from pipelines.ingest.sources.files import type_of

FAILED = "__failed"
"""The column that names the rules a row fails, with commas between; a gap where it fails none."""
MOST_EXAMPLES = 5
Tally = dict[str, Any]


def name_of(index: int, what: str) -> str:
    """Return the identity of one demand of the rule at ``index`` of the spec."""
    return f"{index}.{what}"


def flag(table: pa.Table, rules: Sequence[Rule]) -> pa.Table:
    """Return the rows with the column ``FAILED``, by rules that look at one row alone."""
    columns_there(table, rules)
    failed: dict[int, list[str]] = {}
    for demand, rows in failures(table, rules).items():
        for row in rows:
            failed.setdefault(row, []).append(demand)
    flags = [",".join(failed[i]) if i in failed else None for i in range(table.num_rows)]
    return table.append_column(FAILED, pa.array(flags, pa.string()))


def failures(table: pa.Table, rules: Sequence[Rule]) -> dict[str, list[int]]:
    """Return the rows that fail each demand."""
    if table.num_rows == 0:
        return {}
    pandera, errors = _pandera()
    checks: dict[str, list[Any]] = {}
    for index, rule in enumerate(rules):
        if rule.column is not None:
            checks.setdefault(rule.column, []).extend(
                _checks(pandera, index, rule, table.schema.field(rule.column).type)
            )
    checks = {column: found for column, found in checks.items() if found}
    if not checks:
        return {}
    frame = _frame(table, list(checks))
    schema = pandera.DataFrameSchema(
        {name: pandera.Column(checks=found, nullable=True) for name, found in checks.items()}
    )
    try:
        schema.validate(frame, lazy=True)
    except errors.SchemaErrors as found:
        return _by_demand(found.failure_cases)
    return {}


def _by_demand(cases: pd.DataFrame) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for case in cases.itertuples():
        if case.index is None or pd.isna(case.index):
            raise BadSource(
                f"check: column {case.column!r}: the rule {case.check} cannot be asked: {case.failure_case}"
            )
        out.setdefault(str(case.check), []).append(int(case.index))
    return {demand: sorted(set(rows)) for demand, rows in out.items()}


def _checks(pandera: Any, index: int, rule: Rule, type_: pa.DataType) -> list[Any]:
    found = []
    if rule.nulls == 0:
        found.append(pandera.Check(lambda s: s.notna(), ignore_na=False, error=name_of(index, "nulls")))
    if rule.min is not None:
        found.append(pandera.Check.ge(_bound(rule.min, type_, rule), error=name_of(index, "min")))
    if rule.max is not None:
        found.append(pandera.Check.le(_bound(rule.max, type_, rule), error=name_of(index, "max")))
    if rule.within is not None:
        found.append(pandera.Check.isin(list(rule.within), error=name_of(index, "in")))
    if rule.regex is not None:
        if not pa.types.is_string(type_):
            raise BadSource(f"check: column {rule.column!r} is {type_}: regex belongs to text")
        found.append(pandera.Check.str_matches(rule.regex, error=name_of(index, "regex")))
    return found


def _bound(value: int | float | str, type_: pa.DataType, rule: Rule) -> Any:
    """Return a bound as the column's values are: a time for times, else as it was written."""
    if not pa.types.is_temporal(type_):
        if isinstance(value, str) != pa.types.is_string(type_):
            raise BadSource(f"check: column {rule.column!r} is {type_}: it cannot be compared with {shown(value)}")
        return value
    try:
        at = pd.Timestamp(value)
    except (ValueError, TypeError):
        raise BadSource(f"check: column {rule.column!r} is {type_}: {shown(value)} is no time") from None
    if not pa.types.is_timestamp(type_) or type_.tz is None:
        return at.tz_convert("UTC").tz_localize(None) if at.tzinfo else at
    return at if at.tzinfo else at.tz_localize("UTC")


def _frame(table: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    frame = table.select(list(columns)).to_pandas(timestamp_as_object=False, date_as_object=False)
    return frame.reset_index(drop=True)


def columns_there(table: pa.Table, rules: Sequence[Rule]) -> None:
    for rule in rules:
        for name in (*([rule.column] if rule.column else []), *rule.key):
            if name not in table.column_names:
                have = listed([n for n in table.column_names if not n.startswith("__")], 20)
                raise BadSource(f"check: no column {name!r}: the columns are {have}")


def tally(table: pa.Table, rules: Sequence[Rule], edges: Mapping[str, Any]) -> Tally:
    """Return what a flagged batch adds to the report: failures with examples, and what rules over all rows need."""
    out: Tally = {"rows": table.num_rows, "failed": {}, "nulls": {}, "newest": {}, "shares": {}}
    flags = table[FAILED]
    bad = np.flatnonzero(flags.is_valid().to_numpy())
    for row in bad:
        for demand in flags[int(row)].as_py().split(","):
            entry = out["failed"].setdefault(demand, {"count": 0, "examples": []})
            entry["count"] += 1
            if len(entry["examples"]) < MOST_EXAMPLES:
                entry["examples"].append(_example(table, int(row), rules[int(demand.partition(".")[0])]))
    for index, rule in enumerate(rules):
        if rule.column is None:
            continue
        column = table[rule.column]
        if rule.nulls is not None:
            out["nulls"][str(index)] = int(pc.sum(pc.is_null(column, nan_is_null=_is_float(column))).as_py() or 0)
        if rule.fresh is not None:
            out["newest"][str(index)] = _newest(column, rule)
        if rule.like is not None:
            out["shares"][str(index)] = histogram(column, edges[str(index)])
    return out


def _example(table: pa.Table, row: int, rule: Rule) -> dict[str, str]:
    """Return a few values of a row: those of the rule's columns, and the first others, to find it by."""
    first = [rule.column] if rule.column is not None else list(rule.key)
    others = [n for n in table.column_names if n not in first and not n.startswith("__") and _short(table, n)]
    return {name: shown(str(table[name][row].as_py())) for name in [*first, *others[: 4 - min(len(first), 3)]]}


def _short(table: pa.Table, name: str) -> bool:
    type_ = table.schema.field(name).type
    return not (pa.types.is_nested(type_) or pa.types.is_binary(type_) or isinstance(type_, pa.ExtensionType))


def _newest(column: pa.ChunkedArray, rule: Rule) -> float | None:
    if not pa.types.is_timestamp(column.type):
        raise BadSource(f"check: column {rule.column!r} is {column.type}: fresh belongs to times")
    newest = pc.max(column).as_py()
    return (
        None
        if newest is None
        else float(pd.Timestamp(newest).tz_localize("UTC").timestamp())
        if (column.type.tz is None)
        else float(pd.Timestamp(newest).timestamp())
    )


def edges_of(column: pa.ChunkedArray, n_bins: int = 10) -> dict[str, Any]:
    """Return bins with like many values each, or the categories, and how an earlier version falls into them."""
    if _is_number(column):
        values = column.cast(pa.float64()).drop_null().to_numpy()
        values = values[np.isfinite(values)]
        cuts = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])) if len(values) else np.zeros(0)
        edges: dict[str, Any] = {"cuts": cuts.tolist()}
    else:
        counts = pd.Series(column.to_pylist(), dtype=object).map(str, na_action="ignore").value_counts()
        edges = {"categories": sorted(counts.index[:50].tolist())}
    return {**edges, "expected": histogram(column, edges)}


def histogram(column: pa.ChunkedArray, edges: Mapping[str, Any]) -> list[int]:
    """Return the number of values in each bin; the last is that of gaps, the one before of other categories."""
    n_null = int(pc.sum(pc.is_null(column, nan_is_null=_is_float(column))).as_py() or 0)
    if "cuts" in edges:
        if not _is_number(column):
            raise BadSource(f"check: like: the column holds numbers in the earlier version and is {column.type} here")
        values = column.cast(pa.float64()).drop_null().to_numpy()
        values = values[~np.isnan(values)]
        bins = np.searchsorted(edges["cuts"], values, side="right")
        return [*np.bincount(bins, minlength=len(edges["cuts"]) + 1).tolist(), n_null]
    known = {category: i for i, category in enumerate(edges["categories"])}
    out = [0] * (len(known) + 1)
    for value in column.to_pylist():
        if value is not None:
            out[known.get(str(value), len(known))] += 1
    return [*out, n_null]


def stability(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Return the population stability index, the sum of (p - q) ln(p / q); an empty bin counts as half a row."""
    p = np.maximum(np.asarray(actual, dtype=float), 0.5)
    q = np.maximum(np.asarray(expected, dtype=float), 0.5)
    some = (np.asarray(actual) > 0) | (np.asarray(expected) > 0)
    p, q = p[some] / p[some].sum(), q[some] / q[some].sum()
    return float(((p - q) * np.log(p / q)).sum())


def wrong_type(schema: pa.Schema, rule: Rule) -> str | None:
    """Return what a column is where the rule wants another type."""
    if rule.type is None or rule.column is None or rule.column not in schema.names:
        return None
    actual = schema.field(rule.column).type
    return None if actual == type_of(rule.type) or str(actual) == f"large_{type_of(rule.type)}" else str(actual)


def _is_number(column: pa.ChunkedArray) -> bool:
    return pa.types.is_integer(column.type) or pa.types.is_floating(column.type)


def _is_float(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_floating(column.type))


@cache
def _pandera() -> tuple[Any, Any]:
    os.environ.setdefault("DISABLE_PANDERA_IMPORT_WARNING", "True")
    try:
        import pandera.pandas as pandera
        from pandera import errors
    except ModuleNotFoundError as error:
        raise BadSource(
            f"check needs pandera, which is not on this node ({first_line(error)}): install aios[quality]"
        ) from None
    return pandera, errors
