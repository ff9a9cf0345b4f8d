"""Which ended workloads a turn may retire: some at a time, looked for now and then."""

from __future__ import annotations

from aios.config import Settings
from aios.control.loop import Loop
from aios.control.planning import InlinePlanning
from aios.control.retiring import LOOK_S, Retiring
from aios.kernel.events import EpochStarted, Retired
from aios.kernel.ports import ApplyTenants
from aios.kernel.retention import Keep
from aios.store.memory import MemoryLog
from benchmarks.kernel import Still, history
from tests.support.bench import of_type
from tests.support.building import tenant
from tests.support.first_fit import first_fit

FEW = Keep(ended_s=1e9, ended_most=10, least_s=0.0)
N_ENDED = 40


def loop_of(keep: Keep | None) -> tuple[Loop, MemoryLog]:
    """Return a loop over the log of a cluster on which much has ended."""
    log = MemoryLog()
    log.append(log.begin(), list(history(N_ENDED, 3)))
    cluster = Still(log)
    loop = Loop(log, cluster, InlinePlanning(first_fit), keep=keep)
    loop.start()
    cluster.show(loop)
    return loop, log


def test_so_many_stay_as_are_kept_and_each_turn_retires_a_part() -> None:
    loop, _ = loop_of(FEW)
    parts = Retiring(FEW, together=12)
    state, now_s = loop.state, loop.now_s() + 1.0
    taken = [parts.next(state, now_s) for _ in range(4)]
    assert [len(part) for part in taken] == [12, 12, 6, 0]
    ended = sorted((w.finished_s, id) for id, w in state.workloads.items() if w.finished_s is not None)
    assert [id for part in taken for id in part] == [id for _, id in ended[: N_ENDED - FEW.ended_most]]
    assert parts.next(state, now_s + LOOK_S)[:12] == taken[0], "what was lost on the way is found again"


def test_a_loop_retires_and_its_log_folds_to_the_same_state() -> None:
    loop, log = loop_of(FEW)
    loop.turn()
    assert len(loop.state.retired) == N_ENDED - FEW.ended_most
    assert len(of_type((event for _, event in log.read()), Retired)) == 1
    again = Loop(log, Still(log), InlinePlanning(first_fit), keep=FEW)
    again.start()
    assert again.state.retired == loop.state.retired
    assert again.state.workloads == loop.state.workloads


def test_without_a_rule_everything_stays() -> None:
    loop, log = loop_of(None)
    loop.submit(ApplyTenants((tenant("new"),)))
    loop.turn()
    assert not loop.state.retired
    assert of_type((event for _, event in log.read()), EpochStarted)


def test_settings_say_how_long_what_is_over_is_kept() -> None:
    settings = Settings.from_env({"AIOS_HOME": "/h"})
    assert (settings.keep_ended_s, settings.keep_ended_most, settings.keep_down_s) == (604_800.0, 10_000, 86_400.0)
    env = {"AIOS_HOME": "/h", "AIOS_KEEP_ENDED": "2d", "AIOS_KEEP_ENDED_MOST": "500", "AIOS_KEEP_NODES": "1h"}
    settings = Settings.from_env(env)
    assert (settings.keep_ended_s, settings.keep_ended_most, settings.keep_down_s) == (172_800.0, 500, 3_600.0)
