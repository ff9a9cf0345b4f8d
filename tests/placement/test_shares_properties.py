"""What every fairness policy keeps: within the cluster, blind to names, nothing gained by splitting or asking more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.inuse import used_shares
from placement.model import Demand, DemandId, Policy, Problem, TenantId
from placement.shares import POLICIES, decayed, entitlements, fairness_weights
from tests.placement.builders import node, problem, problems, runs, tenant, want
from tests.placement.filling import filled

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NEAR = 1e-5
NAMES = [policy.name for policy in POLICIES]


def by(name: str, p: Problem) -> dict[TenantId, float]:
    return dict(entitlements(replace(p, policy=replace(p.policy, fairness=name))))


@st.composite
def flat(draw: st.DrawFn) -> Problem:
    """Tenants without a tree that ask for CPUs and GPUs, with weights, quotas and limits."""
    names = "abcdef"[: draw(st.integers(2, 6))]
    amounts = st.fixed_dictionaries({"gpu": st.integers(0, 6), "cpu": st.integers(0, 24)})
    maybe = st.one_of(st.none(), st.none(), st.fixed_dictionaries({"gpu": st.integers(1, 6)}))
    tenants = [
        tenant(n, draw(st.one_of(st.none(), amounts)), weight=draw(st.sampled_from([1.0, 2.0, 0.5])), limit=draw(maybe))
        for n in names
    ]
    pending = [want(f"w{n}", draw(st.integers(1, 9)), tenant=n, gpu=draw(st.integers(0, 2)), cpu=1) for n in names]
    return problem([node("x", gpu=8, cpu=32)], tenants, pending)


@QUICK
@given(flat())
def test_programmes_give_what_progressive_filling_gives(p: Problem) -> None:
    assert by("drf", p) == pytest.approx(dict(filled(p)), abs=NEAR)


@pytest.mark.parametrize("name", NAMES)
def test_entitlements_stay_within_the_cluster_and_within_what_is_asked(name: str) -> None:
    @QUICK
    @given(problems())
    def within(p: Problem) -> None:
        shares = by(name, p)
        everyone = replace(p, running=(), pending=tuple(_all_asked(p)))
        parents = {t.parent for t in p.tenants}
        n_resources = 2
        assert set(shares) == {t.id for t in p.tenants}
        assert all(-NEAR <= share <= 1 + NEAR for share in shares.values())
        assert sum(share for t, share in shares.items() if t not in parents) <= n_resources + NEAR
        asked = {t.id: sum(_share_of(everyone, d) for d in everyone.pending if d.tenant == t.id) for t in p.tenants}
        assert all(shares[t] <= asked[t] + NEAR for t in shares if t not in parents)

    within()


def _all_asked(p: Problem) -> Sequence[Demand]:
    held = [replace(r.demand, bundles=r.demand.bundles[: len(r.nodes)], min_bundles=len(r.nodes)) for r in p.running]
    return [*(demand for demand in held if demand.bundles), *p.pending]


def _share_of(p: Problem, demand: Demand) -> float:
    held = [n.resources for n in p.nodes if n.state.value != "down"]
    cap = {name: sum(r.get(name) for r in held) for name in ("GPU", "CPU")}
    return max((amount / cap[name] for name, amount in demand.resources().items() if cap.get(name)), default=0.0)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_order_change_nothing(name: str) -> None:
    @QUICK
    @given(problems())
    def same(p: Problem) -> None:
        def other(t: TenantId | None) -> TenantId | None:
            return None if t is None else TenantId(f"z{ord(t[0]) * 7 % 11}-{t}")

        renamed = replace(
            p,
            nodes=p.nodes[::-1],
            tenants=tuple(replace(t, id=other(t.id), parent=other(t.parent)) for t in reversed(p.tenants)),
            running=tuple(replace(r, demand=replace(r.demand, tenant=other(r.demand.tenant))) for r in p.running[::-1]),
            pending=tuple(replace(d, tenant=other(d.tenant)) for d in reversed(p.pending)),
        )
        before, after = by(name, p), by(name, renamed)
        assert {other(t): share for t, share in before.items()} == pytest.approx(after, abs=NEAR)

    same()


@QUICK
@given(flat(), st.sampled_from([1.5, 2.0, 4.0]))
def test_a_larger_weight_never_costs_a_share(p: Problem, times: float) -> None:
    first = p.tenants[0]
    heavier = replace(p, tenants=(replace(first, weight=first.weight * times), *p.tenants[1:]))
    assert by("drf", heavier)[first.id] >= by("drf", p)[first.id] - NEAR


@QUICK
@given(flat())
def test_splitting_a_tenant_does_not_enrich_it(p: Problem) -> None:
    """A tenant's halves, with half its weight, quota, limit and work each, get together what it got."""
    first = p.tenants[0]
    p = replace(p, tenants=(replace(first, quota=None, limit=None), *p.tenants[1:]))
    whole = next(d for d in p.pending if d.tenant == first.id)
    p = replace(p, pending=(replace(whole, bundles=whole.bundles * 2, min_bundles=1), *p.pending[1:]))
    halves = [TenantId("half1"), TenantId("half2")]
    split = replace(
        p,
        tenants=(
            *(replace(p.tenants[0], id=half, weight=first.weight / 2) for half in halves),
            *p.tenants[1:],
        ),
        pending=(*(replace(whole, id=DemandId(f"w-{half}"), tenant=half) for half in halves), *p.pending[1:]),
    )
    parts = by("drf", split)
    assert parts[halves[0]] + parts[halves[1]] <= by("drf", p)[first.id] + NEAR


@QUICK
@given(st.lists(st.integers(1, 12), min_size=2, max_size=5), st.data())
def test_asking_more_never_raises_another_above_what_it_had(counts: list[int], data: st.DataObject) -> None:
    """With one resource: who asks more takes from others or leaves them as they were."""
    names = "abcde"[: len(counts)]
    weights = [data.draw(st.sampled_from([1.0, 2.0])) for _ in names]

    def asking(numbers: Sequence[int]) -> dict[TenantId, float]:
        tenants = [tenant(n, weight=w) for n, w in zip(names, weights, strict=True)]
        return by(
            "drf",
            problem(
                [node("x", gpu=10)], tenants, [want(n, k, tenant=n, gpu=1) for n, k in zip(names, numbers, strict=True)]
            ),
        )

    before, after = asking(counts), asking([counts[0] + data.draw(st.integers(1, 8)), *counts[1:]])
    assert all(after[t] <= before[t] + NEAR for t in before if t != names[0])
    assert after[TenantId("a")] >= before[TenantId("a")] - NEAR


def test_a_subtree_with_unlike_work_uses_what_its_members_can() -> None:
    """One member asks for CPUs alone, the other for GPUs alone: neither holds the other back."""
    p = problem(
        [node("x", gpu=8, cpu=32)],
        [tenant("p"), tenant("c", parent="p"), tenant("g", parent="p"), tenant("o")],
        [want("c", 32, tenant="c", cpu=1), want("g", 8, tenant="g", gpu=1), want("o", 4, tenant="o", gpu=1, cpu=1)],
    )
    shares = by("drf", p)
    assert shares[TenantId("o")] == pytest.approx(0.5, abs=NEAR)
    assert shares[TenantId("g")] == pytest.approx(0.5, abs=NEAR)
    assert shares[TenantId("c")] == pytest.approx(0.875, abs=NEAR)


def test_what_an_owner_does_not_lend_is_nobodys_entitlement() -> None:
    tenants = [tenant("o", {"gpu": 6}, lend_limit={"gpu": 1}), tenant("b")]
    shares = by("drf", problem([node("x", gpu=8)], tenants, [want("w", 8, tenant="b", gpu=1)]))
    assert shares[TenantId("b")] == pytest.approx(3 / 8, abs=NEAR)


def test_a_borrow_limit_and_an_ancestors_limit_bound_the_entitlement() -> None:
    tenants = [
        tenant("p", limit={"gpu": 3}),
        tenant("a", {"gpu": 1}, "p", borrow_limit={"gpu": 1}),
        tenant("b", {}, "p"),
    ]
    shares = by("drf", problem([node("x", gpu=8)], tenants, [want(n, 8, tenant=n, gpu=1) for n in "ab"]))
    assert shares[TenantId("p")] == pytest.approx(3 / 8, abs=NEAR)
    assert shares[TenantId("a")] <= 2 / 8 + NEAR


def _past(a: float, b: float) -> Problem:
    tenants = [replace(tenant(n), usage=(("GPU", seconds),)) for n, seconds in (("a", a), ("b", b))]
    return problem([node("x", gpu=8)], tenants, [want(n, 8, tenant=n, gpu=1) for n in "ab"])


def test_what_is_owed_is_paid_back() -> None:
    even, owed = by("drf-usage", _past(5e6, 5e6)), by("drf-usage", _past(9e6, 1e6))
    assert even[TenantId("a")] == pytest.approx(even[TenantId("b")], abs=NEAR)
    assert owed[TenantId("b")] > 0.5 > owed[TenantId("a")]
    assert by("drf", _past(9e6, 1e6))[TenantId("a")] == pytest.approx(0.5, abs=NEAR)


def test_past_use_halves_with_each_half_life() -> None:
    assert decayed({"GPU": 8.0}, 7200.0, 3600.0) == {"GPU": 2.0}
    with pytest.raises(ValueError, match="half-life is a positive number"):
        decayed({}, 1.0, 0.0)


def test_who_has_waited_longest_for_its_size_is_entitled_to_more() -> None:
    pending = [
        want("old", 8, tenant="a", gpu=1, submitted_s=0.0, runtime_s=100.0),
        want("new", 8, tenant="b", gpu=1, submitted_s=1000.0, runtime_s=100.0),
    ]
    shares = by("finish-time", problem([node("x", gpu=8)], [tenant("a"), tenant("b")], pending, now_s=1000.0))
    assert shares[TenantId("a")] / shares[TenantId("b")] == pytest.approx(11.0, rel=1e-3)


def test_unlike_accelerators_go_to_those_who_gain_most() -> None:
    """Each is twice as fast on one type: with half of each they would have 1/2, with their own type 2/3."""
    nodes = [node(n, {"ray.io/accelerator-type": n.upper()}, gpu=4) for n in "hv"]
    pending = [
        want("x", 8, tenant="a", gpu=1, speed={"H": 2.0, "V": 1.0}),
        want("y", 8, tenant="b", gpu=1, speed={"H": 1.0, "V": 2.0}),
    ]
    p = problem(nodes, [tenant("a"), tenant("b")], pending)
    assert by("max-min", p) == pytest.approx({"a": 2 / 3, "b": 2 / 3}, abs=NEAR)
    assert by("drf", p) == pytest.approx({"a": 0.5, "b": 0.5}, abs=NEAR)


def test_like_accelerators_make_no_difference_to_drf() -> None:
    p = _past(0.0, 0.0)
    assert by("max-min", p) == pytest.approx(by("drf", p), abs=NEAR)


@QUICK
@given(problems())
def test_who_has_less_than_it_is_entitled_to_weighs_more(p: Problem) -> None:
    entitled = entitlements(p)
    used = used_shares(p)
    factors = fairness_weights(p, entitled)
    top = [t.id for t in p.tenants if t.parent is None]
    assert all(0.5 <= factors[t] <= 2.0 for t in factors)
    assert all(factors[t] >= 1.0 for t in top if entitled[t] > used[t])
    assert all(factors[t] <= 1.0 for t in top if entitled[t] < used[t])


def test_policies_are_named_once_and_the_default_is_the_first() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert Policy().fairness == NAMES[0]


def test_contradictory_quotas_are_met_in_part() -> None:
    tenants = [tenant("a", {"gpu": 8}), tenant("b", {"gpu": 8})]
    p = problem([node("x", gpu=8)], tenants, [want(n, 8, tenant=n, gpu=1) for n in "ab"])
    assert by("drf", p) == pytest.approx({"a": 0.5, "b": 0.5}, abs=NEAR)


def test_running_work_counts_as_asked_for() -> None:
    p = problem([node("x", gpu=8)], [tenant("a")], [], [runs(want("r", 2, tenant="a", gpu=1), "x")])
    assert by("drf", p) == pytest.approx({"a": 0.25}, abs=NEAR)
