"""The executor on a real Ray cluster: the contract, and what only a real cluster can do to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aios.adapters.embedded import Keeper
from aios.config import NAMESPACE
from aios.kernel.actions import Forget, Kill, Launch, Stop, attempt_name
from aios.kernel.events import Outcome, Work, WorkloadId
from aios.kernel.ports import Phase
from placement.model import DemandId, NodeId
from tests.support.executor_suite import ExecutorSuite, find, in_phase, until
from tests.support.polling import eventually

pytestmark = pytest.mark.ray


class RayWorld:
    """The executor of this process on the cluster; work runs until its file is there."""

    def __init__(self, storage: Path) -> None:
        from aios.adapters.ray import RayExecutor

        self.storage = storage
        self.executor = RayExecutor(storage)
        self.ids = {seen.name: seen.node.id for seen in self.executor.observe().nodes}
        self.nodes: Sequence[NodeId] = (self.ids["a-1"], self.ids["a-2"], self.ids["b-1"])

    @property
    def doomed(self) -> NodeId:
        """The node that the last test of this module takes away: there for no other module."""
        return self.ids["doomed"]

    def work(self, name: str, n_bundles: int = 1, **others: Any) -> Work:
        from tests.ray.probe import ProbeEngine, ProbeSpec

        gang = {"num_workers": n_bundles, "resources_per_worker": {"CPU": 1}}
        files = {"effects": str(self.storage / f"{name}.effects"), "until": str(self.storage / f"{name}.until")}
        spec = ProbeSpec.model_validate({"name": name, "workers": gang, **files, **others})
        id = WorkloadId(f"{name}-1")
        demand = replace(ProbeEngine().demand(spec), id=DemandId(id))
        return Work(id, name, "probe", "default", 0, demand, spec.model_dump_json(exclude_unset=True), "")

    def let_end(self, work: Work) -> None:
        (self.storage / f"{work.name}.until").touch()

    def effects(self, work: Work) -> list[str]:
        path = self.storage / f"{work.name}.effects"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def n_started(self, work: Work) -> int:
        return sum(line.startswith("start") for line in self.effects(work))

    def run(self, work: Work, *nodes: NodeId) -> None:
        self.executor.apply([Launch(work, 1, 1, nodes or (self.nodes[0],))])
        in_phase(self, work, Phase.RUNNING)

    def supervisor_pid(self, work: Work) -> int:
        import ray

        return int(ray.get(ray.get_actor(attempt_name(work.id, 1), namespace=NAMESPACE).pid.remote()))


@pytest.fixture(scope="module")
def world(driver: Keeper, tmp_path_factory: pytest.TempPathFactory) -> RayWorld:
    return RayWorld(tmp_path_factory.mktemp("storage"))


class TestRayExecutor(ExecutorSuite):
    """The contract that the simulated one keeps too."""


def test_nodes_are_seen_with_names_labels_and_what_others_use(world: RayWorld) -> None:
    import ray

    seen = {one.name: one for one in world.executor.observe().nodes}
    assert sorted(seen) == ["a-1", "a-2", "b-1", "doomed"]
    assert seen["b-1"].node.label("ray.io/accelerator-type") == "A100"
    assert seen["a-2"].node.label("zone") == "z2"
    assert dict(seen["a-1"].node.resources.items())["GPU"] == 1000
    assert not seen["a-1"].foreign

    holder = ray.remote(_Holder).options(num_cpus=2, label_selector={"zone": "z2"}).remote()
    ray.get(holder.ping.remote())
    foreign = eventually(lambda: {n.name: str(n.foreign) for n in world.executor.observe().nodes if n.foreign})
    assert foreign == {"a-2": "2 CPU"}
    ray.kill(holder)
    eventually(lambda: not any(n.foreign for n in world.executor.observe().nodes), what="the end of foreign use")


class _Holder:
    def ping(self) -> None:
        pass


def test_what_an_attempt_holds_is_not_counted_as_use_by_others(world: RayWorld) -> None:
    work = world.work("holds", 2)
    world.run(work, world.nodes[0], world.nodes[0])
    for _ in range(10):
        assert not any(node.foreign for node in world.executor.observe().nodes)
        world.executor.wait(0.2)
    world.executor.apply([Kill(work.id, 1), Forget(work.id, 1)])
    for _ in range(20):
        assert not any(node.foreign for node in world.executor.observe().nodes)
        world.executor.wait(0.1)


def test_a_new_executor_takes_over_what_an_old_one_left(world: RayWorld) -> None:
    from aios.adapters.ray import RayExecutor

    work = world.work("inherited")
    world.run(work)
    successor = RayExecutor(world.storage)
    seen = find(successor.observe(), work)
    assert seen is not None
    assert seen.phase is Phase.RUNNING
    successor.apply([Launch(work, 1, 1, (world.nodes[0],))])
    world.let_end(work)
    assert in_phase(world, work, Phase.ENDED).outcome is Outcome.SUCCEEDED
    assert world.n_started(work) == 1
    successor.apply([Forget(work.id, 1)])


def test_a_killed_supervisor_is_lost_and_its_workers_go(world: RayWorld) -> None:
    work = world.work("orphaned", 2)
    world.run(work, world.nodes[0], world.nodes[1])
    os.kill(world.supervisor_pid(work), signal.SIGKILL)
    seen = in_phase(world, work, Phase.ENDED)
    assert seen.outcome is Outcome.LOST
    assert "supervisor" in seen.error
    world.executor.apply([Forget(work.id, 1)])
    assert world.n_started(work) == 1


@pytest.mark.parametrize(
    ("fails", "error", "exit_code"),
    [
        ("workload", "ValueError: the label is missing\n\nline 3", 7),
        ("engine", "engine error: RuntimeError: broken", None),
        ("exit", "the code left with exit status 3", 3),
    ],
)
def test_a_failure_says_what_the_user_did_first(world: RayWorld, fails: str, error: str, exit_code: int | None) -> None:
    work = world.work(f"fails-{fails}", fails=fails)
    world.executor.apply([Launch(work, 1, 1, (world.nodes[0],))])
    seen = in_phase(world, work, Phase.ENDED)
    assert (seen.outcome, seen.error, seen.exit_code) == (Outcome.FAILED, error, exit_code)
    log = (world.storage / "attempts" / work.id / "1" / "log.txt").read_text(encoding="utf-8")
    assert f"{work.name} runs" in log
    world.executor.apply([Forget(work.id, 1)])


def test_who_ignores_a_stop_is_ended_at_the_end_of_its_grace(world: RayWorld) -> None:
    work = world.work("stubborn", ignores_stop=True)
    world.run(work)
    world.executor.apply([Stop(work.id, 1, "preempt", 1.0)])
    assert in_phase(world, work, Phase.ENDED).outcome is Outcome.PREEMPTED
    world.let_end(work)
    world.executor.apply([Forget(work.id, 1)])
    assert not any(line.startswith("end") for line in world.effects(work))


def test_what_an_attempt_leaves_in_the_cluster_goes_with_it(world: RayWorld) -> None:
    import ray

    work = world.work("leaves", 2, detached=True)
    world.run(work, world.nodes[0], world.nodes[1])
    workers = {f"{attempt_name(work.id, 1)}/worker-{idx}" for idx in range(2)}
    assert workers <= set(ray.util.list_named_actors())
    world.executor.apply([Kill(work.id, 1), Forget(work.id, 1)])
    eventually(lambda: not workers & set(ray.util.list_named_actors()), what="the end of its detached workers")


def test_strays_of_unknown_attempts_are_swept(world: RayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.util.placement_group import placement_group, placement_group_table

    name = "aios/unknown-1/4"
    actor = ray.remote(_Holder).options(name=f"{name}/x", lifetime="detached", num_cpus=0).remote()
    ray.get(actor.ping.remote())
    group = placement_group([{"CPU": 1}], name=name, lifetime="detached")
    assert group.wait(30)
    monkeypatch.setattr("aios.adapters.ray.SWEEP_S", 0.0)
    world.executor.observe()
    eventually(lambda: f"{name}/x" not in ray.util.list_named_actors())
    eventually(lambda: placement_group_table(group)["state"] == "REMOVED")


def test_what_takes_too_long_in_one_go_is_done_with_the_next(world: RayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    works = [world.work(f"many{idx}") for idx in range(3)]
    launches = [Launch(work, 1, 1, (world.nodes[0],)) for work in works]
    monkeypatch.setattr("aios.adapters.ray.APPLY_S", 0.0)
    for n_seen in (1, 2, 3):
        left = [one for one in launches if find(world.executor.observe(), one.work) is None]
        world.executor.apply(left)
        seen = world.executor.observe()
        assert sum(find(seen, work) is not None for work in works) == n_seen
    monkeypatch.undo()
    ends = [action(work.id, 1) for work in works for action in (Kill, Forget)]
    world.executor.apply(ends)
    assert not [work for work in works if find(world.executor.observe(), work)]


def test_a_serve_application_of_an_unknown_attempt_is_deleted(world: RayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray import serve

    serve.start(proxy_location="Disabled")
    try:
        for name in ("aios-unknown-1-4", "theirs"):
            answer = serve.deployment(_Answer, ray_actor_options={"num_cpus": 0})
            serve.run(answer.bind(), name=name, route_prefix=f"/{name}")
        monkeypatch.setattr("aios.adapters.ray.SWEEP_S", 0.0)
        world.executor.observe()
        eventually(lambda: set(serve.status().applications) == {"theirs"}, what="the end of the stray application")
    finally:
        serve.shutdown()


@pytest.mark.parametrize("file", ["launch.json", "status.json"])
def test_a_damaged_folder_ends_its_attempt_and_harms_no_other(world: RayWorld, file: str) -> None:
    damaged, sound = world.work(f"damaged-{file[:2]}"), world.work(f"sound-{file[:2]}")
    world.run(damaged, world.nodes[0])
    world.run(sound, world.nodes[1])
    os.kill(world.supervisor_pid(damaged), signal.SIGSTOP)  # it would repair its report
    (world.storage / "attempts" / damaged.id / "1" / file).write_text('{"half a', encoding="utf-8")
    observed = world.executor.observe()
    assert observed.complete
    assert find(observed, damaged) is None
    assert find(observed, sound) is not None
    world.executor.apply([Kill(sound.id, 1), Forget(sound.id, 1)])


def test_an_old_fence_starts_nothing_and_an_overtaken_attempt_ends(world: RayWorld) -> None:
    work = world.work("fenced")
    world.executor.apply([Launch(work, 1, 5, (world.nodes[0],))])
    in_phase(world, work, Phase.RUNNING)
    world.executor.apply([Launch(work, 2, 9, (world.nodes[1],))])
    in_phase(world, work, Phase.RUNNING, attempt=2)
    assert in_phase(world, work, Phase.ENDED, attempt=1).outcome is Outcome.LOST
    world.executor.apply([Launch(work, 3, 7, (world.nodes[0],))])
    assert "fence 7 is old" in in_phase(world, work, Phase.ENDED, attempt=3).error
    assert world.n_started(work) == 2
    for attempt in (1, 2, 3):
        world.executor.apply([Kill(work.id, attempt), Forget(work.id, attempt)])


@pytest.fixture
def raylet_of_doomed(world: RayWorld) -> int:
    import ray

    from aios.adapters.processes import descendants

    row = next(row for row in ray.nodes() if row["NodeID"] == world.doomed)
    wanted = row["RayletSocketName"].encode()
    found = [pid for pid in descendants(_keeper_pid()) if _is_raylet(pid, wanted)]
    assert len(found) == 1
    return found[0]


def _keeper_pid() -> int:
    from tests.ray.conftest import HOME

    keeper = Keeper.read(HOME)
    assert keeper is not None
    return keeper.pid


def _is_raylet(pid: int, socket: bytes) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return arguments[0].endswith(b"/raylet") and any(argument.endswith(b"=" + socket) for argument in arguments)


def test_an_attempt_that_loses_one_of_its_nodes_is_lost_whole(world: RayWorld, raylet_of_doomed: int) -> None:
    """The last test here: the node does not come back."""
    work = world.work("bereft", 2)
    world.run(work, world.nodes[2], world.doomed)
    os.kill(raylet_of_doomed, signal.SIGKILL)
    seen = in_phase(world, work, Phase.ENDED)
    assert seen.outcome is Outcome.LOST
    assert "went away" in seen.error
    later = until(world, lambda seen: world.doomed not in {one.node.id for one in seen.nodes})
    assert find(later, work) == seen
    world.executor.apply([Forget(work.id, 1)])


class _Answer:
    def __call__(self) -> str:
        return "here"
