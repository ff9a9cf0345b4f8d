"""Every part of the kernel has its mutant: break one at a time, and see at which seed the simulator notices.

``python -m benchmarks.kernel_mutants [WORD ...]`` applies the table of ``kernel_mutations``, one at a time and in
memory only. Each mutant plays the schedules of faults (``tests/sim``) from seed 0 on until an invariant is violated, or
``--seeds`` of them are over. What the simulator does not run (the fences on a real disk, the SQL store) is judged by
the tests named with it. A word chooses mutants whose file or bug contains it. ``--markdown`` prints the table of
``docs/reliability.md``. Exit status 1 where less than 95 % are noticed, or a mutant no longer applies.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from benchmarks.kernel_mutations import MUTANTS
from benchmarks.mutants import ENOUGH, ROOT, hook, mutated, preload
from benchmarks.mutations import Mutation

CPU_S = 900
"""CPU seconds that one mutant may use: one that goes on for ever counts as noticed."""
SEEDS = 5_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a mutant: ``by`` which invariant or test it was noticed, ``survived``, or ``gone``."""

    mutant: Mutation
    word: str
    by: str = ""
    seed: int | None = None
    what: str = ""
    cpu_s: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose file or bug contains one of these")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"most schedules for each (default {SEEDS})")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default 2)")
    parser.add_argument("--markdown", action="store_true", help="print the table for the documentation at the end")
    options = parser.parse_args(arguments)
    words = options.words or [""]
    chosen = [m for m in MUTANTS if any(word in f"{m.file} {m.law}" for word in words)]
    preload()
    verdicts = []
    for verdict in judged(chosen, max(1, options.jobs), options.seeds):
        verdicts.append(verdict)
        print(_line(verdict), flush=True)
    if options.markdown:
        print(_table(sorted(verdicts, key=lambda v: MUTANTS.index(v.mutant))))
    n_noticed = sum(v.word == "noticed" for v in verdicts)
    by_seed = sorted(v.seed for v in verdicts if v.seed is not None)
    print(f"noticed {n_noticed} of {len(verdicts)} ({n_noticed / max(1, len(verdicts)):.0%})", end="")
    print(f"; by the simulator at seed {by_seed[len(by_seed) // 2]} (median), {by_seed[-1]} (last)" if by_seed else "")
    gone = any(v.word in ("gone", "broken") for v in verdicts)
    return 0 if n_noticed >= ENOUGH * len(verdicts) and not gone else 1


def judged(mutants: Sequence[Mutation], jobs: int, n_seeds: int) -> Iterator[Verdict]:
    """Run the mutants, so many at a time, each in a child process."""
    running: dict[int, tuple[Mutation, int]] = {}
    waiting = list(reversed(mutants))
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            if mutated(mutant) is None:
                yield Verdict(mutant, "gone", what="the source has changed: point it at the rule again")
            else:
                child, pipe = _start(mutant, n_seeds)
                running[child] = mutant, pipe
        if running:
            child, status, usage = os.wait3(0)
            mutant, pipe = running.pop(child)
            with os.fdopen(pipe) as answer:
                said = answer.read()
            cpu_s = usage.ru_utime + usage.ru_stime
            yield Verdict(mutant, **json.loads(said), cpu_s=cpu_s) if said else _unsaid(mutant, status, cpu_s)


def _unsaid(mutant: Mutation, status: int, cpu_s: float) -> Verdict:
    ended = os.waitstatus_to_exitcode(status)
    endless = cpu_s >= CPU_S - 1
    return Verdict(mutant, "noticed" if endless else "broken", "endless", None, f"ended with {ended}", cpu_s)


def _start(mutant: Mutation, n_seeds: int) -> tuple[int, int]:
    """Judge a mutant in a child process; return its number, and where its answer can be read."""
    sys.stdout.flush()
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        return child, ours
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        hook(mutant)
        answer = _by_tests(mutant.tests) if mutant.tests else _by_the_simulator(n_seeds)
        with os.fdopen(theirs, "w") as out:
            json.dump(answer, out)
    finally:
        os._exit(0)


def _by_the_simulator(n_seeds: int) -> dict[str, object]:
    """Play schedules until one is violated; say by what and at which seed."""
    play: Callable[[range], object]
    from tests.sim.schedules import play  # only now: with the mutant in place

    for seed in range(n_seeds):
        wrong = play(range(seed, seed + 1)).wrong
        if wrong:
            what = re.sub(r"^AssertionError: seed \d+ at t=\S+: ", "", wrong[seed])
            law = re.match(r"[IL]\d+", what)
            return {"word": "noticed", "by": law.group() if law else "error", "seed": seed, "what": what}
    return {"word": "survived"}


def _by_tests(tests: Sequence[str]) -> dict[str, object]:
    import pytest

    os.chdir(ROOT)
    quiet = io.StringIO()
    plain = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--hypothesis-seed=0", "--no-header", "--tb=no"]
    with redirect_stdout(quiet), redirect_stderr(quiet):
        ended = int(pytest.main([*plain, *(str(ROOT / "tests" / f"{name}.py") for name in tests)]))
    if ended == 0:
        return {"word": "survived"}
    failed = re.search(r"FAILED (\S+?)::(\S+)", quiet.getvalue())
    return {"word": "noticed", "by": failed.group(2) if failed else "a test", "what": failed.group(1) if failed else ""}


def _line(verdict: Verdict) -> str:
    m = verdict.mutant
    at = f" at seed {verdict.seed}" if verdict.seed is not None else ""
    by = f" by {verdict.by}{at}" if verdict.by else ""
    return f"{verdict.word:8}{by}, {verdict.cpu_s:.1f} s  {m.file}: {m.law}\n    {verdict.what[:160]}"


def _table(verdicts: Sequence[Verdict]) -> str:
    rows = ["| where | what is broken | noticed by | at seed |", "|---|---|---|---|"]
    for v in verdicts:
        by = f"`{v.by}`" if v.mutant.tests else v.by
        rows.append(f"| `{v.mutant.file}` | {v.mutant.law} | {by or v.word} | {'' if v.seed is None else v.seed} |")
    return "\n".join(rows)


if __name__ == "__main__":
    began = time.monotonic()
    ended = main()
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(ended)
