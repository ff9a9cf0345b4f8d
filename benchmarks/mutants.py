"""Every rule has its mutant: break one at a time, and see whether the tests that guard it notice.

``python -m benchmarks.mutants [WORD ...]`` applies the table below, one mutation at a time and in memory only, and runs
for each the tests named with it. A word chooses the mutations whose file or law contains it. Exit status 1 where a
mutation survives or no longer applies.

Each mutant is a child process that has the heavy libraries loaded already, reads the changed source through an import
hook, and may use so many CPU seconds: one that goes on for ever counts as noticed.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, ModuleType

from benchmarks.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "placement"
CPU_S = 30
"""CPU seconds of one mutant's tests."""
ENOUGH = 0.95
"""Part of the mutants that must be noticed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one mutant: ``noticed``, ``survived``, or ``gone`` where the source has changed."""

    mutation: Mutation
    word: str
    cpu_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations whose file or law contains one of these")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default 2)")
    options = parser.parse_args(arguments)
    words = options.words or [""]
    chosen = [m for m in MUTATIONS if any(word in f"{m.file} {m.law}" for word in words)]
    preload()
    if broken := failing_without(chosen, options.jobs):
        print(f"left out, for they fail without any mutation: {' '.join(sorted(broken))}", flush=True)
        left = [replace(m, tests=tuple(name for name in m.tests if name not in broken)) for m in chosen]
        chosen = [m for m in left if m.tests]
    verdicts = judged(chosen, max(1, options.jobs))
    n_noticed = sum(v.word == "noticed" for v in verdicts)
    print(f"noticed {n_noticed} of {len(verdicts)} ({n_noticed / max(1, len(verdicts)):.0%})")
    return (
        0 if not broken and n_noticed >= ENOUGH * len(verdicts) and not any(v.word == "gone" for v in verdicts) else 1
    )


def preload() -> None:
    """Load what every test needs and no mutation touches, so that children start at once."""
    for name in ("hypothesis", "numpy", "ortools.linear_solver.pywraplp", "ortools.sat.python.cp_model", "pytest"):
        importlib.import_module(name)


def failing_without(mutations: Sequence[Mutation], jobs: int) -> set[str]:
    """Return the test files that fail as the source is, read through the same hook."""
    control = {name: replace(m, new=m.old) for m in mutations if mutated(m) is not None for name in m.tests}
    waiting, running, out = sorted(control), dict[int, str](), set[str]()
    while waiting or running:
        while waiting and len(running) < max(1, jobs):
            name = waiting.pop(0)
            running[_start(control[name], (name,))] = name
        child, status = os.wait()
        name = running.pop(child)
        if os.waitstatus_to_exitcode(status) != 0:
            out.add(name)
    return out


def judged(mutations: Sequence[Mutation], jobs: int) -> list[Verdict]:
    """Run the mutants, so many at a time, and print each as it ends."""
    out: list[Verdict] = []
    running: dict[int, Mutation] = {}
    waiting = list(reversed(mutations))
    while waiting or running:
        while waiting and len(running) < jobs:
            mutation = waiting.pop()
            if mutated(mutation) is None:
                out.append(_said(Verdict(mutation, "gone", 0.0)))
            else:
                running[_start(mutation, mutation.tests)] = mutation
        if running:
            child, status, usage = os.wait3(0)
            mutation = running.pop(child)
            word = "survived" if os.waitstatus_to_exitcode(status) == 0 else "noticed"
            out.append(_said(Verdict(mutation, word, usage.ru_utime + usage.ru_stime)))
    return out


def _said(verdict: Verdict) -> Verdict:
    m = verdict.mutation
    hint = "; point it at the rule again" if verdict.word == "gone" else ""
    print(f"{verdict.word:8} {verdict.cpu_s:5.1f} s  {m.file}: {m.law}: {m.old!r} -> {m.new!r}{hint}", flush=True)
    return verdict


def mutated(mutation: Mutation) -> str | None:
    """Return the changed source, or None where the text to change is not there exactly once."""
    source = (ROOT / mutation.file).read_text(encoding="utf-8")
    return source.replace(mutation.old, mutation.new) if source.count(mutation.old) == 1 else None


def _start(mutation: Mutation, tests: Sequence[str]) -> int:
    """Run test files in a child process; return its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        hook(mutation)
        status = _tested(tests)
    finally:
        os._exit(status)


def _tested(tests: Sequence[str]) -> int:
    import pytest

    os.chdir(ROOT)
    quiet = io.StringIO()
    plain = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--hypothesis-seed=0", "--no-header"]
    with redirect_stdout(quiet), redirect_stderr(quiet):
        return int(pytest.main([*plain, *(str(TESTS / f"{name}.py") for name in tests)]))


def hook(mutation: Mutation) -> None:
    """Have this process read the changed source where it imports the module; it must not be loaded yet."""
    hooked = _Hook(mutation)
    assert hooked.name not in sys.modules, f"{hooked.name} is loaded already"
    sys.meta_path.insert(0, hooked)


class _Hook(importlib.abc.MetaPathFinder):
    """Finds one module with its source changed."""

    def __init__(self, mutation: Mutation) -> None:
        self.name = mutation.file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.path, self.source = str(ROOT / mutation.file), mutated(mutation)

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.name or self.source is None:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=_Loader(name, self.path, self.source))


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the changed source instead of the file's; nothing is cached."""

    def __init__(self, name: str, path: str, changed: str) -> None:
        super().__init__(name, path)
        self.changed = changed

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.changed, self.path, "exec")


if __name__ == "__main__":
    began = time.monotonic()
    ended = main()
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(ended)
