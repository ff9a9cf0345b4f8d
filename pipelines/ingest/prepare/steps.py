"""The steps that need to know nothing of other rows: each a pure function of an Arrow table."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.prepare.expression import parse
from pipelines.ingest.prepare.spec import Picture, TimeZone, Units
from pipelines.ingest.prepare.units import factor
from pipelines.ingest.sources.errors import BadSource, first_line, listed, shown
from pipelines.ingest.sources.files import type_of

TOKEN = r"[\w]+(?:['’][\w]+)?"
SIDE = "__side"
"""The column that says on which side of the split a row falls."""


def columns_there(table: pa.Table, names: Any, step: str) -> None:
    """Raise BadSource where a step names columns that the rows do not have."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        have = listed([name for name in table.column_names if name != SIDE], 20)
        raise BadSource(f"prepare: {step}: no column {missing[0]!r}: the columns are {have}")


def select(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    columns_there(table, names, "select")
    return table.select([*names, *([SIDE] if SIDE in table.column_names and SIDE not in names else [])])


def drop(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    columns_there(table, names, "drop")
    return table.drop_columns(list(names))


def rename(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    columns_there(table, names, "rename")
    new = [names.get(name, name) for name in table.column_names]
    if len(set(new)) < len(new):
        doubled = next(name for i, name in enumerate(new) if name in new[:i])
        raise BadSource(f"prepare: rename: two columns would be called {doubled!r}")
    return table.rename_columns(new)


def cast(table: pa.Table, types: Mapping[str, str]) -> pa.Table:
    columns_there(table, types, "cast")
    for name, wanted in types.items():
        table = put(table, name, _cast(table[name], type_of(wanted), name))
    return table


def _cast(column: pa.ChunkedArray, type_: pa.DataType, name: str) -> pa.ChunkedArray:
    """Cast exactly: what would lose something is an error that names row and value."""
    try:
        return _cast_text(column).cast(type_) if pa.types.is_string(column.type) else column.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        for i, value in enumerate(column):
            try:
                pa.chunked_array([[value.as_py()]], column.type).cast(type_)
            except (pa.ArrowException, ValueError):
                raise BadSource(
                    f"prepare: cast: column {name!r}, row {i + 1} of a block: {shown(value.as_py())} is no {type_}"
                ) from None
        raise BadSource(f"prepare: cast: column {name!r}: {first_line(error)}") from None


def _cast_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text without the blanks around it, empty text as a gap."""
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def timezone(table: pa.Table, step: TimeZone) -> pa.Table:
    columns_there(table, step.columns, "timezone")
    for name in step.columns:
        column = table[name]
        if pa.types.is_string(column.type):
            column = _cast(column, pa.timestamp("us"), name)
        if not pa.types.is_timestamp(column.type):
            raise BadSource(f"prepare: timezone: column {name!r} is {column.type}: cast it to timestamp[us] first")
        if column.type.tz is not None:
            raise BadSource(f"prepare: timezone: column {name!r} has the zone {column.type.tz} already: leave it out")
        try:
            known = pc.assume_timezone(column, step.zone, ambiguous=step.ambiguous, nonexistent=step.nonexistent)
        except pa.ArrowInvalid as error:
            raise BadSource(f"prepare: timezone: column {name!r}: {_of_clocks(error, step)}") from None
        table = put(table, name, known.cast(pa.timestamp("us", "UTC")))
    return table


def _of_clocks(error: Exception, step: TimeZone) -> str:
    text = first_line(error)
    if "doesn't exist" in text:
        return f"{text}: the clocks skip it: write nonexistent: earliest or latest"
    if "ambiguous" in text:
        return f"{text}: the clocks show it twice: write ambiguous: earliest or latest"
    return text


def convert(table: pa.Table, units: Mapping[str, Units]) -> pa.Table:
    columns_there(table, units, "convert")
    for name, unit in units.items():
        a, b = factor(unit.source, unit.to)
        table = put(table, name, pc.add(pc.multiply(_number(table, name, "convert"), a), b))
    return table


def fill(table: pa.Table, values: Mapping[str, Any]) -> pa.Table:
    columns_there(table, values, "fill")
    for name, value in values.items():
        table = put(table, name, filled(table[name], value, name))
    return table


def filled(column: pa.ChunkedArray, value: Any, name: str) -> pa.ChunkedArray:
    """Return a column without gaps; not-a-number is a gap as well."""
    try:
        scalar = pa.scalar(value).cast(column.type) if not pa.types.is_null(column.type) else pa.scalar(value)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise BadSource(f"prepare: fill: column {name!r} is {column.type}: {shown(value)} does not fit") from None
    return pc.if_else(pc.is_null(column, nan_is_null=pa.types.is_floating(column.type)), scalar, column)


def drop_nulls(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    columns_there(table, names, "drop_nulls")
    for name in names:
        table = table.filter(pc.invert(pc.is_null(table[name], nan_is_null=pa.types.is_floating(table[name].type))))
    return table


def keep(table: pa.Table, text: str) -> pa.Table:
    mask = _evaluated(table, text, "filter")
    if not pa.types.is_boolean(mask.type):
        raise BadSource(f"prepare: filter: {text!r} is {mask.type}, not true or false")
    return table.filter(mask)


def derive(table: pa.Table, formulas: Mapping[str, str]) -> pa.Table:
    for name, text in formulas.items():
        value = _evaluated(table, text, "derive")
        table = put(table, name, pa.repeat(value, table.num_rows) if isinstance(value, pa.Scalar) else value)
    return table


def _evaluated(table: pa.Table, text: str, step: str) -> Any:
    try:
        return parse(text)(table)
    except ValueError as error:
        raise BadSource(f"prepare: {step}: {error}") from None


TEXT: Mapping[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    "lower": pc.utf8_lower,
    "upper": pc.utf8_upper,
    "strip": pc.utf8_trim_whitespace,
    "nfc": lambda column: pc.utf8_normalize(column, form="NFC"),
    "nfkc": lambda column: pc.utf8_normalize(column, form="NFKC"),
    "squeeze": lambda column: pc.replace_substring_regex(column, pattern=r"\s+", replacement=" "),
    "length": pc.utf8_length,
    "words": lambda column: pc.count_substring_regex(column, pattern=r"\S+"),
    "tokenise": lambda column: tokens(column),
}


def text(table: pa.Table, operations: Mapping[str, tuple[str, ...]]) -> pa.Table:
    columns_there(table, operations, "text")
    for name, names in operations.items():
        column = table[name]
        for operation in names:
            if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
                raise BadSource(
                    f"prepare: text: column {name!r} is {column.type}, not text: {operation} cannot be done"
                )
            column = TEXT[operation](column)
        table = put(table, name, column)
    return table


def tokens(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the words of each text as a list, in lower case and composed form."""
    import re

    found = [
        None if value is None else re.findall(TOKEN, unicodedata.normalize("NFKC", value).lower())
        for value in column.to_pylist()
    ]
    return pa.chunked_array([pa.array(found, pa.list_(pa.string()))])


def image(table: pa.Table, step: Picture) -> pa.Table:
    columns_there(table, (step.column,), "image")
    pictures = ndarray_of(table[step.column], step.column)
    if step.grey and pictures.ndim == 4:
        pictures = (pictures @ np.array([0.299, 0.587, 0.114])).astype(pictures.dtype)  # ITU-R BT.601
    if step.size is not None:
        pictures = _resized(pictures, step.size)
    if step.scale:
        pictures = pictures.astype("float32") / np.float32(255)
    if not step.flatten:
        return put(table, step.column, tensor(pictures))
    flat = pictures.reshape(len(pictures), -1)
    table = table.drop_columns([step.column])
    for i in range(flat.shape[1]):
        table = table.append_column(f"{step.column}_{i}", pa.array(flat[:, i].astype("float64")))
    return table


def _resized(pictures: np.ndarray[Any, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    from PIL import Image

    out = []
    for one in pictures:
        picture = Image.fromarray(one.astype("uint8"))
        out.append(np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)))
    return np.stack(out) if out else np.zeros((0, *size), "uint8")


def ndarray_of(column: pa.ChunkedArray, name: str) -> np.ndarray[Any, Any]:
    """Return a column of arrays of one shape as one array."""
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    for method in ("to_numpy_ndarray", "to_numpy"):
        if isinstance(whole.type, pa.ExtensionType) and hasattr(whole, method):
            return np.asarray(
                getattr(whole, method)(zero_copy_only=False) if method == "to_numpy" else whole.to_numpy_ndarray()
            )
    try:
        return np.array(whole.to_pylist())
    except ValueError:
        raise BadSource(f"prepare: image: column {name!r}: the pictures are of several sizes") from None


def tensor(values: np.ndarray[Any, Any]) -> pa.Array:
    """Return arrays of one shape as a column in the form that Ray keeps them."""
    from ray.data.extensions import ArrowTensorArray

    return ArrowTensorArray.from_numpy(np.ascontiguousarray(values))


def users(table: pa.Table, call: str, args: Mapping[str, Any], folder: str) -> pa.Table:
    """Apply the user's function to a pandas frame."""
    from pipelines.failure import describe
    from pipelines.ingest.sources.generators import function

    try:
        made = function(call, Path(folder))(table.to_pandas(), **args)
    except BadSource:
        raise
    except Exception as error:
        raise BadSource(f"prepare: python {call}: {describe(error, Path(folder)).message}") from None
    return pa.Table.from_pandas(made, preserve_index=False).replace_schema_metadata()


def put(table: pa.Table, name: str, column: Any) -> pa.Table:
    """Return the table with a column replaced in its place, or added."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _number(table: pa.Table, name: str, step: str) -> pa.ChunkedArray:
    column = table[name]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        raise BadSource(f"prepare: {step}: column {name!r} is {column.type}, not a number: cast it first")
    return column.cast(pa.float64())
