"""The cluster's rules by command: its policy, and nodes that are reserved."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Aios
from tests.support.plane import Served

RESERVATION = "kind: reservation\nname: upgrade\nnodes: [a-1, a-2]\nstarts: in 2h\nduration: 4h\n"


def write(text: str, name: str = "rules.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_the_policy_in_force_is_shown_and_replaced(aios: Aios, plane: Served) -> None:
    assert aios("policy", "show", "-o", "json").json["objective"] == "strict"
    file = write("kind: policy\nmigration: true\nageing: 1h\nobjective: weighted\n")
    ran = aios("policy", "apply", "-f", file)
    assert ran.code == 0, ran.err
    shown = aios("policy", "show", "-o", "json").json
    assert (shown["objective"], shown["migration"], shown["ageing"]) == ("weighted", True, 3600.0)
    assert plane.state.policy is not None
    assert plane.state.policy.ageing_s == 3600.0


def test_nodes_are_reserved_listed_and_given_back(aios: Aios, plane: Served) -> None:
    ran = aios("reservation", "apply", "-f", write(RESERVATION))
    assert ran.code == 0, ran.err
    assert "nobody (maintenance)" in ran.out
    (one,) = plane.state.reservations.values()
    assert one.ends_s - one.starts_s == 4 * 3600
    assert one.starts_s > plane.plane.now_s() + 3600
    assert aios("reservation", "delete", "upgrade").code == 0
    assert "none" in aios("reservation", "list").err


def test_all_kinds_are_applied_from_one_file(aios: Aios, plane: Served) -> None:
    file = write("kind: tenant\nname: nlp\n---\n" + RESERVATION.replace("[a-1, a-2]", "[a-1]") + "tenants: [nlp]\n")
    ran = aios("apply", "-f", file)
    assert ran.code == 0, ran.err
    assert plane.state.reservations["upgrade"].tenants == ("nlp",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: policy\nobjective: fastest\n", "objective"),
        ("kind: policy\nobjective: goodput\n", "time_slice"),
        ("kind: policy\nfairness: nobody\n", "'nobody' is not known"),
        ("kind: policy\nagening: 1h\n", "agening"),
        ("kind: policy\nageing: 0\n", "ageing"),
        (RESERVATION.replace("a-2", "a-9"), "there is no node 'a-9'"),
        (RESERVATION.replace("in 2h", "tomorrow"), "tomorrow"),
        (RESERVATION.replace("in 2h", "1969-12-30T00:00Z"), "over already"),
        (RESERVATION.replace("in 2h", "2036-01-01 00:00"), "no moment"),
        (RESERVATION + "tenants: [nobody]\n", "no tenant 'nobody'"),
        ("kind: script\nname: x\nentrypoint: python x.py\n", "policy and reservation"),
    ],
)
def test_rules_that_make_no_sense_are_refused_and_change_nothing(
    aios: Aios, plane: Served, text: str, complaint: str
) -> None:
    ran = aios("policy", "apply", "-f", write(text))
    assert ran.code == 2
    assert complaint in ran.err
    assert plane.state.policy is None
    assert not plane.state.reservations
