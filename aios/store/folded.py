"""A state as bytes and back, so that a control plane need not fold the whole log when it comes back.

One JSON line for each entry of each table of the state, in gzip; what has its default is left out. The first line
says by which sources the state was folded: a fold that has changed since takes no state of the one before.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from immutables import Map

import aios.kernel
import placement
from aios.kernel.state import State
from aios.store.codec import Coder, coder

FORMAT = 1
LEVEL = 1
_FOLDED_BY = ("model", "shares", "throughput.py")
"""What of ``placement`` the fold asks."""

_Prune = Callable[[Any], Any]


class UnreadableState(Exception):
    """These bytes are no state that this fold has made."""


def dumps(state: State, logged_s: float) -> bytes:
    """Return a state and the latest time of its events as bytes; the same gives the same bytes."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=LEVEL, mtime=0) as file:
        for line in _lines(state, logged_s):
            file.write(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")
    return out.getvalue()


def loads(body: bytes) -> tuple[State, float]:
    """Return the state and the time of such bytes; raises UnreadableState where another fold made them, or none."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            format_, fold, logged_s, n_lines = json.loads(file.readline())
            if (format_, fold) != (FORMAT, fold_digest()):
                raise UnreadableState("another version of AIOS wrote it")
            return _state(file, n_lines), float(logged_s)
    except UnreadableState:
        raise
    except Exception as error:  # whatever is wrong with it, the log is the truth and can be folded
        raise UnreadableState(f"{type(error).__name__}: {error}") from error


@cache
def fold_digest() -> str:
    """Return the hash of the sources that decide what a log folds to."""
    planner = Path(str(placement.__file__)).parent
    files = list(Path(str(aios.kernel.__file__)).parent.rglob("*.py"))
    for name in _FOLDED_BY:
        files += [planner / name] if name.endswith(".py") else list((planner / name).rglob("*.py"))
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _lines(state: State, logged_s: float) -> Iterator[list[Any]]:
    shapes = _shapes()
    tables = [name for name, shape in shapes.items() if shape.table]
    n_lines = len(shapes) - len(tables) + sum(len(getattr(state, name)) for name in tables)
    yield [FORMAT, fold_digest(), logged_s, n_lines]
    for name, shape in shapes.items():
        value = getattr(state, name)
        if not shape.table:
            yield [name, shape.encode(value)]
            continue
        for key in sorted(value):
            yield [name, key, shape.encode(value[key])]


def _state(lines: Iterator[bytes] | gzip.GzipFile, n_lines: int) -> State:
    shapes = _shapes()
    values: dict[str, Any] = {name: {} for name, shape in shapes.items() if shape.table}
    n = 0
    for line in lines:
        n += 1
        name, *at, value = json.loads(line)
        if at:
            values[name][at[0]] = shapes[name].decode(value)
        else:
            values[name] = shapes[name].decode(value)
    if n != n_lines:
        raise UnreadableState(f"it has {n} lines of {n_lines}")
    whole: dict[str, Any] = {name: Map(value) if shapes[name].table else value for name, value in values.items()}
    return State(**whole)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a field of the state is written: whole, or (``table``) entry by entry."""

    table: bool
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


@cache
def _shapes() -> dict[str, _Shape]:
    hints = get_type_hints(State)
    found = {}
    for field in fields(State):
        tp = hints[field.name]
        table = get_origin(tp) is Map
        if table:
            key, tp = get_args(tp)
            if coder(key) is not coder(str):
                raise TypeError(f"State.{field.name}: only texts lead to the entries of a table")
        plain, prune = _coder(tp), _pruner(tp)
        found[field.name] = _Shape(table, _pruned(plain, prune), plain.decode)
    return found


def _pruned(plain: Coder, prune: _Prune | None) -> Callable[[Any], Any]:
    if prune is None:
        return plain.encode
    return lambda value: prune(plain.encode(value))


def _coder(tp: Any) -> Coder:
    """Return the codec's coder of a type, and of a set in order."""
    if get_origin(tp) is not frozenset:
        return coder(tp)
    item = coder(get_args(tp)[0])
    return Coder(
        lambda value: sorted(item.encode(one) for one in value),
        lambda value: frozenset(item.decode(one) for one in value),
    )


@cache
def _pruner(tp: Any) -> _Prune | None:
    """Return what takes the defaults out of a type's encoded values, None where there are none in them."""
    if isinstance(tp, NewType):
        return _pruner(tp.__supertype__)
    origin, args = get_origin(tp), get_args(tp)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        one = _pruner(args[0])
        return None if one is None else lambda values: [one(value) for value in values]
    if origin in (Union, UnionType):
        some = [arg for arg in args if arg is not NoneType]
        only = _pruner(some[0]) if len(some) == 1 else None
        return None if only is None else lambda value: None if value is None else only(value)
    return _fields_pruner(tp) if isinstance(tp, type) and is_dataclass(tp) else None


def _fields_pruner(cls: type) -> _Prune:
    hints = get_type_hints(cls)
    unwritten: dict[str, Any] = {}
    for field in fields(cls):
        if field.default is not MISSING:
            unwritten[field.name] = coder(hints[field.name]).encode(field.default)
    inner = {name: below for name in hints if (below := _pruner(hints[name])) is not None}

    def prune(record: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in record.items() if name not in unwritten or value != unwritten[name]}
        for name, one in inner.items():
            if name in kept:
                kept[name] = one(kept[name])
        return kept

    return prune
