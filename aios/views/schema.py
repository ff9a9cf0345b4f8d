"""Views as JSON values and back, by their types."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

SCHEMA_VERSION = 1

_T = TypeVar("_T")


def to_json(view: Any) -> Any:
    """Return a view as JSON values."""
    if dataclasses.is_dataclass(view) and not isinstance(view, type):
        return {f.name: to_json(getattr(view, f.name)) for f in dataclasses.fields(view)}
    if isinstance(view, Mapping):
        return {str(key): to_json(value) for key, value in view.items()}
    if isinstance(view, (list, tuple)):
        return [to_json(item) for item in view]
    if isinstance(view, float) and not math.isfinite(view):
        return None
    return view


def from_json(type_: type[_T], data: Any) -> _T:
    """Build a view from JSON values; fields it does not know are left out, so that old clients read new servers."""
    made: _T = _build(type_, data)
    return made


def _build(hint: Any, data: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if data is None:
        return None
    if origin in (types.UnionType, typing.Union):
        return _build(next(arg for arg in args if arg is not type(None)), data)
    if origin is tuple:
        return tuple(_build(args[0], item) for item in data)
    if origin is dict:
        return {key: _build(args[1], value) for key, value in data.items()}
    if dataclasses.is_dataclass(hint):
        hints = _hints(typing.cast(type, hint))
        return typing.cast(Any, hint)(**{key: _build(hints[key], value) for key, value in data.items() if key in hints})
    return data


@cache
def _hints(type_: type) -> dict[str, Any]:
    return typing.get_type_hints(type_)
