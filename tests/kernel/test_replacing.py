"""The kernel's own ``replace`` does what that of ``dataclasses`` does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from aios.kernel.replacing import replace
from aios.kernel.state import State
from placement.model import Resources


@dataclass(frozen=True, slots=True)
class _Plain:
    a: int = 1
    b: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Checked:
    a: int = 1

    def __post_init__(self) -> None:
        if self.a < 0:
            raise ValueError("a is not negative")


@dataclass(frozen=True)
class _WithoutSlots:
    a: int = 1


def test_a_copy_differs_in_what_was_changed_and_the_original_stays() -> None:
    state = State(version=7, epoch=3)
    after = replace(state, version=8, fence=4)
    assert after == dataclasses.replace(state, version=8, fence=4)
    assert (state.version, state.fence) == (7, 0)
    assert replace(_Plain(2, (3,)), b=()) == _Plain(2, ())
    assert replace(_WithoutSlots(), a=2) == _WithoutSlots(2)


def test_a_class_that_checks_its_fields_is_checked() -> None:
    with pytest.raises(ValueError, match="not negative"):
        replace(_Checked(), a=-1)
    assert replace(Resources.of({"CPU": 1}))


def test_a_field_that_is_not_there_is_an_error() -> None:
    with pytest.raises(TypeError, match="Plain"):
        replace(_Plain(), c=1)  # type: ignore[call-arg]  # what is tested
