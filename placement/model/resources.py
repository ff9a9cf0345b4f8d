"""Amounts of Ray resources as exact integers: bytes of memory, thousandths of everything else."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

BYTE_RESOURCES = frozenset({"memory", "object_store_memory"})
"""Resources that Ray counts in bytes; all others are counted in thousandths."""

UNIT_RESOURCES = frozenset({"GPU"})
"""Resources that come as devices: a fraction of one must fit a single device."""

MILLI = 1000
MOST_DEVICES = 100_000
"""Most GPUs of one node: each is looked at singly."""

LARGEST = 2**66
"""No amount may be larger. The solver counts in coarser units, so that its sums stay far from 64-bit overflow."""

_BYTES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_AMOUNT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,3})?)\s*(B|KiB|MiB|GiB|TiB)?\s*")


def parse_amount(name: str, value: object) -> int:
    """Return the integer amount of resource ``name`` that a user wrote as ``value``.

    Parameters
    ----------
    name : str
        A Ray resource name. ``memory`` and ``object_store_memory`` take a unit (B, KiB, MiB, GiB, TiB).
    value : int, float or str
        The amount in Ray's units (CPUs, GPUs, bytes, ...).

    Returns
    -------
    int
        Bytes for memory, thousandths for all else.

    Raises
    ------
    ValueError
        Not a number, not finite, negative, finer than a thousandth, too large, or a unit where none belongs.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{name}: {value!r} is not an amount; write a number such as 2 or 0.5")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: {value!r} is not a finite amount")
    match = _AMOUNT.fullmatch(str(value))
    if match is None:
        hint = "a number with B, KiB, MiB, GiB or TiB" if name in BYTE_RESOURCES else "a number such as 2 or 0.5"
        raise ValueError(f"{name}: {value!r} is not an amount; write {hint}, not negative")
    number, unit = Fraction(match[1]), match[2] or ""
    if name in BYTE_RESOURCES:
        scaled = number * _BYTES[unit]
        amount = math.ceil(scaled)
    else:
        if unit:
            raise ValueError(f"{name}: {value!r} has a unit of memory; write a plain number")
        scaled = number * MILLI
        if scaled.denominator != 1:
            raise ValueError(f"{name}: {value!r} is finer than 0.001")
        amount = int(scaled)
    if amount > LARGEST:
        raise ValueError(f"{name}: {value!r} is too large")
    return amount


def refuse_amounts(whose: str, amounts: Iterable[tuple[str, int]]) -> None:
    """Raise ValueError where an amount is negative, no number or beyond ``LARGEST``."""
    for name, amount in amounts:
        if not 0 <= amount <= LARGEST:
            raise ValueError(f"{whose}: {amount} of {name}, must be 0 to {LARGEST}")


@dataclass(frozen=True, slots=True)
class Resources:
    """An immutable vector of amounts by resource name; what is not named is zero."""

    entries: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        names = [name for name, _ in self.entries]
        if names != sorted(set(names)):
            raise ValueError("resource names must be sorted and unique: build with Resources.of()")
        if any(amount == 0 for _, amount in self.entries):
            raise ValueError("zero amounts are left out: build with Resources.of()")

    @classmethod
    def of(cls, amounts: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> Resources:
        """Build from integer amounts (bytes, thousandths); zeros are dropped."""
        if type(amounts) is dict:  # sorted and unique by itself: not looked at again, for this is called all the time
            made = object.__new__(cls)
            object.__setattr__(made, "entries", tuple(sorted([pair for pair in amounts.items() if pair[1]])))
            return made
        pairs = amounts.items() if isinstance(amounts, Mapping) else amounts
        return cls(tuple(sorted((name, amount) for name, amount in pairs if amount)))

    @classmethod
    def parse(cls, amounts: Mapping[str, object]) -> Resources:
        """Build from what a user wrote (``{"CPU": 2, "memory": "1GiB"}``); raises ValueError."""
        return cls.of({name: parse_amount(name, value) for name, value in amounts.items()})

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.entries)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def items(self) -> tuple[tuple[str, int], ...]:
        return self.entries

    def get(self, name: str) -> int:
        """Return the amount of ``name``, 0 where it is not named."""
        for key, amount in self.entries:
            if key == name:
                return amount
        return 0

    def __add__(self, other: Resources) -> Resources:
        total = dict(self.entries)
        for name, amount in other.entries:
            total[name] = total.get(name, 0) + amount
        return Resources.of(total)

    def __sub__(self, other: Resources) -> Resources:
        total = dict(self.entries)
        for name, amount in other.entries:
            total[name] = total.get(name, 0) - amount
        return Resources.of(total)

    def times(self, n: int) -> Resources:
        return Resources.of({name: amount * n for name, amount in self.entries})

    def fits_in(self, other: Resources) -> bool:
        """Return whether no amount is above that of ``other``."""
        room = dict(other.entries)
        return all(amount <= room.get(name, 0) for name, amount in self.entries)

    def positive(self) -> Resources:
        """Return the amounts above zero."""
        return Resources.of({name: amount for name, amount in self.entries if amount > 0})

    def to_ray(self) -> dict[str, float]:
        """Return the amounts in Ray's units: bytes for memory, floats for all else."""
        return {name: float(amount if name in BYTE_RESOURCES else amount / MILLI) for name, amount in self.entries}

    def __str__(self) -> str:
        return ", ".join(f"{format_amount(name, amount)} {name}" for name, amount in self.entries) or "nothing"


def format_amount(name: str, amount: int) -> str:
    """Return an amount as people write it: ``2``, ``0.5``, ``16GiB``."""
    if name not in BYTE_RESOURCES:
        return f"{amount / MILLI:g}"
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(amount) >= _BYTES[unit]:
            return f"{amount / _BYTES[unit]:.4g}{unit}"
    return f"{amount}B"


def total(amounts: Iterable[Resources]) -> Resources:
    """Return the sum of many vectors; the same object many times is added once."""
    vectors = list(amounts)
    if len(vectors) == 1:
        return vectors[0]
    by_identity = {id(vector): vector for vector in vectors}
    out: dict[str, int] = {}
    for key, n in Counter(map(id, vectors)).items():
        for name, amount in by_identity[key].entries:
            out[name] = out.get(name, 0) + amount * n
    return Resources.of(out)
