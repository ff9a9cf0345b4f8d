"""The machine of the control plane is lost, or cut off; another one with the same store finishes what was accepted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from aios.client import Client
from aios.kernel.events import EpochStarted, Finished, Submitted
from tests.support.plane import TOKEN, free_port
from tests.support.stores import events_of

NewUrl = Callable[[str], str]
N_WORKS = 30
ROOT = Path(__file__).parents[2]


@contextmanager
def machine(url: str, folder: Path, name: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """Give a control plane on a machine of its own: its process, home, port and nodes."""
    home, port = folder / name, free_port()
    home.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.machine", url, str(home), str(port), name],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "AIOS_HOME": str(home)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with Client(f"http://127.0.0.1:{port}", TOKEN, retry_s=20.0) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


def submit_all(client: Client) -> list[str]:
    """Submit work of which some runs at once and much has to wait; return what was accepted."""
    ids = []
    for i in range(N_WORKS):
        made = client.submit({"kind": "script", "name": f"work-{i}", "entrypoint": "python x.py", "estimate": 60})
        ids += [view.id for view in made.workloads]
    return ids


@pytest.mark.parametrize("loss", [signal.SIGKILL, signal.SIGSTOP])
def test_another_machine_finishes_what_the_first_had_accepted(
    loss: signal.Signals, postgres_server: str, new_url: NewUrl, tmp_path: Path
) -> None:
    """One that was merely cut off (stopped, and back later) finds that it is over and leaves, and writes nothing."""
    url = new_url("postgres")
    with ExitStack() as stack:
        first, client = stack.enter_context(machine(url, tmp_path, "one"))
        accepted = submit_all(client)
        first.send_signal(loss)
        _, client = stack.enter_context(machine(url, tmp_path, "two"))
        views = [client.wait(id, timeout=60)[0] for id in accepted]
        assert {view.status for view in views} == {"SUCCEEDED"}
        assert any(view.actual_nodes[0].startswith("two") for view in views), "nothing was left to finish"
        if loss is signal.SIGSTOP:
            before = len(events_of(url))
            first.send_signal(signal.SIGCONT)
            assert first.wait(30) == 0
            late = [event for _, event in events_of(url)[before:]]
            assert not any(isinstance(event, Submitted | Finished) for event in late)
    events = [event for _, event in events_of(url)]
    assert [event.epoch for event in events if isinstance(event, EpochStarted)] == [1, 2]
    assert Counter(event.workload for event in events if isinstance(event, Finished)) == dict.fromkeys(accepted, 1)
