"""How a table's schema may change, and rows cast to it.

An append or upsert may leave out columns (nulls) and bring new ones (nulls in the rows before). A value is cast to the
table's type where nothing is lost: a narrower number to a wider one, or numbers that fit. Another type, a renamed or a
dropped column need an overwrite.
"""

from __future__ import annotations

import pyarrow as pa

from pipelines.data.table import TableError


def evolved(table: pa.Schema, rows: pa.Schema) -> pa.Schema:
    """Return the table's schema with the columns that the rows bring; raises TableError where types differ in kind."""
    for field in rows:
        if field.name in table.names and not _may_become(field.type, table.field(field.name).type):
            raise TableError(
                f"column {field.name!r} is {field.type}, and {table.field(field.name).type} in the dataset: "
                "convert it before, or publish with mode: overwrite"
            )
    new = [field.with_nullable(True) for field in rows if field.name not in table.names]
    for field in new:
        if pa.types.is_null(field.type):
            raise TableError(
                f"new column {field.name!r} has no values, so it has no type: leave it out, or give a schema"
            )
    return pa.schema([*table, *new])


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows with exactly the columns of ``schema``; raises TableError that names column and value."""
    extra = [name for name in rows.schema.names if name not in schema.names]
    if extra:
        raise TableError(
            f"the schema changed in the middle: column {extra[0]!r} was not there in the first rows; "
            "read files of one schema, or give the schema"
        )
    columns = [_column(rows, field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(rows: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    index = rows.schema.get_field_index(field.name)
    if index < 0:
        return pa.chunked_array([pa.nulls(rows.num_rows, field.type)])
    column = rows.column(index)
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise TableError(
            f"column {field.name!r} is {column.type} here and {field.type} in the dataset: {error}"
        ) from None


def one_schema(schemas: list[pa.Schema]) -> pa.Schema:
    """Return the schema that all blocks have; raises TableError that names the first column that differs."""
    first = schemas[0]
    for other in schemas[1:]:
        if other.equals(first):
            continue
        for name in dict.fromkeys([*first.names, *other.names]):
            one = first.field(name).type if name in first.names else "missing"
            two = other.field(name).type if name in other.names else "missing"
            if one != two:
                raise TableError(
                    f"the schema changed in the middle: column {name!r} is {one} in some rows and {two} in others; "
                    "give the schema, or read files of one schema"
                )
        raise TableError("the schema changed in the middle: the order of columns differs; give the schema")
    return first


def tidy(rows: pa.Table) -> pa.Table:
    """Return rows as they are stored: text in its common form, without pandas' notes."""
    schema = pa.schema([_tidied(field) for field in rows.schema])
    return rows.cast(schema) if schema != rows.schema else rows.replace_schema_metadata(None)


def tidied(schema: pa.Schema) -> pa.Schema:
    return pa.schema([_tidied(field) for field in schema])


def _tidied(field: pa.Field) -> pa.Field:
    type_ = field.type
    if pa.types.is_large_string(type_) or str(type_) == "string_view":
        type_ = pa.string()
    elif str(type_) == "binary_view":
        type_ = pa.large_binary()
    elif pa.types.is_dictionary(type_) and pa.types.is_string(type_.value_type):
        type_ = pa.string()
    return pa.field(field.name, type_, nullable=True)


def _may_become(type_: pa.DataType, wanted: pa.DataType) -> bool:
    if type_ == wanted or pa.types.is_null(type_):
        return True
    types = pa.types
    if types.is_integer(type_):
        return bool(types.is_integer(wanted) or types.is_floating(wanted))
    if types.is_floating(type_):
        return bool(types.is_floating(wanted))
    if types.is_timestamp(type_) and types.is_timestamp(wanted):
        return bool((type_.tz is None) == (wanted.tz is None))
    text = (types.is_string, types.is_large_string)
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(
        any(check(type_) for check in family) and any(check(wanted) for check in family) for family in (text, binary)
    )
