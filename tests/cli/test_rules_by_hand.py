"""Limits, paused tenants, quarantine and reuse by command, against a control plane over a simulated cluster."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Aios
from tests.support.plane import Served

ENDLESS = "kind: script\nname: {name}\nentrypoint: python endless.py\nestimate: 100d\ngrace: 1s\n"
TEAM = "kind: tenant\nname: vision\nmax_running: 1\nmax_pending: 2\nmax_pending_per_user: 1\ntime_limit: 100d\n"


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def work(name: str, more: str = "") -> str:
    return write(f"{name}.yaml", ENDLESS.format(name=name) + more)


def test_a_tenants_limits_are_shown_kept_and_said(aios: Aios, plane: Served) -> None:
    assert aios("tenant", "apply", "-f", write("team.yaml", TEAM)).code == 0
    labels = "tenant: vision\nlabels: {user: ada}\n"
    assert aios("submit", work("one", labels)).code == 0
    assert aios("wait", "one", "--for", "running").code == 0
    assert aios("submit", work("two", labels)).code == 0
    shown = aios("ps").out
    assert "Concurrency: tenant vision runs 1 of at most 1 workloads" in shown
    refused = aios("submit", work("three", labels))
    assert refused.code == 104
    assert "user ada in tenant vision would have 2 workloads waiting, and may have 1" in refused.err
    assert "hint: " in refused.err
    assert aios("describe", "three").code == 102, "nothing of it was taken"
    line = next(line for line in aios("tenant", "list").out.splitlines() if line.startswith("vision"))
    assert "1/1" in line
    assert "1/2" in line
    too_long = aios("submit", work("four", "tenant: vision\ntime_limit: 200d\n"))
    assert too_long.code == 104
    assert "time_limit 200 d is above 100 d" in too_long.err


def test_a_tenant_is_paused_and_resumed(aios: Aios, plane: Served) -> None:
    assert aios("submit", work("one")).code == 0
    assert aios("wait", "one", "--for", "running").code == 0
    ran = aios("tenant", "pause", "default")
    assert ran.code == 0, ran.err
    assert "paused" in ran.out
    assert "1 of its workloads go on" in ran.err
    assert aios("submit", work("two")).code == 0
    while "TenantPaused" not in aios("explain", "two").out:
        plane.client().poll("two", timeout_s=0.1)
    assert "paused     tenant default" in aios("status").out
    assert aios("tenant", "pause", "default", "--drain").code == 0
    while aios("describe", "one", "-o", "json").json["status"] != "PREEMPTED":
        plane.client().poll("one", timeout_s=0.1)
    assert aios("tenant", "resume", "default").code == 0
    assert aios("wait", "one", "two", "--for", "running").code == 0


def test_a_time_limit_ends_work_and_says_so(aios: Aios, plane: Served) -> None:
    ran = aios("run", work("short", "time_limit: 30s\nmax_retries: 3\n"))
    assert ran.code == 100, ran.err
    shown = aios("describe", "short").out
    assert "TimeLimit" in shown
    assert "it ended at its time limit of 30 s" in shown
    assert "give it a larger time_limit" in shown
    (attempt,) = aios("describe", "short", "-o", "json").json["attempts"]
    assert attempt["outcome"] == "out_of_time"
    assert "TimeLimitReached" in aios("event", "list").out


def test_a_deadline_that_has_passed_stands_in_the_description(aios: Aios, plane: Served) -> None:
    assert aios("submit", work("late", "deadline: 10s\n")).code == 0
    while "its deadline has passed" not in aios("describe", "late").out:
        plane.client().poll("late", timeout_s=0.1)
    assert aios("describe", "late", "-o", "json").json["status"] == "RUNNING"
    assert "its deadline has passed" in aios("explain", "late").out


PIPELINE = """
kind: pipeline
name: p
cache: true
stages:
  - {{kind: script, name: first, entrypoint: "python first.py", estimate: 5s}}
  - {{kind: script, name: second, entrypoint: "python second.py {what}", needs: [first], estimate: 5s}}
"""


def test_unchanged_stages_of_a_pipeline_are_reused_and_it_is_said_from_whom(aios: Aios, plane: Served) -> None:
    assert aios("run", write("p.yaml", PIPELINE.format(what="a"))).code == 0
    first = aios("describe", "p-first", "-o", "json").json["id"]
    assert aios("run", write("p.yaml", PIPELINE.format(what="b")), "--rerun").code == 0
    shown = aios("describe", "p").out
    assert f"reused from {first}" in shown
    assert f"reused from {first}" in aios("explain", "p-first").out
    assert len(aios("describe", "p-second", "-o", "json").json["attempts"]) == 1
    assert aios("run", "p.yaml", "--rerun", "--no-cache").code == 0
    assert "reused" not in aios("describe", "p").out


CIRCLE = """
kind: pipeline
name: p
stages:
  - {kind: script, name: a, entrypoint: "true", needs: [b]}
  - {kind: script, name: b, entrypoint: "true", needs: [a]}
"""


ONE = ENDLESS.format(name="x")
WRONG = (
    (ONE + "time_limit: soon\n", "'soon' is no duration"),
    (ONE + "time_limit: 0\n", "time_limit"),
    (ONE + "on_deadline: stop\n", "needs a deadline"),
    (ONE + "on_deadline: panic\n", "on_deadline"),
    (ONE + "max_attempts: 0\n", "max_attempts"),
    (ONE + "time_limits: 2h\n", "time_limit"),
    (CIRCLE, "p-a → p-b → p-a"),
    (CIRCLE.replace("[b]", "[c]"), "c"),
    (ONE + "inputs: {data: dataset://nil}\n", "dataset://nil"),
    ("kind: tenant\nname: t\nmax_running: 0\n" + "---\n" + ONE, "max_running"),
)


def test_what_cannot_be_is_refused_with_its_place_and_nothing_is_submitted(aios: Aios, plane: Served) -> None:
    for text, said in WRONG:
        ran = aios("submit", write("x.yaml", text))
        assert ran.code == 2, ran.err
        assert said in ran.err, ran.err
        assert "x.yaml:" in ran.err, ran.err
    assert "no workloads" in aios("ps", "-a").err


SENSELESS = (
    (("tenant", "pause", "nobody"), 102, "there is no tenant 'nobody'"),
    (("tenant", "resume", "nobody"), 102, "known: default"),
    (("tenant", "pause", "default", "--drain", "--now"), 2, "give one of them"),
    (("node", "release", "a-1"), 104, "not in quarantine"),
    (("node", "release", "nowhere"), 102, "a-1"),
    (("usage", "--since", "lately"), 2, "2026-11-01"),
    (("usage", "--until", "1h", "--since", "1m"), 2, "is not before"),
    (("usage", "--csv", "no/such/folder/x.csv"), 2, "no/such/folder"),
    (("retry", "nobody"), 102, "nobody"),
)


def test_orders_that_make_no_sense_say_why(aios: Aios, plane: Served) -> None:
    for args, code, said in SENSELESS:
        ran = aios(*args)
        assert ran.code == code, (args, ran.err)
        assert said in ran.err, (args, ran.err)


def test_a_node_in_quarantine_is_shown_with_why_and_can_be_released(aios: Aios, plane: Served) -> None:
    """Three losses of two workloads on one node."""
    for name in ("one", "two", "one"):
        if aios("describe", name).code:
            assert aios("submit", work(name, "label_selector: {ray.io/node-id: a-1}\n")).code == 0
        assert aios("wait", name, "--for", "running").code == 0
        id = aios("describe", name, "-o", "json").json["id"]
        lost = len(aios("describe", name, "-o", "json").json["attempts"])
        later_s = plane.executor.now_s() + 40.0
        plane.executor.at(later_s, lambda id=id: plane.executor.lose_attempt(id))  # type: ignore[misc]
        plane.executor.wake()
        while (
            len(aios("describe", name, "-o", "json").json["attempts"]) == lost
            and not aios("status", "-o", "json").json["quarantined"]
        ):
            plane.client().poll(id, timeout_s=0.1)
    shown = aios("node", "list").out
    assert "quarantined" in shown
    assert "aios node release a-1" in shown
    assert "quarantine a-1" in aios("status").out
    assert "in quarantine" in aios("explain", "one").out
    assert aios("node", "release", "a-1").code == 0
    assert aios("wait", "one", "--for", "running").code == 0
