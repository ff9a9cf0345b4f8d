"""Conditions on rows that every format understands: ``(column, operator, value)``, all of which must hold."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Condition = tuple[str, str, Any]
Where = Sequence[Condition]

OPERATORS = ("=", "!=", "<=", ">=", "<", ">", "in")
WRITTEN = re.compile(r"\s*([^=!<>]+?)\s*(=|!=|<=|>=|<|>)\s*(.*?)\s*")


def parse(text: str, schema: pa.Schema) -> Condition:
    """Return the condition that ``column=value`` writes, the value in the column's type; raises ValueError."""
    match = WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no condition: write COLUMN=VALUE, or with !=, <, <=, >, >=")
    name, operator, value = match.groups()
    if name not in schema.names:
        raise ValueError(f"{text!r}: no column {name!r}: the columns are {', '.join(schema.names)}")
    type_ = schema.field(name).type
    try:
        return name, operator, pa.scalar(value).cast(type_).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ValueError(f"{text!r}: {value!r} is no {type_}, as column {name!r} is") from None


def sql(where: Where) -> str:
    """Return the conditions as the SQL that Lance and Delta read."""
    return " AND ".join(f"{_name(column)} {_operator(operator)} {_literal(value)}" for column, operator, value in where)


def expression(where: Where) -> pc.Expression:
    """Return the conditions as an Arrow expression."""
    out = pc.scalar(True)
    for column, operator, value in where:
        out = out & _compared(pc.field(column), operator, value)
    return out


def matching(table: pa.Table, where: Where) -> pa.Table:
    """Return the rows of a table in memory that match."""
    return table.filter(expression(where)) if where else table


def _compared(field: pc.Expression, operator: str, value: Any) -> pc.Expression:
    match operator:
        case "=":
            return field == value
        case "!=":
            return field != value
        case "<":
            return field < value
        case "<=":
            return field <= value
        case ">":
            return field > value
        case ">=":
            return field >= value
        case "in":
            return field.isin(list(value))
    raise ValueError(f"no operator {operator!r}: use {', '.join(OPERATORS)}")


def _operator(operator: str) -> str:
    if operator not in OPERATORS:
        raise ValueError(f"no operator {operator!r}: use {', '.join(OPERATORS)}")
    return operator.upper()


def _name(column: str) -> str:
    if "`" in column:
        raise ValueError(f"column {column!r}: a name with ` cannot be used in a condition")
    return f"`{column}`"


def _literal(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case dt.datetime():
            return f"timestamp '{value.isoformat(sep=' ')}'"
        case dt.date():
            return f"date '{value.isoformat()}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case bytes():
            return f"X'{value.hex()}'"
        case list() | tuple():
            return f"({', '.join(map(_literal, value))})"
    raise ValueError(f"{value!r} cannot stand in a condition: use a number, text, a date or a time")
