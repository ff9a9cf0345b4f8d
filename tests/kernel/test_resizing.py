"""A service gives up bundles and gets them back in place: it never ends for it, and never falls below its minimum."""

from __future__ import annotations

from aios.kernel.actions import Action, Resize, Stop
from aios.kernel.events import AttemptResized, Granted, PreemptionOrdered, ResizeOrdered
from aios.kernel.ports import Phase
from aios.kernel.queue import RESIZE_IN_PLACE_AFTER_S, problem, yielding
from aios.kernel.resizing import LATE_S, above_minimum, owner
from aios.kernel.state import Status
from placement.model import Cause, DemandId, Grant, NodeId, Plan, Preemption, SolveStats
from placement.model import Resize as Resized
from placement.planners.ladder import plan as ladder
from tests.support.bench import Bench, of_type
from tests.support.building import submit, want

N1, N2 = NodeId("n1"), NodeId("n2")


def serving(cpu: float = 2, n: int = 4, least: int = 1) -> Bench:
    """A service of ``n`` bundles over two nodes of 4 CPUs, of which one must stay."""
    bench = Bench()
    bench.turn(submit(want("api", n, cpu, min_bundles=least, service=True, grace_s=10.0)))
    bench.runs("api", *(["n1"] * (n // 2) + ["n2"] * (n - n // 2)))
    bench.sees("api", Phase.READY)
    bench.turn()
    return bench


def api_above(bench: Bench) -> DemandId:
    return above_minimum(bench.id("api"))


def gives_way(bench: Bench, before: int = 3) -> None:
    """A job of one node comes, and the plan has the service give up what it has above its minimum."""
    bench.turn(submit(want("job", 1, cpu=4, priority=9)))
    grant = Grant(bench.demand("job"), (N2,))
    for_job = (bench.demand("job"),)
    yields = Preemption(api_above(bench), Cause.PRIORITY, for_job)
    plan = Plan(grants=(grant,), preemptions=(yields,), stats=SolveStats("hand", "optimal"))
    bench.turn(plan=bench.answer(plan))


def resizes(bench: Bench) -> list[Action]:
    return [action for action in bench.last.actions if isinstance(action, Resize)]


def test_the_planner_sees_the_minimum_apart_from_what_may_be_taken() -> None:
    bench = serving()
    minimum, rest = problem(bench.state, bench.now_s, bench.observed()).running
    assert (minimum.nodes, minimum.demand.preemptible) == ((N1,), False)
    assert (rest.nodes, rest.demand.preemptible, rest.demand.min_bundles) == ((N1, N2, N2), True, 1)
    assert owner(rest.demand.id) == (bench.id("api"), True)


def test_a_service_gives_up_all_but_its_minimum_and_goes_on() -> None:
    bench = serving()
    gives_way(bench)
    assert not of_type(bench.last.events, PreemptionOrdered)
    (ordered,) = of_type(bench.last.events, ResizeOrdered)
    assert (ordered.nodes, ordered.beneficiaries) == ((N1,), (bench.id("job"),))
    assert resizes(bench) == [Resize(bench.id("api"), 1, 1, (N1,), 10.0)]
    assert not [action for action in bench.last.actions if isinstance(action, Stop)]
    assert bench["api"].status is Status.RUNNING
    assert len(bench["api"].attempts[-1].nodes) == 4, "what it has not let go of it holds"
    assert yielding(bench.state) == {bench.id("job"): [bench.id("api")]}
    bench.turn()
    assert len(resizes(bench)) == 1, "asked until it is so"
    bench.sees("api", Phase.READY, nodes=(N1,), size=1)
    turn = bench.turn()
    assert [event.nodes for event in of_type(turn.events, AttemptResized)] == [(N1,)]
    assert [event.workload for event in of_type(turn.events, Granted)] == [bench.id("job")]
    assert not resizes(bench)
    assert len(bench["api"].attempts) == 1
    assert bench["api"].attempts[-1].nodes == (N1,)


def test_no_plan_can_take_the_minimum() -> None:
    bench = serving()
    gives_way(bench)
    bench.sees("api", Phase.READY, nodes=(N1,), size=1)
    bench.turn()
    (minimum, _) = problem(bench.state, bench.now_s, bench.observed()).running
    assert not minimum.demand.preemptible
    bench.turn(submit(want("more", 2, cpu=4, priority=9)))
    asked = bench.last.ask
    assert asked is not None
    assert bench.demand("api") not in {p.demand for p in ladder(asked.problem).preemptions}


def test_a_service_grows_back_in_place_once_there_is_room() -> None:
    bench = serving()
    gives_way(bench)
    bench.sees("api", Phase.READY, nodes=(N1,), size=1)
    bench.turn()
    bench.sees("job")
    bench.turn()
    bench.sees_end("job")
    bench.turn()
    bench.turn(after_s=RESIZE_IN_PLACE_AFTER_S)
    asked = bench.last.ask
    assert asked is not None
    bench.turn(plan=bench.answer(ladder(asked.problem)))
    (ordered,) = of_type(bench.last.events, ResizeOrdered)
    assert len(ordered.nodes) == 4
    assert ordered.nodes[0] == N1
    assert len(bench["api"].attempts[-1].nodes) == 4, "what it will get is held for it"
    bench.sees("api", Phase.READY, size=4)
    assert of_type(bench.turn().events, AttemptResized)
    assert len(bench["api"].attempts) == 1


def test_what_does_not_shrink_in_time_is_restarted_smaller() -> None:
    bench = serving()
    gives_way(bench)
    turn = bench.turn(after_s=10.0 + LATE_S)
    (ordered,) = of_type(turn.events, PreemptionOrdered)
    assert (ordered.cause, ordered.workload) == ("resize", bench.id("api"))
    assert bench.state.waits[bench.id("api")].nodes == (N1,)


def test_what_does_not_grow_in_time_keeps_the_size_it_had() -> None:
    bench = serving(n=2, least=1)
    gives_way(bench)
    bench.sees("api", Phase.READY, nodes=(N1,), size=1)
    bench.turn()
    bench.turn(after_s=RESIZE_IN_PLACE_AFTER_S)
    grown = Resized(bench.demand("api"), 1, 2, (N1, N1))
    bench.turn(plan=bench.answer(Plan(resizes=(grown,), stats=SolveStats("hand", "optimal"))))
    assert len(bench["api"].attempts[-1].nodes) == 2
    turn = bench.turn(after_s=600.0)
    (ordered,) = of_type(turn.events, ResizeOrdered)
    assert ordered.nodes == (N1,)
    assert of_type(bench.turn().events, AttemptResized)
    assert bench["api"].attempts[-1].nodes == (N1,)


def test_what_it_has_had_is_counted_by_its_sizes() -> None:
    """Four bundles of 2 CPUs for a while, then one: the sum of both, whenever it is looked at."""
    bench = serving()
    granted_s = bench["api"].attempts[-1].granted_s
    gives_way(bench)
    bench.sees("api", Phase.READY, nodes=(N1,), size=1)
    bench.turn(after_s=7.0)
    small_s = bench.now_s
    bench.turn(after_s=100.0)
    bench.sees_end("api")
    bench.turn()
    assert bench["api"].attained == (small_s - granted_s) * 8 + (bench.now_s - small_s) * 2
