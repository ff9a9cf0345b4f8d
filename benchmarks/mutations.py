"""The mutations that ``benchmarks.mutants`` applies: what is broken, which law that breaks, and who should notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One small change of a source file; ``old`` stands there exactly once."""

    file: str
    law: str
    old: str
    new: str
    tests: tuple[str, ...]
    """Test files, without ``.py``, in the order in which they are asked."""


JUDGE = ("test_check", "test_check_more")
LAWS = (
    "properties/test_rights",
    "test_laws",
    "properties/test_exact",
    "test_elastic",
    "test_levels",
    "test_forms",
    "test_ageing",
)
EXACT = ("properties/test_rights", "test_cpsat", "test_laws", "properties/test_exact", "test_levels", "test_elastic")
SHARES = ("test_shares", "test_shares_properties")
POOLS = ("test_pools_rights", "test_pools")
BOUNDS = ("properties/test_bounds",)
BULK = ("test_bulk", "test_laws_everywhere")
MOVES = ("test_moves", "test_scenario", "test_main")

_CHECK, _BOOK = "placement/check.py", "placement/tenantbook.py"
_RULES, _ADMIT = "placement/planners/rules.py", "placement/planners/admission.py"
_CLAIMS, _ORDER = "placement/planners/claims.py", "placement/planners/order.py"
_TREE, _FIT = "placement/planners/tree.py", "placement/planners/fitting.py"
_CPSAT, _MOVES = "placement/planners/cpsat/constraints.py", "placement/planners/moves.py"
_AIMS, _SOLVE = "placement/planners/cpsat/objective.py", "placement/planners/cpsat/solve.py"
_VICTIMS = "placement/planners/bulk/victims.py"
_RIGHTS, _ACCOUNTS = "placement/planners/pools/rights.py", "placement/planners/pools/accounts.py"
_CANDIDATES = "placement/planners/pools/candidates.py"
_DECODE, _DEPARTURES = "placement/planners/pools/decode.py", "placement/planners/pools/departures.py"
_VALUE = "placement/value.py"
_MAXMIN, _DRF = "placement/shares/maxmin.py", "placement/shares/drf.py"
_SHARED = "placement/shares/tree.py"

MUTATIONS = (
    # The judge
    Mutation(_CHECK, "1 unknown nodes", "if not nodes.issuperset(at):", "if False:", JUDGE),
    Mutation(_CHECK, "2 gangs whole", "if not demand.min_bundles <= n <= most:", "if n > most:", JUDGE),
    Mutation(_CHECK, "7 least harm", "if could_stay is not None:", "if False:", JUDGE),
    Mutation(_CHECK, "9 nobody is forgotten", "if (name in granted) == (name in plan.waiting):", "if False:", JUDGE),
    Mutation(_CHECK, "12 staying put", "if resize.nodes[:kept] != old.nodes[:kept]:", "if False:", JUDGE),
    Mutation(_BOOK, "3 guarantee", "if guarded and not book.above(top, use, amounts):", "if guarded:", JUDGE),
    Mutation(
        _BOOK,
        "3 of like ones what is idle first",
        "for name in self._likes().get(winner.id, (winner.id,)):",
        "for name in (winner.id,):",
        JUDGE,
    ),
    Mutation(_BOOK, "4 limit", "if name in names and use.get(name, 0) > most:", "if False:", JUDGE),
    Mutation(_BOOK, "4 lending", "return taken > book.capacity.get(name)", "return False", JUDGE),
    Mutation(_BOOK, "5 within a tenant", "lower = other.priority < winner.priority", "lower = True", JUDGE),
    Mutation(_BOOK, "6 fairness", "return after < before", "return True", JUDGE),
    Mutation(_BOOK, "10 above quota", "add(use[above], victim.amounts, -1)", "pass", JUDGE),
    # Who may displace whom
    Mutation(_RULES, "5 never", "if rule is Within.NEVER:", "if False:", LAWS),
    Mutation(_RULES, "5 equals that are newer", "victim.running.started_s > newcomer.submitted_s", "True", LAWS),
    Mutation(_RULES, "5 upward", "    if other.priority < newcomer.priority:\n", "    if True:\n", LAWS),
    Mutation(
        _RULES,
        "10 may not be preempted",
        "    if not other.preemptible:\n        return False",
        "    if False:\n        return False",
        LAWS,
    ),
    Mutation(
        _RULES,
        "4 limits with victims",
        "if state.tree.refusal(newcomer.tenant, after, more) is not None:",
        "if False:",
        LAWS,
    ),
    Mutation(_RULES, "3 reclaim never", "    if tree.within(top, after[top], more):\n", "    if True:\n", LAWS),
    Mutation(_RULES, "7 the lowest priority first", "for priority in sorted({", "for priority in reversed({", LAWS),
    Mutation(
        _RULES,
        "7 what started last",
        "queue.sort(key=lambda v: (v.running.started_s, v.id))",
        "queue.sort(key=lambda v: (-v.running.started_s, v.id))",
        LAWS,
    ),
    Mutation(_RULES, "7 the highest share", "            tenant = max(\n", "            tenant = min(\n", LAWS),
    Mutation(
        _RULES,
        "7 priorities from the highest down",
        "else 1) for v in victims), reverse=True))",
        "else 1) for v in victims)))",
        LAWS,
    ),
    # Admission, claims and turns
    Mutation(
        _ADMIT,
        "8 claims",
        "                if self._delays_nobody(demand, more, fit):\n                    return fit, True\n",
        "                return fit, True\n",
        LAWS,
    ),
    Mutation(_ADMIT, "9 growth", "        if step.gain <= 0:\n", "        if step.gain <= 9:\n", LAWS),
    Mutation(
        _ADMIT,
        "9 other forms",
        "        for number, form in enumerate(forms):\n            fit, found",
        "        for number, form in enumerate(forms[:1]):\n            fit, found",
        LAWS,
    ),
    Mutation(_ADMIT, "9 asked again", "        self.hopeless.clear()\n", "        pass\n", ("test_greedy", *LAWS)),
    Mutation(_ADMIT, "4 limits", "return self.tree.refusal(demand.tenant, use, more) is None", "return True", LAWS),
    Mutation(_CLAIMS, "8 backfill off", "granted.problem.policy.backfill and ", "", LAWS),
    Mutation(
        _CLAIMS,
        "8 known ends",
        "out.append(((max(now, running.started_s + runtime), 0.0, 0), running))",
        "out.append(((now, 0.0, 0), running))",
        LAWS,
    ),
    Mutation(
        _CLAIMS,
        "8 claims ahead",
        "        if nodes is not None:\n            then.hold",
        "        if False:\n            then.hold",
        LAWS,
    ),
    Mutation(
        _CLAIMS,
        "8 displacing a passer",
        "return rules.displacement(later, waiting, asked(waiting), [victim]) is not None",
        "return True",
        LAWS,
    ),
    Mutation(
        _ORDER, "8 the more important first", "return -self.demand.priority, self.grows", "return 0, self.grows", LAWS
    ),
    Mutation(_ORDER, "3 guarantees first", "return borrows, step.grows,", "return step.grows,", LAWS),
    Mutation(
        _ORDER, "6 the lowest share first", "state.tree.share(tenant, state.use[tenant]), -step", "0, -step", LAWS
    ),
    Mutation(_ORDER, "9 starts before growth", "return borrows, step.grows,", "return borrows, not step.grows,", LAWS),
    # The tree
    Mutation(_TREE, "4 limit", "if name in asked and have.get(name, 0) > most:", "if False:", LAWS),
    Mutation(
        _TREE,
        "4 borrow limit",
        "if name in asked and have.get(name, 0) - quota.get(name, 0) > max(0, most):",
        "if False:",
        LAWS,
    ),
    Mutation(
        _TREE, "4 lend limit", "return max(0, self.quota[tenant].get(name, 0) - lend[name]) if", "return 0 if", LAWS
    ),
    Mutation(
        _TREE,
        "3 an inner tenant's guarantee",
        "self.quota[tenant] = below if own is None else dict(own.items())",
        "self.quota[tenant] = below",
        LAWS,
    ),
    Mutation(
        _TREE, "6 weights", "max(1, self.capacity.get(name, 0)) / weight", "max(1, self.capacity.get(name, 0))", LAWS
    ),
    Mutation(
        _TREE,
        "10 above quota",
        "use.get(name, 0) > quota.get(name, 0) for name in of)",
        "use.get(name, 0) >= quota.get(name, 0) for name in of)",
        LAWS,
    ),
    # Placement
    Mutation(_FIT, "2 selectors", " and selector.accepts(room.node):", ":", LAWS),
    Mutation(_FIT, "1 draining nodes", "if room.open and node not in self.closed", "if node not in self.closed", LAWS),
    Mutation(
        _FIT,
        "1 reservations",
        "if room.open and node not in self.closed and",
        "if room.open and",
        ("test_reservations",),
    ),
    Mutation(_FIT, "2 required topology", "if topology.required]", "if False]", LAWS),
    Mutation(
        _FIT,
        "2 a label that is missing",
        "        if value is not None:\n            out",
        "        if True:\n            out",
        LAWS,
    ),
    Mutation(_FIT, "2 apart", "if any(v is None or v in used[key]", "if any(v is None", LAWS),
    # The exact programme
    Mutation(_CPSAT, "1 capacity", "        self.nodes_give_what_they_have()\n", "", EXACT),
    Mutation(_CPSAT, "1 parts of a GPU", "        self.parts_of_a_gpu_fit_one_device()\n", "", EXACT),
    Mutation(_CPSAT, "2 gangs", "        self.gang_whole_or_not_at_all()\n", "", EXACT),
    Mutation(_CPSAT, "2 pack", "        self.packed_gangs_stay_together()\n", "", EXACT),
    Mutation(_CPSAT, "2 spread", "        self.spread_gangs_stay_apart()\n", "", EXACT),
    Mutation(_CPSAT, "2 balance", "        self.spread_gangs_are_balanced()\n", "", EXACT),
    Mutation(_CPSAT, "4 limits", "            self.limits_hold(*self.newcomer)\n", "", EXACT),
    Mutation(_CPSAT, "3 rights", "            self.victims_yield_by_the_rules(*self.newcomer)\n", "", EXACT),
    Mutation(_CPSAT, "10 above quota", "            self.victims_are_above_their_quota(self.newcomer[0])\n", "", EXACT),
    Mutation(_CPSAT, "7 shrink before stopping", "        self.elastic_work_shrinks_before_it_stops()\n", "", EXACT),
    # Pools
    Mutation(_RIGHTS, "5 within a tenant", "rules.within is not Within.NEVER and lower", "lower", POOLS),
    Mutation(_RIGHTS, "3 within quota", "        if self._stays_within(entry):\n", "        if True:\n", POOLS),
    Mutation(_RIGHTS, "4 limits", "return self.tree.refusal(tenant, after, more) is None", "return True", POOLS),
    Mutation(_ACCOUNTS, "4 limit row", "row = sheet.row(max(0.0, room))", "row = sheet.row(1e6)", POOLS),
    Mutation(
        _RIGHTS,
        "3 of like ones what is idle first",
        "return [like for like in self.alike[_asks(entry)] if like.demand.id not in self.counted]",
        "return [] if entry.demand.id in self.counted else [entry]",
        POOLS,
    ),
    Mutation(
        _CANDIDATES,
        "3 gangs on several nodes yield",
        "            out += on_several(",
        "            on_several(",
        POOLS,
    ),
    Mutation(_CANDIDATES, "7 the last bundles first", "for keep in (0, *keeps):", "for keep in (0,):", POOLS),
    Mutation(_DEPARTURES, "2 a rack is cleared", "        if together != out[0].delta:", "        if False:", POOLS),
    Mutation(
        _DECODE, "7 whoever fits back stays", "        self._spare()\n\n    def settled", "\n    def settled", POOLS
    ),
    Mutation(_VALUE, "7 the fewest GPUs", "(among is None or at in among)", "True", POOLS),
    # Moves
    Mutation(
        _MOVES,
        "12 only where the policy says so",
        "if not problem.policy.migration or not problem.running:",
        "if not problem.running:",
        MOVES,
    ),
    Mutation(
        _MOVES, "12 what has just started stays", "not in touched and movable(run, now_s)]", "not in touched]", MOVES
    ),
    Mutation(_MOVES, "8 claims", "if claims.delays(found, after, passer):", "if False:", MOVES),
    Mutation(
        _MOVES,
        "4 limits",
        "return self.tree.refusal(demand.tenant, use, more) is None\n",
        "return True\n",
        MOVES,
    ),
    # Bounds
    Mutation(
        _AIMS,
        "11 a bound with moves",
        "_rate((HARM.weight - MOVED.weight) * len",
        "_rate((HARM.weight - 3 * MOVED.weight) * len",
        BOUNDS,
    ),
    Mutation(
        _AIMS,
        "11 a bound with other forms",
        "(_rate(PERFORMANCE.weight * most_performance(demands[name])) + 1) * start",
        "0 * start",
        BOUNDS,
    ),
    Mutation(_SOLVE, "11 one form at a time", "model.add(starts[name] <= 1)", "pass", BOUNDS),
    Mutation(
        _ACCOUNTS,
        "5 above its limit",
        "entries.append((inside, 2.0 * room - biggest.get(group[0], 0.0)))",
        "pass",
        POOLS,
    ),
    # Large questions by the laws
    Mutation(_VICTIMS, "3 who yields first", "if over > short.get(name, 0):", "if False:", BULK),
    Mutation(
        _VICTIMS, "10 own work alone", "if gang.keep and rights.may(gang) and any(", "if gang.keep and any(", BULK
    ),
    # Entitlements
    Mutation(
        _MAXMIN,
        "6 no more than there is",
        "row = self.lp.Constraint(-self.lp.infinity(), 1.0)",
        "row = self.lp.Constraint(-self.lp.infinity(), 9.0)",
        SHARES,
    ),
    Mutation(_MAXMIN, "4 limits", "        self.within_limits()\n", "", SHARES),
    Mutation(_MAXMIN, "3 guarantees", "floor = self.tree.guaranteed(child) *", "floor = 0.0 *", SHARES),
    Mutation(
        _DRF,
        "6 weights",
        "{t.id: t.weight for t in problem.tenants}).solve()",
        "{t.id: 1.0 for t in problem.tenants}).solve()",
        SHARES,
    ),
    Mutation(_DRF, "6 what is owed", "MOST_OWED ** (1.0 - ratio)", "MOST_OWED ** (ratio - 1.0)", SHARES),
    Mutation(_SHARED, "6 lending", "if asks.get(name)]", "if False]", SHARES),
)
