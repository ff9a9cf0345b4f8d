"""``aios simulate TRACE``: policies side by side, the report, and what is wrong with what one gives it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.cli.conftest import Aios

PHILLY = """\
timestamp,duration,num_gpus,gpu_time,cluster
2017-10-01 00:00:00,100,4,400,vision
2017-10-01 00:00:10,50,2,100,speech
2017-10-01 00:00:20,100,2,200,vision
"""


def trace(text: str = PHILLY) -> str:
    Path("small.csv").write_text(text, encoding="utf-8")
    return "small.csv"


def test_a_trace_runs_under_one_policy(alone: Aios) -> None:
    ran = alone("simulate", trace(), "--cluster", "1xV100:4", "--policy", "fifo", "-o", "json")
    assert ran.code == 0, ran.err
    found = ran.json["policies"]["fifo"]
    assert (found["jct_mean_s"], found["makespan_s"], found["utilisation"]) == (140.0, 200.0, 0.875)
    assert ran.json["trace"]["jobs"] == 3


def test_policies_are_compared_in_a_table_and_a_page_with_plots(alone: Aios) -> None:
    ran = alone(
        "simulate", trace(), "--cluster", "1xV100:4", "--compare", "fifo,aios-greedy", "--report", "out"
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "aios-greedy" in ran.out.splitlines()[1]
    assert "JCT mean" in ran.out
    assert "2m20s" in ran.out
    page = Path("out/index.html").read_text(encoding="utf-8")
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page, "it needs nothing from elsewhere"
    pngs = sorted(path.name for path in Path("out").glob("*.png"))
    assert pngs == ["jct.png", "rho.png", "utilisation.png", "waiting.png"]
    assert all(Path("out", name).read_bytes().startswith(b"\x89PNG") for name in pngs)


def test_the_same_seed_prints_the_same(alone: Aios) -> None:
    command = ("simulate", "gen:gavel-like?jobs=30&per_hour=20", "--cluster", "1xV100:8", "--policy", "srtf",
               "--estimates", "noisy", "--load", "0.9", "-o", "json")  # fmt: skip
    first = alone(*command, "--seed", "3")
    assert first.code == 0, first.err
    assert first.json["trace"]["load"] == pytest.approx(0.9)
    assert alone(*command, "--seed", "3").out == first.out
    assert alone(*command, "--seed", "4").out != first.out


def test_quotas_share_the_cluster_among_the_traces_tenants(alone: Aios) -> None:
    ran = alone("simulate", trace(), "--cluster", "1xV100:4", "--policy", "fifo", "--quotas", "equal", "-o", "json")
    assert ran.json["cluster"]["tenants"] == 2


def test_jobs_larger_than_the_cluster_are_left_out_and_named_or_refused(alone: Aios) -> None:
    ran = alone("simulate", trace(), "--cluster", "1xV100:2", "--policy", "fifo", "-o", "json")
    assert ran.code == 0
    assert ran.json["trace"]["left_out"] == ["philly-2"]
    assert "1 of 3 jobs are larger than the cluster: philly-2" in ran.err
    strict = alone("simulate", "small.csv", "--cluster", "1xV100:2", "--policy", "fifo", "--strict")
    assert strict.code == 104
    assert "philly-2" in strict.err


@pytest.mark.parametrize(
    "args, said",
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["gen:philly"], "do you mean 'philly-like'"),
        (["gen:philly-like?job=5"], "has no setting 'job'"),
        (["gen:philly-like?jobs=many"], "jobs is 'many'"),
        (["gen:philly-like?jobs=5", "--policy", "fif"], "do you mean 'fifo'"),
        (["gen:philly-like?jobs=5", "--compare", "fifo,nothing-like-it"], "there is no policy 'nothing-like-it'"),
        (["gen:philly-like?jobs=5", "--cluster", "nowhere.yaml"], "there is no cluster file nowhere.yaml"),
        (["gen:philly-like?jobs=5", "--cluster", "8xV100"], "NODESxTYPE:GPUS"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(alone: Aios, args: list[str], said: str) -> None:
    ran = alone("simulate", *args)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_malformed_line_is_named_with_file_line_and_column(alone: Aios) -> None:
    ran = alone("simulate", trace(PHILLY.replace(",50,2,", ",soon,2,")), "--policy", "fifo")
    assert ran.code == 2
    assert "small.csv:3:2: duration is 'soon'" in ran.err


def test_options_of_traces_do_not_fit_files_of_workloads(alone: Aios) -> None:
    Path("one.yaml").write_text("kind: script\nname: one\nrun: 'true'\n", encoding="utf-8")
    ran = alone("simulate", "one.yaml", "--compare", "fifo,easy")
    assert ran.code == 2
    assert "--compare is for a trace" in ran.err


def test_a_report_without_matplotlib_is_refused_before_anything_runs(
    alone: Aios, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "matplotlib" else found(name, *a))
    ran = alone("simulate", trace(), "--policy", "fifo", "--report", "out")
    assert ran.code != 0
    assert "aios[plots]" in ran.err
    assert "jobs on" not in ran.err
