"""Every rule of the judge has its mutant: broken on purpose, some hand-made plan is judged otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest

from placement import check, localities, moving, nodebook, placing, spared, tenantbook
from tests.placement.plans import Case
from tests.placement.test_check import CASES
from tests.placement.test_check_more import CASES as MORE

JUDGE = (check, localities, moving, nodebook, placing, spared, tenantbook)

MUTANTS: list[tuple[int, ModuleType, str, str]] = [
    (1, nodebook, "if amount > has.get(name, 0):", "if False:"),
    (1, nodebook, "return not whole\n    if not fractions:", "return not whole\n    if True:"),
    (1, nodebook, "if parts[0] <= room and", "if"),
    (1, nodebook, "bundle.resources.get(n) > MILLI and", "False and"),
    (1, nodebook, "for node, amounts in self.problem.foreign.items():", "for node, amounts in ():"),
    (1, nodebook, "if not in_time and not entry.tenants & line:", "if False:"),
    (1, nodebook, "ends_s <= entry.starts_s", "True"),
    (1, nodebook, "if reservation.ends_s > problem.now_s:", "if True:"),
    (1, nodebook, "if resize.to > resize.before:", "if False:"),
    (1, nodebook, "new != was}", "False}"),
    (1, placing, "node.state is not NodeState.READY", "False"),
    (1, check, "if not nodes.issuperset(at):", "if False:"),
    (2, placing, "not bundle.selector.accepts(node)", "False"),
    (2, placing, "if topology.required else None", "if False else None"),
    (2, placing, "if topology.required else None", "if True else None"),
    (2, localities, "size = topology.slice or max(1, len(values))", "size = max(1, len(values))"),
    (2, check, "if not demand.min_bundles <= n <= most:", "if False:"),
    (2, check, "not 0 <= grant.form <=", "not grant.form <="),
    (2, check, "if not demand.min_bundles <= resize.to", "if not 0 <= resize.to"),
    (2, nodebook, "return demand.form(grant.form)", "return demand"),
    (3, tenantbook, "return rules.reclaim is Reclaim.ANY or", "return True or"),
    (3, tenantbook, "if guarded and not book.above(top, use, amounts):", "if guarded:"),
    (4, tenantbook, "use.get(name, 0) > most:", "False:"),
    (4, tenantbook, "use.get(name, 0) > quota.get(name) + most", "False"),
    (4, tenantbook, "and _lent_too_much(book, tenant, name)", "and False"),
    (4, tenantbook, "return rules.borrow is Borrow.LOWER_PRIORITY and lower", "return lower"),
    (4, tenantbook, "return rules.borrow is Borrow.LOWER_PRIORITY and lower", "return True"),
    (5, tenantbook, "(rules.within is not Within.NEVER and lower)", "True"),
    (5, tenantbook, "victim.started_s > winner.submitted_s", "True"),
    (5, tenantbook, "problem.now_s - victim.started_s >= policy.time_slice_s", "True"),
    (5, tenantbook, "policy.objective is Objective.GOODPUT", "True"),
    (5, tenantbook, "victim.demand.priority <= winner.priority", "True"),
    (6, tenantbook, "return after < before", "return after <= before"),
    (7, check, "if could_stay is not None:", "if False:"),
    (7, tenantbook, "if name not in winners:\n", "if False:\n"),
    (3, tenantbook, "for name in self._likes().get(winner.id, (winner.id,)):", "for name in (winner.id,):"),
    (7, spared, "all(nodes.holds(node, more[node])", "all(False"),
    (9, check, "if (name in granted) == (name in plan.waiting):", "if False:"),
    (9, check, "if name not in pending:\n            yield Violation(9", "if False:\n            yield Violation(9"),
    (10, check, "elif name in stopped and not running[name].demand.preemptible:", "elif False:"),
    (10, check, "and not demand.preemptible:", "and False:"),
    (10, tenantbook, "if sides and not any(", "if False and not any("),
    (10, tenantbook, "add(use[above], victim.amounts, -1)", "pass"),
    (12, check, "if name not in running:", "if False:"),
    (12, check, "elif changed[name] > 1:", "elif False:"),
    (12, check, "if resize.nodes[:kept] != old.nodes[:kept]:", "if False:"),
    (12, check, "if resize.before != len(old.nodes) or", "if"),
    (12, moving, "if not policy.migration:", "if False:"),
    (12, moving, "if policy.objective is Objective.GOODPUT else None", ""),
    (12, moving, ">= slice_s", ">= 0"),
    (12, moving, "throughput(old.demand, there) > throughput(old.demand, here)", "True"),
    (12, moving, "if not granted.intersection(move.beneficiaries) or", "if"),
    (12, moving, "not granted.issuperset(move.beneficiaries):", "False:"),
    (12, moving, "if len(move.nodes) != len(old.nodes):", "if False:"),
    (12, moving, "and _room_without(book, (move,), running)]", "and False]"),
    (12, moving, "if len(group) > 1 and", "if False and"),
]


def verdicts(cases: list[Case]) -> list[set[int] | str]:
    out: list[set[int] | str] = []
    for case in cases:
        try:
            out.append({violation.law for violation in check.violations(case.problem, case.plan)})
        except Exception as error:  # a mutant may break in any way
            out.append(type(error).__name__)
    return out


@pytest.fixture
def mended() -> Iterator[None]:
    kept = {module: dict(vars(module)) for module in JUDGE}
    yield
    for module, names in kept.items():
        vars(module).update(names)


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize(
    ("law", "module", "old", "new"),
    MUTANTS,
    ids=[f"law {law}, {module.__name__}: {new}" for law, module, _, new in MUTANTS],
)
def test_a_broken_rule_is_noticed(law: int, module: ModuleType, old: str, new: str) -> None:
    source = inspect.getsource(module)
    assert source.count(old) >= 1, "the mutant's place is gone: point it at the rule again"
    mutant = ModuleType(module.__name__)
    mutant.__dict__.update({name: value for name, value in vars(module).items() if name.startswith("__")})
    exec(compile(source.replace(old, new), module.__name__, "exec"), mutant.__dict__)
    for other in JUDGE:
        for name, value in list(vars(other).items()):
            if getattr(value, "__module__", None) == module.__name__ and name in vars(mutant):
                setattr(other, name, vars(mutant)[name])
    cases = [*CASES, *MORE]
    noticed = [case for case, found in zip(cases, verdicts(cases), strict=True) if found != case.laws]
    assert noticed, f"nothing judges this rule of law {law}"
    # Whoever has no right by laws 3 or 6 displaces against law 4.
    laws = {law, 4} if law in (3, 6) else {law}
    assert any(not case.laws or laws & case.laws for case in noticed), [case.name for case in noticed]
