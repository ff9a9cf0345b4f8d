"""The mutants of the kernel still fit the source: a rule that moved takes its mutant along."""

from __future__ import annotations

import pytest

from benchmarks.kernel_mutations import MUTANTS
from benchmarks.mutants import mutated
from benchmarks.mutations import Mutation


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.law)
def test_what_a_mutant_changes_is_there_once(mutant: Mutation) -> None:
    assert mutated(mutant) is not None


def test_the_kernel_has_at_least_thirty() -> None:
    assert sum(not mutant.tests for mutant in MUTANTS) >= 30
