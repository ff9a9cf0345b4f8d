"""Writers of a log that are killed at random moments, each checked against what it had acknowledged.

Run as a process of its own (``python -m tests.support.kills URL N SEED``), which prints what it found as JSON: it forks
the writers from one interpreter that has everything loaded, so that hundreds of kills cost seconds.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
from dataclasses import asdict, dataclass

from aios.kernel.events import Event, Waits, WorkloadId
from aios.store.sql import SqlLog

BATCH = 3
LONGEST_S = 0.06


@dataclass
class Found:
    """What is left after the kills; all but the first three must be 0."""

    kills: int = 0
    acknowledged: int = 0
    in_the_log: int = 0
    lost: int = 0
    torn: int = 0
    changed: int = 0
    snapshots_lost: int = 0


def event(n: int) -> Event:
    return Waits(float(n), WorkloadId(f"w-{n % 3}"), "capacity", f"event {n}")


def main(url: str, n_kills: int, seed: int) -> Found:
    """Kill ``n_kills`` writers of the log at ``url`` and return what was found."""
    chance, found, last = random.Random(seed), Found(), 0
    SqlLog(url).close()
    for _ in range(n_kills):
        acknowledged, saved = _killed(url, last, chance.uniform(0.0, LONGEST_S))
        found.kills += 1
        found.acknowledged += max(0, acknowledged - last)
        log = SqlLog(url)
        read = list(log.read(last))
        snapshot = log.load_snapshot()
        log.close()
        found.lost += max(0, acknowledged - last - len(read))
        found.torn += len(read) % BATCH != 0
        found.changed += sum(one != (n, event(n)) for n, one in enumerate(read, start=last + 1))
        found.snapshots_lost += saved > 0 and (snapshot is None or snapshot.sequence < saved)
        last += len(read)
    log = SqlLog(url)
    found.in_the_log = sum(1 for _ in log.read())
    log.close()
    return found


def _killed(url: str, last: int, after_s: float) -> tuple[int, int]:
    """Let a writer go on from event ``last``, kill it; return the last event and snapshot that it acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _write(url, last, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = os.read(reading, 8)  # it has begun
        select.select([], [], [], after_s)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        said += pipe.read()
    acknowledged = saved = 0
    for idx in range(8, len(said) - len(said) % 8, 8):
        number = int.from_bytes(said[idx : idx + 8], "big", signed=True)
        acknowledged, saved = (number, saved) if number > 0 else (acknowledged, -number)
    return acknowledged, saved


def _write(url: str, last: int, pipe: int) -> None:
    """Append and say so, for ever; every tenth time keep a snapshot."""
    log = SqlLog(url)
    epoch, body = log.begin(), b"x" * 20_000
    os.write(pipe, bytes(8))
    while True:
        last = log.append(epoch, [event(n) for n in range(last + 1, last + 1 + BATCH)])
        os.write(pipe, last.to_bytes(8, "big"))
        if last % (10 * BATCH) == 0:
            log.save_snapshot(epoch, last, body)
            os.write(pipe, (-last).to_bytes(8, "big", signed=True))


if __name__ == "__main__":
    print(json.dumps(asdict(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
