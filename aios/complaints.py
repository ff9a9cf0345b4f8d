"""What pydantic finds wrong, in the words in which people mend it: unknown keys come with the nearest known one."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from aios.errors import Problem

Loc = tuple[str | int, ...]
_LONGEST = 400
_PLAIN = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "too_short": "must not be empty",
}
_HINTS = {
    "float_parsing": "write a plain number such as 2 or 0.5",
    "float_type": "write a plain number such as 2 or 0.5",
    "int_parsing": "write a whole number such as 2",
    "int_type": "write a whole number such as 2",
    "dict_type": "write {key: value}, or key: value lines below it",
    "model_type": "write {key: value}, or key: value lines below it",
    "tuple_type": "write [a, b]",
    "list_type": "write [a, b]",
}


def problems_of(error: ValidationError, model: type[BaseModel], at: Loc = ()) -> list[Problem]:
    """Return the problems of a validation error, their paths beginning with ``at``."""
    found: dict[Loc, Problem] = {}
    for one in error.errors(include_url=False, include_context=True, include_input=False):
        loc = tuple(one["loc"])
        where = (*at, *loc)
        if where not in found:
            found[where] = _problem(one, loc, where, model)
    return list(found.values())


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a question with the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def unknown_key(where: Loc, key: str, known: Collection[str]) -> Problem:
    hint = " ".join(filter(None, (did_you_mean(key, known), f"valid keys: {', '.join(sorted(known))}")))
    return Problem(where, "unknown key", hint)


def _problem(one: Mapping[str, Any], loc: Loc, where: Loc, model: type[BaseModel]) -> Problem:
    kind = one["type"]
    if kind == "extra_forbidden":
        return unknown_key(where, str(loc[-1]), _keys_at(model, loc[:-1]))
    if kind == "value_error":
        message, _, hint = _short(str(one["ctx"]["error"])).partition("; ")
        return Problem(where, message, hint)
    if kind in _PLAIN:
        return Problem(where, _PLAIN[kind], _HINTS.get(kind, ""))
    return Problem(where, _short(str(one["msg"]).replace("Input should be", "must be")))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"


def _keys_at(model: type[BaseModel], loc: Sequence[str | int]) -> set[str]:
    """Return the keys that are valid at a path of a model."""
    hints: list[Any] = [model]
    for part in loc:
        step: list[Any] = []
        for hint in hints:
            step.extend(_inside(hint, part))
        hints = step or hints  # a union's tag is no step
    keys: set[str] = set()
    for hint in hints:
        for candidate in _models(hint):
            keys.update(field.alias or name for name, field in candidate.model_fields.items())
    return keys


def _inside(hint: Any, part: str | int) -> list[Any]:
    models = _models(hint)
    found = [m.model_fields[part].annotation for m in models if isinstance(part, str) and part in m.model_fields]
    for container in _flat(hint):
        args = typing.get_args(container)
        if typing.get_origin(container) in (list, tuple) and isinstance(part, int) and args:
            found.append(args[0])
        elif typing.get_origin(container) is dict and len(args) == 2 and isinstance(part, str):
            found.append(args[1])
    return found


def _models(hint: Any) -> list[type[BaseModel]]:
    return [one for one in _flat(hint) if isinstance(one, type) and issubclass(one, BaseModel)]


def _flat(hint: Any) -> list[Any]:
    """Return the alternatives of a union, without their annotations."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _flat(args[0])
    if origin in (typing.Union, types.UnionType):
        return [inner for arg in args for inner in _flat(arg)]
    return [hint]
