"""The report of a comparison: plots by matplotlib, and one page that holds them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aios.replay import Replayed
from placement.model import total
from placement.sim.metrics import finish_time_fairness
from placement.sim.timeline import held, waiting
from placement.throughput import units

HOUR_S = 3600.0
N_POINTS = 600
_STYLES = ("-", "--", "-.", ":")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #1c2330; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ padding: .25rem .9rem; border-bottom: 1px solid #dde2ea; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
td.best {{ font-weight: 600; color: #0a7d38; }}
figure {{ display: inline-block; margin: .5rem 0; }}
img {{ max-width: 33rem; width: 100%; }}
</style></head><body>
<h1>{title}</h1>
<p>{facts}</p>
<table><thead><tr><th></th>{head}</tr></thead><tbody>
{rows}
</tbody></table>
{figures}
</body></html>
"""


def plots(done: Sequence[Replayed]) -> dict[str, bytes]:
    """Return each plot as a PNG, by its name."""
    draws: dict[str, Callable[[Axes, Sequence[Replayed]], None]] = {
        "jct": _jct,
        "waiting": _waiting,
        "utilisation": _utilisation,
        "rho": _rho,
    }
    return {name: _png(draw, done) for name, draw in draws.items()}


def _png(draw: Callable[[Axes, Sequence[Replayed]], None], done: Sequence[Replayed]) -> bytes:
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    draw(axes, done)
    axes.grid(alpha=0.3)
    if len(done) > 1:
        axes.legend(fontsize=8, frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130, metadata={"Software": ""})
    return out.getvalue()


def _jct(axes: Axes, done: Sequence[Replayed]) -> None:
    hours = {one.policy: [r.jct_s / HOUR_S for r in one.history.records if r.jct_s is not None] for one in done}
    _cumulative(axes, hours)
    axes.set(title="Job completion time", xlabel="hours (logarithmic)", ylabel="part of the jobs", xscale="log")


def _waiting(axes: Axes, done: Sequence[Replayed]) -> None:
    for idx, one in enumerate(done):
        times = _times(one)
        queue = waiting(one.history.records)
        axes.plot(
            [at_s / HOUR_S for at_s in times],
            [queue.at(at_s) for at_s in times],
            _STYLES[idx % len(_STYLES)],
            label=one.policy,
            linewidth=1.3,
        )
    axes.set(title="Jobs that wait", xlabel="hours", ylabel="jobs", ylim=(0, None))


def _utilisation(axes: Axes, done: Sequence[Replayed]) -> None:
    for idx, one in enumerate(done):
        times, use = _times(one), held(one.history.records)
        size = units(total(node.resources for node in one.history.nodes)) or 1.0
        means = [use.mean(*pair) / size for pair in pairwise(times)]
        hours = [at_s / HOUR_S for at_s in times[1:]]
        axes.plot(hours, means, _STYLES[idx % len(_STYLES)], label=one.policy, linewidth=1.3)
    axes.set(title="Accelerators in use", xlabel="hours", ylabel="part of the cluster", ylim=(0, 1.02))


def _rho(axes: Axes, done: Sequence[Replayed]) -> None:
    found = {}
    for one in done:
        size = units(total(node.resources for node in one.history.nodes))
        found[one.policy] = list(finish_time_fairness(one.history.records, size).values())
    _cumulative(axes, found)
    axes.axvline(1.0, color="0.5", linewidth=0.8)
    axes.set(title="Finish-time fairness", xlabel="rho (1 is fair)", ylabel="part of the jobs", xscale="log")


def _cumulative(axes: Axes, values_by_name: Mapping[str, Sequence[float]]) -> None:
    for idx, (name, values) in enumerate(values_by_name.items()):
        parts = [(i + 1) / len(values) for i in range(len(values))]
        axes.plot(sorted(values), parts, _STYLES[idx % len(_STYLES)], label=name, linewidth=1.3)
    axes.set_ylim(0, 1.02)


def _times(one: Replayed) -> list[float]:
    ends = [stay.until_s for record in one.history.records for stay in record.stays]
    first_s, last_s = min(record.submitted_s for record in one.history.records), max(ends, default=1.0)
    return [first_s + (last_s - first_s) * i / N_POINTS for i in range(N_POINTS + 1)]


def page(
    title: str,
    facts: Mapping[str, Any],
    policies: Sequence[str],
    cells: Sequence[Sequence[Any]],
    drawn: Mapping[str, bytes],
) -> str:
    """Return one page of HTML with the table and the plots in it.

    Parameters
    ----------
    cells : sequence of (title, (text, whether it is the best), ...)
        The rows of the table.
    """
    trace, cluster = facts["trace"], facts["cluster"]
    load = "" if trace["load"] is None else f" at {trace['load']:.0%} load"
    told = (
        f"{trace['jobs']} jobs{load} on {cluster['name']} ({cluster['nodes']} nodes), {facts['estimates']} run times, "
        f"seed {facts['seed']}."
    )
    if trace["left_out"]:
        told += f" {len(trace['left_out'])} jobs larger than the cluster are left out."
    rows = "\n".join(
        "<tr><td>{}</td>{}</tr>".format(
            escape(row[0]),
            "".join(f"<td{' class=best' if best else ''}>{escape(text)}</td>" for text, best in row[1:]),
        )
        for row in cells
    )
    figures = "\n".join(
        f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></figure>'
        for name, png in drawn.items()
    )
    head = "".join(f"<th>{escape(policy)}</th>" for policy in policies)
    return _PAGE.format(title=escape(title), facts=escape(told), head=head, rows=rows, figures=figures)
