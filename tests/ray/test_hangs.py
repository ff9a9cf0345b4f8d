"""What Ray never notices: processes that are stopped, and their late words."""

from __future__ import annotations

import os
import signal
import time

import pytest

from aios.adapters.folder import Folder
from aios.adapters.heartbeat import SUPERVISOR, WORKER, Living, beats_of
from aios.adapters.processes import started_at
from aios.kernel.actions import Forget, Launch
from aios.kernel.events import Outcome, Work
from aios.kernel.ports import Phase
from tests.ray.test_adapter import RayWorld, world  # noqa: F401  # a fixture
from tests.support.executor_suite import in_phase
from tests.support.polling import eventually

pytestmark = pytest.mark.ray

NOTICED_S = 40.0
"""A sign may be two seconds old, is missed after 18, and a look takes up to 8; the rest is for a busy machine."""


def living(world: RayWorld, work: Work, role: str) -> list[Living]:  # noqa: F811
    folder = Folder(world.storage, work.id, 1)
    return sorted(beats_of(folder, folder.held().fence, {role}))


def test_stopped_supervisors_and_workers_are_given_up_whole_and_cannot_come_back(world: RayWorld) -> None:  # noqa: F811
    """
    1. Two gangs run; the supervisor of one and a worker of the other are stopped, which Ray never notices.
    2. Both attempts are lost within half a minute, and all of their processes end, the stopped ones too.
    3. They start anew with a newer fence, and what the old ones might still say is refused.
    """
    headless, maimed = world.work("headless", 2), world.work("maimed", 2)
    for work in (headless, maimed):
        world.run(work, world.nodes[0], world.nodes[1])
        eventually(lambda work=work: len(living(world, work, WORKER)) == 2, what="the workers' signs of life")
    all_of = {work.id: [*living(world, work, SUPERVISOR), *living(world, work, WORKER)] for work in (headless, maimed)}
    began_s = time.monotonic()
    os.kill(living(world, headless, SUPERVISOR)[0].pid, signal.SIGSTOP)
    os.kill(living(world, maimed, WORKER)[0].pid, signal.SIGSTOP)

    for work, who in ((headless, "its supervisor hangs"), (maimed, "a worker on node")):
        seen = in_phase(world, work, Phase.ENDED)
        assert seen.outcome is Outcome.LOST
        assert who in seen.error
        assert "its process is stopped" in seen.error
        assert time.monotonic() - began_s < NOTICED_S
    processes = [one for work in (headless, maimed) for one in all_of[work.id]]
    eventually(
        lambda: not [one for one in processes if started_at(one.pid) == one.started],
        timeout_s=20,
        what="the end of all processes of both gangs",
    )

    for work in (headless, maimed):
        world.executor.apply([Forget(work.id, 1), Launch(work, 2, 2, (world.nodes[1], world.nodes[0]))])
        in_phase(world, work, Phase.RUNNING, attempt=2)
        world.let_end(work)
        assert in_phase(world, work, Phase.ENDED, attempt=2).outcome is Outcome.SUCCEEDED
        assert [line.split()[:3] for line in world.effects(work)] == [
            ["start", work.name, "1"],
            ["start", work.name, "2"],
            ["end", work.name, "2"],
        ]
        world.executor.apply([Forget(work.id, 2)])
