"""A page about a dataset before it is used: distributions, missing values, correlations, examples; one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aios.engines import WorkloadFailed

SAMPLE = 100_000
"""Rows that plots, correlations and frequencies look at; counts of rows and gaps are of all."""
MOST_PLOTS = 60
MOST_CORRELATED = 30
N_EXAMPLES = 8
N_BINS = 30
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24; }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #eaeef2; white-space: nowrap }
td.n { text-align: right; font-variant-numeric: tabular-nums } .bad { color: #b42318; font-weight: 600 }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem }
.plots figure { margin: 0; border: 1px solid #eaeef2; border-radius: .5rem; padding: .5rem } img { max-width: 100% }
figcaption { font-weight: 600; overflow-wrap: anywhere } .note { color: #57606a }
"""


def write_profile(rows: Any, path: Path, name: str = "") -> None:
    """Write the page of a Ray Dataset, an Arrow table or an iterable of record batches.

    Rows stream through; at most ``SAMPLE`` of them are kept, evenly over all that came.
    """
    sample, n_rows, n_null = sampled(batches_of(rows))
    path.write_text(page(sample, n_rows, n_null, name), encoding="utf-8")


def batches_of(rows: Any) -> Iterator[pa.Table]:
    if isinstance(rows, pa.Table):
        yield rows
    elif hasattr(rows, "iter_batches"):
        yield from rows.iter_batches(batch_format="pyarrow", batch_size=16_384)
    else:
        for batch in rows:
            yield pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch


def sampled(batches: Iterator[pa.Table]) -> tuple[pa.Table, int, dict[str, int]]:
    """Return every k-th row (k doubles as rows come), the number of all rows, and the gaps by column."""
    kept: list[pa.Table] = []
    n_rows, step = 0, 1
    n_null: dict[str, int] = {}
    for batch in batches:
        for column in batch.column_names:
            is_float = pa.types.is_floating(batch[column].type)
            gaps = pc.sum(pc.is_null(batch[column], nan_is_null=is_float)).as_py() or 0
            n_null[column] = n_null.get(column, 0) + int(gaps)
        first = -n_rows % step
        kept.append(batch.take(pa.array(np.arange(first, batch.num_rows, step))))
        n_rows += batch.num_rows
        while sum(part.num_rows for part in kept) > SAMPLE:
            whole = pa.concat_tables(kept, promote_options="permissive")
            kept, step = [whole.take(pa.array(np.arange(0, whole.num_rows, 2)))], step * 2
    whole = pa.concat_tables(kept, promote_options="permissive") if kept else pa.table({})
    return whole, n_rows, n_null


def page(sample: pa.Table, n_rows: int, n_null: Mapping[str, int], name: str = "") -> str:
    """Return the page as HTML that needs nothing else."""
    columns = [column for column in sample.column_names if not column.startswith("__")]
    numbers = [c for c in columns if _is_number(sample.schema.field(c).type)]
    title = escape(name or "dataset")
    of = f"plots show {sample.num_rows:,} of them" if sample.num_rows < n_rows else "all are shown"
    parts = [
        f"<h1>{title}</h1><p class=note>{n_rows:,} rows, {len(columns)} columns; {of}. "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</p>",
        "<h2>Columns</h2>",
        _table(["column", "type", "missing", "distinct", "least", "middle", "most", "often"],
               [_summary(sample[c], c, n_rows, n_null.get(c, 0)) for c in columns]),
        "<h2>Distributions</h2>",
        f"<div class=plots>{''.join(_figure(sample[c], c) for c in columns[:MOST_PLOTS])}</div>",
        _more(len(columns), MOST_PLOTS),
        "<h2>Missing values</h2>", _missing(columns, n_null, n_rows),
        "<h2>Correlations</h2>", _correlations(sample, numbers[:MOST_CORRELATED]),
        _more(len(numbers), MOST_CORRELATED),
        "<h2>Examples</h2>", _examples(sample, columns),
    ]  # fmt: skip
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title>"
    return f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>"


def _summary(column: pa.ChunkedArray, name: str, n_rows: int, n_null: int) -> list[str]:
    share = n_null / max(1, n_rows)
    missing = f"<span class={'bad' if share > 0.05 else 'ok'}>{n_null:,} ({share:.1%})</span>"
    row = [escape(name), escape(str(column.type)[:40]), missing]
    if _is_number(column.type) and column.null_count < len(column):
        values = column.cast(pa.float64()).drop_null().to_numpy()
        values = values[np.isfinite(values)]
        middle = [f"{v:.6g}" for v in (values.min(), np.median(values), values.max())] if len(values) else ["", "", ""]
        return [*row, f"{len(np.unique(values)):,}", *middle, ""]
    counts = _counts(column)
    if counts is None:
        return [*row, "", "", "", "", ""]
    times = pa.types.is_temporal(column.type) and len(counts)
    ends = [str(pc.min(column).as_py()), "", str(pc.max(column).as_py())] if times else ["", "", ""]
    often = f"{_short(counts.index[0])} ({counts.iloc[0] / counts.sum():.0%})" if len(counts) else ""
    return [*row, f"{len(counts):,}", *map(escape, ends), escape(often)]


def _counts(column: pa.ChunkedArray) -> pd.Series | None:
    """Return values by how often they come, None where values cannot be compared."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or isinstance(column.type, pa.ExtensionType):
        return None
    return pd.Series(column.drop_null().to_pylist(), dtype=object).value_counts()


def _figure(column: pa.ChunkedArray, name: str) -> str:
    counts = None if _is_number(column.type) else _counts(column)
    values = np.zeros(0)
    if _is_number(column.type):
        values = column.cast(pa.float64()).drop_null().to_numpy()
        values = values[np.isfinite(values)]
    if (counts is None and not len(values)) or (counts is not None and not len(counts)):
        return f"<figure><figcaption>{escape(name)}</figcaption><p class=note>nothing to plot</p></figure>"
    figure, axes = _canvas(3.4, 2.2)
    if counts is None:
        axes.hist(values, bins=min(N_BINS, max(1, len(np.unique(values)))), color="#2f6f9f")
    elif pa.types.is_temporal(column.type) and not pa.types.is_duration(column.type):
        axes.hist(pd.to_datetime(pd.Series(counts.index.astype(str)), utc=True), bins=N_BINS, color="#5b8c5a")
        axes.tick_params(axis="x", labelrotation=30)
    else:
        top = counts.iloc[:10][::-1]
        axes.barh([_short(v, 18) for v in top.index], top.to_numpy(), color="#b07d3c")
    return f"<figure><figcaption>{escape(name)}</figcaption>{_image(figure, f'distribution of {name}')}</figure>"


def _missing(columns: Sequence[str], n_null: Mapping[str, int], n_rows: int) -> str:
    some = sorted(((n_null.get(c, 0), c) for c in columns if n_null.get(c, 0)), reverse=True)[:MOST_PLOTS]
    if not some:
        return "<p>No value is missing.</p>"
    figure, axes = _canvas(8, 0.6 + 0.28 * len(some))
    axes.barh([_short(c, 30) for _, c in some][::-1], [100 * n / n_rows for n, _ in some][::-1], color="#b42318")
    axes.set_xlabel("missing, %")
    axes.set_xlim(0, 100)
    return _image(figure, "share of missing values by column")


def _correlations(sample: pa.Table, numbers: Sequence[str]) -> str:
    if len(numbers) < 2:
        return "<p>Fewer than two columns of numbers.</p>"
    frame = pd.DataFrame({c: sample[c].cast(pa.float64()).to_numpy() for c in numbers})
    matrix = frame.corr(method="spearman").to_numpy()
    size = 2.5 + 0.3 * len(numbers)
    figure, axes = _canvas(size + 1, size)
    shown = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_xticks(range(len(numbers)), [_short(c, 20) for c in numbers], rotation=90)
    axes.set_yticks(range(len(numbers)), [_short(c, 20) for c in numbers])
    figure.colorbar(shown, ax=axes, shrink=0.8)
    pairs = [(abs(matrix[i, j]), i, j) for i in range(len(numbers)) for j in range(i) if np.isfinite(matrix[i, j])]
    strongest = sorted(pairs, reverse=True)[:5]
    said = "; ".join(f"{escape(numbers[j])} and {escape(numbers[i])}: {matrix[i, j]:+.2f}" for _, i, j in strongest)
    return f"<p>Spearman's rank correlation. Strongest: {said}.</p>{_image(figure, 'correlations')}"


def _examples(sample: pa.Table, columns: Sequence[str]) -> str:
    step = max(1, sample.num_rows // N_EXAMPLES)
    rows = sample.take(pa.array(np.arange(0, sample.num_rows, step)[:N_EXAMPLES]))
    cells = [[_cell(rows[c], i) for c in columns] for i in range(rows.num_rows)]
    return _table([escape(c) for c in columns], cells)


def _cell(column: pa.ChunkedArray, i: int) -> str:
    value = column[i].as_py()
    if isinstance(value, np.ndarray) and value.ndim in (2, 3) and value.dtype == np.uint8:
        figure, axes = _canvas(1, 1)
        axes.imshow(value, cmap="gray" if value.ndim == 2 else None)
        axes.axis("off")
        return _image(figure, "picture")
    if isinstance(value, float):
        return f"{value:.6g}"
    return escape(_short("" if value is None else value, 60))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _more(n: int, most: int) -> str:
    return f"<p class=note>The first {most} of {n} columns.</p>" if n > most else ""


def _short(value: Any, most: int = 24) -> str:
    text = " ".join(str(value).split())
    return f"{text[: most - 1]}…" if len(text) > most else text


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise WorkloadFailed("a profile needs matplotlib: install aios[plots]") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _image(figure: Any, said: str) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return f"<img alt='{escape(said)}' src='data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}'>"
