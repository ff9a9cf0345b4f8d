"""Readers of traces on tiny made-up samples in each format, their errors, windows at a chosen load, generators."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from placement.model import Resources
from placement.traces import alibaba2023, gavel, pollux, prepare
from placement.traces.gangs import bundle, per_gpu
from placement.traces.generate import GAVEL_GPUS, GENERATORS
from placement.traces.loads import at_load, offered_load
from placement.traces.model import Job, Trace, TraceError
from placement.traces.readers import READERS, detect, read
from tests.placement.builders import node

PHILLY = """timestamp,duration,num_gpus,gpu_time,cluster
2017-10-09 07:01:55,66.0,1,66.0,vc2
2017-10-09 07:00:55,100.5,4,402.0,vc1
2017-10-09 07:03:00,0.0,1,0.0,vc1
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
p0,4000,1024,1,460,,LS,Running,10,100,40
p1,8000,2048,2,1000,V100M16|V100M32,BE,Running,5,50,
p2,1000,512,0,0,,BE,Running,7,7,7
"""
NODES = """sn,cpu_milli,memory_mib,gpu,model
n0,96000,393216,8,G2
n1,32000,1024,0,
"""
PAI = """j1,worker,2,Terminated,100.0,160.0,600.0,29.5,50.0,T4
j1,ps,1,Terminated,90.0,160.0,400.0,10.0,,
j2,worker,1,Running,100.0,,600.0,29.5,150.0,MISC
j3,worker,1,Terminated,120.0,130.0,600.0,29.5,150.0,MISC
"""
HELIOS = """job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue
7,u1,vcA,4,16,1,COMPLETED,2020-06-09 18:41:01,2020-06-09 18:41:01,2020-06-09 18:51:01,600,0
8,u1,vcB,0,6,2,FAILED,2020-06-09 18:42:01,2020-06-09 18:42:01,2020-06-09 18:42:11,10,0
9,u2,vcB,1,1,1,CANCELLED,2020-06-09 18:43:01,,,0,0
"""
ACME = """job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,start_time,end_time,duration,queue,gpu_time
1,u1,1,8,128,Pretrain,FAILED,2023-03-01 00:18:22+08:00,x,y,117,32,936.0
2,u1,1,8,128,Evaluation,COMPLETED,2023-02-28 16:18:32+00:00,x,y,20,13,160.0
"""
POLLUX = """name,time,application,num_replicas,batch_size
cifar10-0,107,cifar10,2,128
bert-1,207,bert,1,8
"""
TIRESIAS = """job_id,num_gpu,submit_time,iterations,model_name,duration,interval
0,1,0,606,vgg19,164,30
1,8,30,133,vgg11,147,23
"""
PHYSICAL = "M (batch size 1)\tcmd\tdir\t--n\t1\t600\t2\t1\t-1.000000\t12\n"
MSR = "M (batch size 1)\tcmd\t--n\t1\t600\t12.5\t1\nOld\tcmd\t--n\t1\t60\t13\t4\n"
TABLE = {
    "v100": {
        "('M (batch size 1)', 1)": {"null": 2.0, "('Old', 1)": [1.5, 0.5]},
        "('M (batch size 1)', 2)": {"null": 3.0},
        "('Old', 1)": {"null": 1.0},
    },
    "v100_unconsolidated": {"('M (batch size 1)', 2)": {"null": 2.5}},
    "k80": {
        "('M (batch size 1)', 1)": {"null": 0.5},
        "('M (batch size 1)', 2)": {"null": 0.75},
        "('Old', 1)": {"null": 0.0},
    },
}
SAMPLES = {
    "philly": PHILLY,
    "alibaba-2023": PODS,
    "alibaba-2020": PAI,
    "helios": HELIOS,
    "acme": ACME,
    "gavel": PHYSICAL,
    "gavel-msr": MSR,
    "pollux": POLLUX,
    "tiresias": TIRESIAS,
}


def written(folder: Path, text: str, name: str = "sample.csv") -> Path:
    (folder / "simulation_throughputs.json").write_text(json.dumps(TABLE))
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_every_format_is_known_by_its_first_lines_and_read(reader: object, tmp_path: Path) -> None:
    name = reader.name  # type: ignore[attr-defined]
    path = written(tmp_path, SAMPLES[name])
    found = detect(path)
    assert found is reader
    trace = read(path)
    assert trace.jobs
    assert list(trace.jobs) == sorted(trace.jobs, key=lambda job: job.submitted_s)
    assert found is not None
    assert found.sentence.endswith(".")
    assert found.licence
    assert found.source


def test_gzipped_files_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    path = tmp_path / "no-ending"
    path.write_bytes(gzip.compress(PHILLY.encode()))
    assert read(path) == read(written(tmp_path, PHILLY))


def test_philly_has_a_tenant_for_each_virtual_cluster_and_drops_what_never_ran(tmp_path: Path) -> None:
    jobs = read(written(tmp_path, PHILLY)).jobs
    assert [(j.tenant, j.submitted_s, j.runtime_s, len(j.bundles)) for j in jobs] == [
        ("vc1", 0.0, 100.5, 4),
        ("vc2", 60.0, 66.0, 1),
    ]


def test_openb_pods_share_gpus_and_name_their_types(tmp_path: Path) -> None:
    jobs = {job.id: job for job in read(written(tmp_path, PODS)).jobs}
    assert jobs["p0"].bundles == (bundle(460, 4000, 2**30),)
    assert jobs["p0"].runtime_s == 60.0, "from its scheduling to its deletion"
    assert jobs["p0"].priority > jobs["p1"].priority
    assert jobs["p1"].bundles[0].resources.get("GPU") == 2000
    assert str(jobs["p1"].bundles[0].selector) == "ray.io/accelerator-type=in(V100M16,V100M32)"
    assert (jobs["p1"].submitted_s, jobs["p1"].runtime_s, jobs["p2"].runtime_s) == (0.0, 45.0, 1.0)


def test_openb_nodes_become_a_cluster(tmp_path: Path) -> None:
    nodes = alibaba2023.read_nodes(written(tmp_path, NODES))
    assert nodes[0].resources == Resources.parse({"GPU": 8, "CPU": 96, "memory": "384GiB"})
    assert nodes[0].label("ray.io/accelerator-type") == "G2"
    assert nodes[1].label("ray.io/accelerator-type") is None


def test_pai_tasks_of_one_job_are_one_gang(tmp_path: Path) -> None:
    jobs = {job.id: job for job in read(written(tmp_path, PAI)).jobs}
    assert set(jobs) == {"j1", "j3"}, "j2 has not ended"
    assert [b.resources.get("GPU") for b in jobs["j1"].bundles] == [500, 500, 0]
    assert [b.resources.get("CPU") for b in jobs["j1"].bundles] == [6000, 6000, 4000]
    assert (jobs["j1"].submitted_s, jobs["j1"].runtime_s, jobs["j3"].submitted_s) == (0.0, 70.0, 30.0)
    assert jobs["j3"].bundles[0].resources.get("GPU") == 2000, "more than one GPU comes whole"


def test_helios_gives_cpu_work_by_node(tmp_path: Path) -> None:
    jobs = {job.id: job for job in read(written(tmp_path, HELIOS)).jobs}
    assert set(jobs) == {"7", "8"}
    assert jobs["7"].bundles == (bundle(1000, 4000),) * 4
    assert jobs["8"].bundles == (bundle(0, 3000),) * 2
    assert (jobs["8"].tenant, jobs["8"].submitted_s) == ("vcB", 60.0)


def test_acme_times_are_of_their_own_zone(tmp_path: Path) -> None:
    first, second = read(written(tmp_path, ACME)).jobs
    assert (first.tenant, second.tenant, second.submitted_s) == ("Pretrain", "Evaluation", 10.0)
    assert first.bundles == (bundle(1000, 16_000),) * 8


def test_gavel_takes_run_times_and_speeds_from_its_table(tmp_path: Path) -> None:
    (job,) = read(written(tmp_path, PHYSICAL)).jobs
    assert (job.submitted_s, job.runtime_s, len(job.bundles)) == (12.0, 200.0, 2)
    assert job.speed == (("K80", 0.25), ("V100", 1.0))
    assert job.scaling == ((1, 2 / 3), (2, 1.0))


def test_gavel_counts_sizes_that_were_not_measured_in_proportion(tmp_path: Path) -> None:
    job = read(written(tmp_path, MSR, "vc9.trace")).jobs[1]
    assert (job.tenant, job.runtime_s) == ("vc9", 15.0)
    assert str(job.bundles[0].selector) == "ray.io/accelerator-type=V100", "it has no throughput on K80"


def test_gavel_knows_pairs_and_spread_workers(tmp_path: Path) -> None:
    written(tmp_path, MSR)
    table = gavel.read_throughputs(tmp_path / "simulation_throughputs.json")
    assert table.pairs["V100"]["M (batch size 1)", 1]["Old", 1] == (1.5, 0.5)
    assert table.spread["V100"]["M (batch size 1)", 2] == 2.5


def test_gavel_without_its_table_says_what_to_pass(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c" / "d" / "e.trace"
    path.parent.mkdir(parents=True)
    path.write_text(PHYSICAL)
    with pytest.raises(TraceError, match="pass the path of simulation_throughputs"):
        read(path)


def test_pollux_runs_for_its_applications_gpu_hours(tmp_path: Path) -> None:
    path = written(tmp_path, POLLUX)
    jobs = pollux.read(path, {"cifar10": 1.0, "bert": 2.0}, elastic=True).jobs
    assert [(job.submitted_s, job.runtime_s, job.min_bundles) for job in jobs] == [(107, 1800, 1), (207, 7200, 1)]
    with pytest.raises(TraceError, match=r":3:3: 'bert' has no GPU-hours"):
        pollux.read(path, {"cifar10": 1.0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PHILLY.replace("66.0,1", "66.0,one", 1), r"sample.csv:2:3: num_gpus is 'one'; write a number"),
        (PHILLY.replace("100.5", "-1"), r"sample.csv:3:2: duration is -1; write a finite number of at least 0"),
        (PHILLY.replace("100.5", "nan"), r"sample.csv:3:2: duration is nan"),
        (PHILLY.replace("66.0,1,", "66.0,1.5,", 1), r"sample.csv:2:3: num_gpus is 1.5; write a whole number"),
        (PHILLY.replace("2017-10-09 07:01:55", "yesterday"), r"sample.csv:2:1: timestamp is 'yesterday'; write a time"),
        (PHILLY.replace(",402.0,vc1", ""), r"sample.csv:3:3: it has 3 fields; write 5, separated by commas"),
        (TIRESIAS.replace("147", ""), r"sample.csv:3:6: duration is ''"),
        (HELIOS.replace("4,16,1", "4,16,x"), r"sample.csv:2:6: node_num is 'x'"),
        (PHYSICAL.replace("\t600\t", "\t0\t"), r"sample.csv:1:6: total_steps is 0"),
        (PHYSICAL.replace("M (b", "N (b"), r"sample.csv:1:1: 'N \(batch size 1\)' with 2 workers has no throughput"),
        ("a,b\n1,2\n", r"sample.csv:1: its first line is of no known format; known are philly"),
        ("", r"sample.csv:1: its first line is of no known format"),
    ],
)
def test_malformed_lines_are_named_by_file_line_and_column(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=message):
        read(written(tmp_path, text))


@pytest.mark.parametrize(
    "content", [None, b"\xff\xfe\x00", b"\x1f\x8bnonsense"], ids=["absent", "binary", "broken gzip"]
)
def test_unreadable_files_are_an_error_of_the_trace(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TraceError, match=r"cannot be read|is not a text file"):
        read(path)


def made(*jobs: tuple[float, float, int]) -> Trace:
    """Return a trace of (arrival, run time, GPUs)."""
    return Trace("made", tuple(Job(f"j{i}", f"vc{i % 2}", at, s, per_gpu(n)) for i, (at, s, n) in enumerate(jobs)))


CLUSTER = (node("a", gpu=4), node("b", gpu=4), node("down", gpu=100, state="down"))


def test_load_is_work_over_what_the_cluster_has_between_first_and_last_arrival() -> None:
    trace = made((0, 100, 4), (50, 200, 2), (100, 10, 8))
    assert offered_load(trace, CLUSTER) == pytest.approx((400 + 400 + 80) / (100 * 8))


@pytest.mark.parametrize("wanted", [0.6, 0.8, 1.0])
def test_arrivals_are_stretched_to_the_load_that_is_wanted(wanted: float) -> None:
    trace = made((0, 100, 4), (50, 200, 2), (100, 10, 8))
    stretched = at_load(trace, CLUSTER, wanted)
    assert offered_load(stretched, CLUSTER) == pytest.approx(wanted)
    assert [job.runtime_s for job in stretched.jobs] == [100, 200, 10]
    assert stretched.jobs[1].submitted_s * 2 == pytest.approx(stretched.jobs[2].submitted_s)


def test_a_load_that_no_stretching_gives_is_refused() -> None:
    with pytest.raises(ValueError, match="all jobs come at once"):
        at_load(made((0, 1, 1), (0, 1, 1)), CLUSTER, 0.8)
    with pytest.raises(ValueError, match="positive"):
        at_load(made((0, 1, 1), (1, 1, 1)), CLUSTER, 0.0)


def test_a_window_is_consecutive_and_begins_at_zero() -> None:
    trace = made(*[(10.0 * i, 1, 1) for i in range(50)])
    part = prepare.window(trace, 10, 3)
    assert [job.submitted_s for job in part.jobs] == [10.0 * i for i in range(10)]
    assert part == prepare.window(trace, 10, np.random.default_rng(3))
    assert len({prepare.window(trace, 10, seed).jobs[0].id for seed in range(9)}) > 1
    assert prepare.window(trace, 99) is trace


def test_a_sample_has_new_names_and_the_arrivals_of_a_window() -> None:
    trace = made(*[(10.0 * i, i + 1, 1) for i in range(50)])
    drawn = prepare.sample(trace, 40, 1)
    assert len({job.id for job in drawn.jobs}) == 40
    assert [job.submitted_s for job in drawn.jobs] == [10.0 * i for i in range(40)]
    assert drawn == prepare.sample(trace, 40, 1)


def test_jobs_that_the_cluster_could_never_hold_are_left_out() -> None:
    trace = made((0, 1, 8), (1, 1, 9))
    whole = Job("node", "t", 2, 1, (bundle(5000),))
    kept = prepare.fitting(Trace("x", (*trace.jobs, whole)), CLUSTER)
    assert [job.id for job in kept.jobs] == ["j0"]


@pytest.mark.parametrize(("by_work", "quotas"), [(False, [4000, 4000]), (True, [6000, 2000])])
def test_tenants_of_virtual_clusters_share_all_gpus(by_work: bool, quotas: list[int]) -> None:
    trace = made((0, 30, 1), (1, 10, 1))
    found = prepare.tenants(trace, CLUSTER[:2], by_work=by_work)
    assert [(t.id, t.quota.get("GPU") if t.quota else 0) for t in found] == list(
        zip(["vc0", "vc1"], quotas, strict=True)
    )


def test_a_trace_without_tenants_can_be_given_some() -> None:
    trace = prepare.with_tenants(made(*[(i, 1, 1) for i in range(100)]), 4)
    assert {job.tenant for job in trace.jobs} == {f"team-{i}" for i in range(4)}


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_repeat_from_their_seed(name: str) -> None:
    made_up = GENERATORS[name](200, 7)
    assert made_up == GENERATORS[name](200, np.random.default_rng(7))
    assert made_up != GENERATORS[name](200, 8)
    assert len({job.id for job in made_up.jobs}) == 200


def test_generators_have_the_published_figures() -> None:
    helios = GENERATORS["helios-like"](6_000).jobs
    assert np.mean([len(job.bundles) for job in helios]) == pytest.approx(3.72, rel=0.05)
    assert np.median([job.runtime_s for job in helios]) == pytest.approx(206, rel=0.15)
    sizes = [len(job.bundles) for job in GENERATORS["gavel-like"](6_000).jobs]
    assert np.mean([n == 1 for n in sizes]) == pytest.approx(GAVEL_GPUS[1], abs=0.02)
    minutes = [job.runtime_s / 60 for job in GENERATORS["gavel-like"](6_000).jobs]
    assert np.mean([m < 1000 for m in minutes]) == pytest.approx(0.8, abs=0.02)
    pods = [job.bundles[0].resources.get("GPU") for job in GENERATORS["alibaba-like"](6_000).jobs]
    assert np.mean([0 < gpu < 1000 for gpu in pods]) == pytest.approx(0.378, abs=0.02)
    work = sorted(len(job.bundles) * job.runtime_s for job in GENERATORS["google-like"](6_000).jobs)
    assert sum(work[-60:]) / sum(work) > 0.8, "the largest 1 %"
    philly = GENERATORS["philly-like"](6_000).jobs
    assert np.mean([len(job.bundles) == 1 for job in philly]) == pytest.approx(0.93, abs=0.01)


REAL = {"philly": "philly.csv.gz", "alibaba-2023": "openb_pod_list_default.csv", "gavel": "max_min_fairness.trace"}


@pytest.mark.parametrize("name", REAL)
def test_the_published_files_are_read(name: str) -> None:
    folder = os.environ.get("AIOS_TRACES")
    if not folder:
        pytest.skip("AIOS_TRACES names no folder with the published traces")
    (path,) = Path(folder).rglob(REAL[name])
    reader = detect(path)
    assert reader is not None
    assert reader.name == name
    assert len(read(path).jobs) > 90
