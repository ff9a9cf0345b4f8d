"""Conditions and formulas over columns, in Python's own grammar but for a few safe forms; nothing is ever executed.

``age >= 18 and city in ("Bern", "Basel")``; ``weight_kg / height_m ** 2``; ``matches(name, "^[A-Z]")``.
A column whose name is no identifier is written in backquotes: ```mean radius` > 3``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

QUOTED = re.compile(r"`([^`]+)`")
MOST_CHARS = 2000
BINARY: dict[type, Callable[..., Any]] = {
    ast.Add: pc.add_checked, ast.Sub: pc.subtract_checked, ast.Mult: pc.multiply_checked, ast.Div: pc.divide,
    ast.Pow: pc.power, ast.Mod: lambda a, b: pc.subtract(a, pc.multiply(pc.floor(pc.divide(_float(a), _float(b))), b)),
}  # fmt: skip
COMPARED: dict[type, Callable[..., Any]] = {
    ast.Eq: pc.equal, ast.NotEq: pc.not_equal, ast.Lt: pc.less, ast.LtE: pc.less_equal, ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}  # fmt: skip
FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "is_null": (1, lambda x: pc.is_null(x, nan_is_null=True)), "abs": (1, pc.abs),
    "sqrt": (1, lambda x: pc.sqrt(_float(x))),
    "log": (1, lambda x: pc.ln(_float(x))), "exp": (1, lambda x: pc.exp(_float(x))), "round": (1, pc.round),
    "floor": (1, pc.floor), "ceil": (1, pc.ceil), "lower": (1, pc.utf8_lower), "upper": (1, pc.utf8_upper),
    "strip": (1, pc.utf8_trim_whitespace), "length": (1, pc.utf8_length), "year": (1, pc.year), "month": (1, pc.month),
    "day": (1, pc.day), "hour": (1, pc.hour), "weekday": (1, pc.day_of_week),
    "contains": (2, lambda x, text: pc.match_substring(x, _text(text))),
    "matches": (2, lambda x, text: pc.match_substring_regex(x, _text(text))),
    "coalesce": (2, pc.coalesce), "least": (2, pc.min_element_wise), "greatest": (2, pc.max_element_wise),
}  # fmt: skip
"""Name: number of arguments and what it does."""


class Expression:
    """A formula that was checked; ``columns`` are those that it reads."""

    def __init__(self, text: str, tree: ast.expr, names: dict[str, str]) -> None:
        self.text, self._tree, self._names = text, tree, names
        found = [names.get(node.id, node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)]
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        self.columns = tuple(dict.fromkeys(name for name in found if name not in called))

    def __call__(self, table: pa.Table) -> Any:
        """Return the values for each row; raises ValueError in the user's words."""
        missing = [name for name in self.columns if name not in table.column_names]
        if missing:
            have = ", ".join(table.column_names[:20])
            raise ValueError(f"{self.text!r}: no column {missing[0]!r}: the columns are {have}")
        try:
            return self._value(self._tree, table)
        except (pa.ArrowException, TypeError) as error:
            raise ValueError(f"{self.text!r}: {str(error).splitlines()[0]}") from None

    def _value(self, node: ast.expr, table: pa.Table) -> Any:
        match node:
            case ast.Constant(value=value):
                return pa.scalar(value)
            case ast.Name(id=name):
                return table[self._names.get(name, name)]
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return pc.invert(self._value(operand, table))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return pc.negate(self._value(operand, table))
            case ast.BoolOp(op=op, values=values):
                combine = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                out = self._value(values[0], table)
                for value in values[1:]:
                    out = combine(out, self._value(value, table))
                return out
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self._value(left, table), self._value(right, table)
                if isinstance(op, (ast.Div, ast.Pow)):
                    a, b = _float(a), _float(b)
                return BINARY[type(op)](a, b)
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compared(left, ops, others, table)
            case ast.Call(func=ast.Name(id=name), args=args):
                return FUNCTIONS[name][1](*(self._value(arg, table) for arg in args))
        raise AssertionError(f"{ast.dump(node)} passed the check")

    def _compared(self, left: ast.expr, ops: list[ast.cmpop], others: list[ast.expr], table: pa.Table) -> Any:
        out = None
        for op, right in zip(ops, others, strict=True):
            a = self._value(left, table)
            if isinstance(op, (ast.In, ast.NotIn)):
                assert isinstance(right, (ast.Tuple, ast.List)), "checked"
                found = pc.is_in(a, pa.array([ast.literal_eval(element) for element in right.elts]))
                one = pc.invert(found) if isinstance(op, ast.NotIn) else found
            else:
                one = COMPARED[type(op)](*_alike(a, self._value(right, table)))
            out = one if out is None else pc.and_kleene(out, one)
            left = right
        return out


def parse(text: str) -> Expression:
    """Return the expression in a text; raises ValueError that says what is not understood."""
    if len(text) > MOST_CHARS:
        raise ValueError(f"an expression of {len(text)} characters: write at most {MOST_CHARS}")
    names: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        names[name := f"_quoted_{len(names)}"] = match[1]
        return name

    try:
        tree = ast.parse(QUOTED.sub(stand_in, text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no expression: {getattr(error, 'msg', None) or 'too deep'}") from None
    _check(tree, text)
    return Expression(text, tree, names)


def _check(node: ast.expr, text: str) -> None:
    match node:
        case ast.Constant(value=bool() | int() | float() | str()) | ast.Name():
            return
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            return _check(operand, text)
        case ast.BoolOp(values=values):
            for value in values:
                _check(value, text)
            return
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            _check(left, text)
            return _check(right, text)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in COMPARED or isinstance(op, (ast.In, ast.NotIn)) for op in ops
        ):
            _check(left, text)
            for op, other in zip(ops, others, strict=True):
                if not isinstance(op, (ast.In, ast.NotIn)):
                    _check(other, text)
                elif not isinstance(other, (ast.Tuple, ast.List)) or not all(
                    isinstance(e, ast.Constant) for e in other.elts
                ):
                    raise ValueError(f'{text!r}: after in comes a list of values, such as ("a", "b")')
            return
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            if len(args) != FUNCTIONS[name][0]:
                raise ValueError(f"{text!r}: {name} takes {FUNCTIONS[name][0]} values, not {len(args)}")
            for arg in args:
                _check(arg, text)
            return
        case ast.Call(func=ast.Name(id=name)):
            raise ValueError(f"{text!r}: no function {name!r}: use one of {', '.join(FUNCTIONS)}")
    raise ValueError(
        f"{text!r}: {ast.unparse(node)!r} is not understood: use columns, values, comparisons and arithmetic"
    )


def _float(value: Any) -> Any:
    return pc.cast(value, pa.float64()) if not pa.types.is_floating(value.type) else value


def _text(value: Any) -> str:
    return str(value.as_py())


def _alike(a: Any, b: Any) -> tuple[Any, Any]:
    """Let text stand for a time beside a column of times."""
    for one, other in ((a, b), (b, a)):
        if pa.types.is_temporal(one.type) and pa.types.is_string(other.type) and isinstance(other, pa.Scalar):
            cast = (
                other.cast(pa.timestamp("us")).cast(one.type)
                if pa.types.is_timestamp(one.type)
                else other.cast(one.type)
            )
            return (one, cast) if one is a else (cast, one)
    return a, b
