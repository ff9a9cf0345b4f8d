"""Any event as JSON and back, directed by the types of its fields.

The coder of a type is made once from its annotations. Nothing is guessed: what does not fit its type is refused, when
written (so that the log never holds what cannot be read) and when read. Fields that are missing take their defaults,
which is how old logs still fold; a field or event that is not known here was written by a newer version.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, NewType, NoReturn, Union, cast, get_args, get_origin, get_type_hints

from aios.errors import UnreadableEvent
from aios.kernel.events import EVENTS, Event
from placement.model import Demand

TYPE_KEY = "type"
"""Where an event, and a member of a union of dataclasses, carries its class's name."""

NEWER = "it was written by a newer version of AIOS; start that version, or restore a log that this one wrote"

_Convert = Callable[[Any], Any]
_Sequence = type[tuple[Any, ...]] | type[list[Any]]
_EVENTS: Mapping[str, type] = {event.__name__: event for event in EVENTS}


def dumps(event: Event) -> str:
    """Return an event as one line of ASCII JSON; raises TypeError where a value does not fit its field."""
    return _JSON.encode(encode(event))


def loads(text: str) -> Event:
    """Return the event of such a line; raises UnreadableEvent."""
    try:
        record = _PARSE.decode(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableEvent(f"an event is not JSON: {error}", hint="restore the log from a backup") from error
    return decode(record)


def encode(event: Event) -> dict[str, object]:
    """Return an event as plain JSON values, with its class's name under ``type``."""
    cls: type = type(event)
    if _EVENTS.get(cls.__name__) is not cls:
        raise TypeError(f"{cls.__qualname__} is not in EVENTS: add it there before it is recorded")
    try:
        return {TYPE_KEY: cls.__name__, **coder(cls).encode(event)}
    except _Mismatch as error:
        raise TypeError(f"{cls.__name__}{error}") from None


def decode(record: object) -> Event:
    """Return the event of plain JSON values; raises UnreadableEvent."""
    if not isinstance(record, dict) or not isinstance(record.get(TYPE_KEY), str):
        raise UnreadableEvent(f"an event is an object with {TYPE_KEY!r}, not {_short(record)}")
    name = record[TYPE_KEY]
    cls = _EVENTS.get(name)
    if cls is None:
        raise UnreadableEvent(f"event type {name!r} is not known here", hint=NEWER)
    body = {key: value for key, value in record.items() if key != TYPE_KEY}
    try:
        return cast(Event, coder(cls).decode(body))  # the coder of a class in EVENTS makes an Event
    except _Mismatch as error:
        raise UnreadableEvent(f"{name}{error}", hint=error.hint) from None


@dataclass(frozen=True, slots=True)
class Coder:
    """The two directions for one type. Values are of any type until they have been checked."""

    encode: _Convert
    decode: _Convert


@cache
def coder(tp: Any) -> Coder:
    """Return the coder of a type; raises TypeError for types that a log must not hold."""
    if isinstance(tp, NewType):
        return coder(tp.__supertype__)
    if tp in _LEAVES:
        return _LEAVES[tp]
    origin, args = get_origin(tp), get_args(tp)
    if origin is tuple:
        return _tuple(args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*args)
    if origin in (Union, UnionType):
        return _union(args)
    if isinstance(tp, type) and issubclass(tp, Enum):
        return _enum(tp)
    if isinstance(tp, type) and is_dataclass(tp):
        return _dataclass(tp)
    raise TypeError(f"{tp!r} cannot be written to the log: use plain values, enums, tuples and frozen dataclasses")


class _Mismatch(Exception):
    """A value does not fit; ``path`` grows on the way out."""

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        self.path = ""

    def below(self, step: str) -> _Mismatch:
        self.path = step + self.path
        return self

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fail(value: object, wanted: str) -> NoReturn:
    raise _Mismatch(f"{_short(value)} ({type(value).__name__}) is not {wanted}")


def _text(value: object) -> str:
    return value if isinstance(value, str) else _fail(value, "text")


def _flag(value: object) -> bool:
    return value if isinstance(value, bool) else _fail(value, "true or false")


def _integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else _fail(value, "an integer")


def _nothing(value: object) -> None:
    return None if value is None else _fail(value, "null")


_NOT_FINITE = ("nan", "inf", "-inf")
"""JSON has no such numbers; they are written as these words."""


def _encode_float(value: object) -> float | str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _fail(value, "a number")
    number = float(value)
    return number if math.isfinite(number) else repr(number)


def _decode_float(value: object) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and abs(value) <= 2**1023:
        return float(value)
    if isinstance(value, str) and value in _NOT_FINITE:
        return float(value)
    return _fail(value, "a finite number")


_FORMERLY: Mapping[type, Mapping[str, tuple[str, _Convert]]] = {
    Demand: {"topology": ("topologies", lambda value: [] if value is None else [value])},
}
"""Fields by the names that older logs have: today's name, and today's form of the value."""

_LEAVES: Mapping[Any, Coder] = {
    str: Coder(_text, _text),
    bool: Coder(_flag, _flag),
    int: Coder(_integer, _integer),
    float: Coder(_encode_float, _decode_float),
    NoneType: Coder(_nothing, _nothing),
}


def _tuple(args: tuple[Any, ...]) -> Coder:
    if len(args) == 2 and args[1] is Ellipsis:
        item = coder(args[0])
        return Coder(lambda v: _each(item.encode, v, tuple), lambda v: tuple(_each(item.decode, v, list)))
    items = [coder(arg) for arg in args]
    encoders, decoders = [item.encode for item in items], [item.decode for item in items]
    return Coder(lambda v: _fixed(encoders, v, tuple), lambda v: tuple(_fixed(decoders, v, list)))


def _each(convert: _Convert, values: Any, wanted: _Sequence) -> list[Any]:
    if not isinstance(values, wanted):
        _fail(values, f"a {wanted.__name__}")
    done: list[Any] = []
    try:
        done.extend(map(convert, values))
    except _Mismatch as error:
        raise error.below(f"[{len(done)}]") from None
    return done


def _fixed(converts: list[_Convert], values: Any, wanted: _Sequence) -> list[Any]:
    if not isinstance(values, wanted) or len(values) != len(converts):
        _fail(values, f"a {wanted.__name__} of {len(converts)}")
    done: list[Any] = []
    try:
        done.extend(convert(value) for convert, value in zip(converts, values, strict=True))
    except _Mismatch as error:
        raise error.below(f"[{len(done)}]") from None
    return done


def _mapping(key_type: Any, value_type: Any) -> Coder:
    """A list of pairs, which takes any type of key and keeps the order; read back as a dict."""
    key, item = coder(key_type), coder(value_type)
    encoders, decoders = [key.encode, item.encode], [key.decode, item.decode]

    def encode(value: Any) -> list[Any]:
        if not isinstance(value, Mapping):
            _fail(value, "a mapping")
        return _each(lambda pair: _fixed(encoders, pair, tuple), tuple(value.items()), tuple)

    def decode(value: Any) -> dict[Any, Any]:
        return dict(_each(lambda pair: _fixed(decoders, pair, list), value, list))

    return Coder(encode, decode)


def _enum(cls: type[Enum]) -> Coder:
    members = {member.value: member for member in cls}

    def encode(value: Any) -> Any:
        return value.value if isinstance(value, cls) else _fail(value, f"a {cls.__name__}")

    def decode(value: Any) -> Any:
        try:
            return members[value]
        except (KeyError, TypeError):
            names = ", ".join(map(str, members))
            raise _Mismatch(f"{_short(value)} is not one of {names}", hint=NEWER) from None

    return Coder(encode, decode)


def _dataclass(cls: type) -> Coder:
    hints = get_type_hints(cls)
    names = tuple(field.name for field in fields(cls))
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    coders = {name: coder(hints[name]) for name in names}
    encoders = tuple((name, coders[name].encode) for name in names)
    decoders = {name: coders[name].decode for name in names}
    formerly = _FORMERLY.get(cls, {})

    def encode(value: Any) -> dict[str, Any]:
        if type(value) is not cls:
            _fail(value, f"a {cls.__name__}")
        record: dict[str, Any] = {}
        name = ""
        try:
            for name, convert in encoders:
                record[name] = convert(getattr(value, name))
        except _Mismatch as error:
            raise error.below(f".{name}") from None
        return record

    def decode(record: Any) -> Any:
        if type(record) is not dict:
            _fail(record, f"an object with the fields of {cls.__name__}")
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, value in record.items():
                if name in formerly:
                    name, older = formerly[name]
                    value = older(value)
                convert = decoders.get(name)
                if convert is None:
                    raise _Mismatch(f"{cls.__name__} has no such field here", hint=NEWER)
                values[name] = convert(value)
        except _Mismatch as error:
            raise error.below(f".{name}") from None
        if not required <= values.keys():
            missing = ", ".join(sorted(required - values.keys()))
            raise _Mismatch(f"{cls.__name__} lacks {missing}", hint="restore the log from a backup")
        try:
            return cls(**values)
        except ValueError as error:
            raise _Mismatch(str(error)) from error

    return Coder(encode, decode)


def _union(args: tuple[Any, ...]) -> Coder:
    """``None`` and plain types are told apart by value, dataclasses (where there are several) by name."""
    classes = [arg for arg in args if isinstance(arg, type) and is_dataclass(arg)]
    plain = [coder(arg) for arg in args if arg not in classes]
    if len(classes) > 1:
        plain.append(_tagged(classes))
    else:
        plain.extend(map(coder, classes))
    if len(plain) == 2 and NoneType in args:
        (some,) = [arm for arm in plain if arm is not _LEAVES[NoneType]]
        return Coder(
            lambda value: None if value is None else some.encode(value),
            lambda value: None if value is None else some.decode(value),
        )
    encoders, decoders = [arm.encode for arm in plain], [arm.decode for arm in plain]
    return Coder(lambda value: _first(encoders, value), lambda value: _first(decoders, value))


def _first(converts: list[_Convert], value: Any) -> Any:
    reasons = []
    for convert in converts:
        try:
            return convert(value)
        except _Mismatch as error:
            reasons.append(error)
    raise reasons[-1]


def _tagged(classes: list[type]) -> Coder:
    by_name = {cls.__name__: (cls, coder(cls)) for cls in classes}
    for cls in classes:
        if TYPE_KEY in (field.name for field in fields(cls)):
            raise TypeError(f"{cls.__name__} has a field {TYPE_KEY!r} and cannot be in a union: rename the field")

    def encode(value: Any) -> Any:
        name = type(value).__name__
        if name not in by_name or by_name[name][0] is not type(value):
            _fail(value, f"one of {', '.join(by_name)}")
        return {TYPE_KEY: name, **by_name[name][1].encode(value)}

    def decode(record: Any) -> Any:
        if type(record) is not dict or record.get(TYPE_KEY) not in by_name:
            raise _Mismatch(f"{_short(record)} is not one of {', '.join(by_name)}", hint=NEWER)
        body = {key: value for key, value in record.items() if key != TYPE_KEY}
        return by_name[record[TYPE_KEY]][1].decode(body)

    return Coder(encode, decode)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), check_circular=False)
_PARSE = json.JSONDecoder(parse_constant=_no_constant)
