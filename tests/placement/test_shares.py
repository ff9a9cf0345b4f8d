"""Entitlements: guarantees first, then weighted dominant-resource fairness down the tree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from placement.inuse import shares_above_quota, used_shares
from placement.model import Policy, Problem
from placement.shares import entitlements
from tests.placement.builders import node, problem, problems, runs, tenant, want


def entitled(p: Problem) -> dict[str, float]:
    return {str(t): round(share, 6) for t, share in entitlements(p).items()}


def test_equal_weights_share_equally() -> None:
    p = problem(
        [node("a", gpu=8)],
        [tenant("x"), tenant("y")],
        [want("i", 8, tenant="x", gpu=1), want("j", 8, tenant="y", gpu=1)],
    )
    assert entitled(p) == {"x": 0.5, "y": 0.5}


def test_weights_count() -> None:
    p = problem(
        [node("a", gpu=9)],
        [tenant("x", weight=2), tenant("y")],
        [want("i", 9, tenant="x", gpu=1), want("j", 9, tenant="y", gpu=1)],
    )
    assert entitled(p) == {"x": 0.666667, "y": 0.333333}


def test_nobody_is_entitled_to_more_than_it_asks_for() -> None:
    p = problem(
        [node("a", gpu=8)],
        [tenant("x"), tenant("y")],
        [want("i", 1, tenant="x", gpu=1), want("j", 8, tenant="y", gpu=1)],
    )
    assert entitled(p) == {"x": 0.125, "y": 0.875}


def test_the_classic_example_of_dominant_resource_fairness() -> None:
    """9 CPUs and 18 GB, A's tasks (1, 4), B's (3, 1): dominant shares 2/3 each (Ghodsi et al., section 4)."""
    p = problem(
        [node("a", cpu=9, gb=18)],
        [tenant("A"), tenant("B")],
        [want("i", 9, tenant="A", cpu=1, gb=4), want("j", 9, tenant="B", cpu=3, gb=1)],
    )
    assert entitled(p) == {"A": 0.666667, "B": 0.666667}


def test_guarantees_come_before_weights() -> None:
    p = problem(
        [node("a", gpu=8)],
        [tenant("x", {"gpu": 6}), tenant("y", weight=10)],
        [want("i", 8, tenant="x", gpu=1), want("j", 8, tenant="y", gpu=1)],
    )
    assert entitled(p)["x"] >= 0.75


def test_a_subtree_shares_what_it_is_given() -> None:
    p = problem(
        [node("a", gpu=8)],
        [tenant("p"), tenant("x", parent="p"), tenant("y", parent="p"), tenant("z")],
        [want(n, 8, tenant=n, gpu=1) for n in "xyz"],
    )
    assert entitled(p) == {"p": 0.5, "x": 0.25, "y": 0.25, "z": 0.5}


def test_a_limit_bounds_the_entitlement() -> None:
    p = problem(
        [node("a", gpu=8)],
        [tenant("x", limit={"gpu": 1}), tenant("y")],
        [want("i", 8, tenant="x", gpu=1), want("j", 8, tenant="y", gpu=1)],
    )
    assert entitled(p) == {"x": 0.125, "y": 0.875}


def test_an_unknown_policy_is_refused_by_name() -> None:
    p = problem([node("a", gpu=1)], [tenant("t")])
    with pytest.raises(ValueError, match=r"'luck'; there is drf"):
        entitlements(replace(p, policy=Policy(fairness="luck")))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_entitlements_never_exceed_the_cluster(p: Problem) -> None:
    shares = entitlements(p)
    assert set(shares) == {t.id for t in p.tenants}
    assert all(-1e-9 <= share <= 1 + 1e-6 for share in shares.values())


def test_shares_in_use_count_the_subtree_and_what_is_above_quota() -> None:
    p = problem(
        [node("a", gpu=8)],
        [tenant("p", weight=2), tenant("x", {"gpu": 1}, "p")],
        [],
        [runs(want("r", 3, tenant="x", gpu=1), "a")],
    )
    assert used_shares(p) == {"p": 0.375, "x": 0.375}
    assert shares_above_quota(p) == {"p": 0.125, "x": 0.25}
