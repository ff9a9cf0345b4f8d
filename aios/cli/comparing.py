"""What several policies made of one trace, side by side: a table in the terminal, and a report with plots."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aios.cli.options import Options
from aios.cli.output import seconds
from aios.errors import AiosError, InvalidSpec
from aios.replay import Replayed


@dataclass(frozen=True, slots=True)
class Line:
    """One measure as people read it; ``better`` is -1 where less is better, 1 where more is, 0 where neither."""

    name: str
    title: str
    unit: Callable[[Any], str]
    better: int = -1


def _part(value: float) -> str:
    return f"{value:.1%}"


def _milli(value: float) -> str:
    return f"{value * 1000:.1f} ms"


def _plain(value: float) -> str:
    return f"{value:.2f}"


LINES = (
    Line("n_finished", "jobs ended", str, 1),
    Line("jct_mean_s", "JCT mean", seconds),
    Line("jct_p50_s", "JCT p50", seconds),
    Line("jct_p95_s", "JCT p95", seconds),
    Line("jct_p99_s", "JCT p99", seconds),
    Line("makespan_s", "makespan", seconds),
    Line("wait_mean_s", "waiting mean", seconds),
    Line("wait_p99_s", "waiting p99", seconds),
    Line("utilisation", "utilisation", _part, 1),
    Line("saturated_allocation", "allocation when full", _part, 1),
    Line("fragmentation", "fragmentation", _part),
    Line("rho_worst", "rho worst", _plain),
    Line("rho_mean", "rho mean", _plain),
    Line("rho_above_1", "rho above 1", _part),
    Line("jain", "Jain's index", lambda value: f"{value:.3f}", 1),
    Line("preemptions", "preemptions", str),
    Line("wasted", "wasted", lambda value: f"{value:.2%}"),
    Line("plans", "plans", str, 0),
    Line("plan_mean_s", "plan mean", _milli),
    Line("plan_p95_s", "plan p95", _milli),
    Line("plan_max_s", "plan max", _milli),
)
"""Every measure that is shown, in its order; ``placement.sim.metrics`` says what each means."""


def table(options: Options, done: Sequence[Replayed]) -> str:
    """Return the measures as rows and the policies as columns; the best of several is bold."""
    from rich.console import Console
    from rich.table import Table

    grid = Table("", *(one.policy for one in done), header_style="bold" if options.color else "")
    for column in grid.columns[1:]:
        column.justify = "right"
    for line in LINES:
        best = _best(line, done)
        cells = [_cell(line, one, best) for one in done]
        grid.add_row(line.title, *(f"[bold green]{text}[/]" if good else text for text, good in cells))
    width = 26 + sum(max(14, len(one.policy) + 4) for one in done)
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=_colored(options), no_color=not options.color)
    console.print(grid)
    return out.getvalue().rstrip("\n")


def _colored(options: Options) -> bool:
    import sys

    return options.color and sys.stdout.isatty()


def _best(line: Line, done: Sequence[Replayed]) -> float | None:
    values: list[float] = [value for one in done if (value := getattr(one.metrics, line.name)) is not None]
    if line.better == 0 or len(values) < 2 or min(values) == max(values):
        return None
    return max(values) if line.better > 0 else min(values)


def _cell(line: Line, one: Replayed, best: float | None) -> tuple[str, bool]:
    value = getattr(one.metrics, line.name)
    return ("-", False) if value is None else (line.unit(value), best is not None and value == best)


def refuse_without_plots() -> None:
    """Raise where plots cannot be drawn, before anything has run."""
    if importlib.util.find_spec("matplotlib") is None:
        raise AiosError("--report draws plots, and matplotlib is not installed", hint="pip install 'aios[plots]'")


def write_report(folder: Path, title: str, facts: Mapping[str, Any], done: Sequence[Replayed]) -> Path:
    """Write ``index.html``, which needs no other file, and the plots as PNG; return the page's path."""
    from aios.cli.report import page, plots

    try:
        folder.mkdir(parents=True, exist_ok=True)
        drawn = plots(done)
        for name, png in drawn.items():
            (folder / f"{name}.png").write_bytes(png)
        index = folder / "index.html"
        cells = [[line.title, *(_cell(line, one, _best(line, done)) for one in done)] for line in LINES]
        index.write_text(page(title, facts, [one.policy for one in done], cells, drawn), encoding="utf-8")
    except OSError as error:
        raise InvalidSpec(f"--report {folder}: {error.strerror}", hint="name a folder that can be written") from None
    return index
