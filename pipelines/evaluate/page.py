"""The report as one page that needs nothing else: tables and plots for people."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.evaluate.metrics import METRICS, better
from pipelines.evaluate.plots import bars, density, heat, intervals, lines

MOST_SHOWN = 6
"""Metrics of slices that are drawn; all of them stand in the JSON."""
MOST_IN_TABLE = 30

STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2128; background: #fff; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem } h3 { font-size: 1rem }
.about { color: #57606a } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .28rem .7rem; text-align: right; border-bottom: 1px solid #e4e8ec } th { font-weight: 600 }
td:first-child, th:first-child { text-align: left } .left td, .left th { text-align: left }
.held { color: #1a7f37; font-weight: 600 } .missed { color: #c92a2a; font-weight: 600 }
.verdict { padding: .7rem 1rem; border-radius: 6px; background: #eef6ee; margin: 1rem 0 } .verdict.bad { background: #fdeeee }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem } .plots > div { flex: 1 1 20rem; max-width: 26rem }
svg text { font: 13px system-ui, sans-serif; fill: #1c2128 } svg .tick { fill: #57606a; font-size: 12px }
svg .frame { fill: none; stroke: #adb5bd } svg .grid { stroke: #eef0f2 } svg .guide { stroke: #868e96; stroke-dasharray: 4 4; fill: none }
svg .range { stroke: #1f6feb; stroke-width: 3; opacity: .45 } .square { width: 100% } .wide { width: 100%; max-width: 52rem }
.legend { font-size: 13px } .key { margin-right: 1rem; white-space: nowrap } .key i { display: inline-block; width: .8rem; height: .8rem; margin-right: .35rem; border-radius: 2px }
.heat { font-size: 13px } .heat td, .heat th { text-align: center; padding: .3rem .55rem } .scroll { overflow-x: auto }
"""  # noqa: E501  # a rule a line


def page(report: Mapping[str, Any]) -> str:
    """Return the report of ``report_of`` as HTML."""
    title = f"{report['model']} on {report['data']}"
    body = "\n".join(part for section in _sections(report) for part in section)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _sections(report: Mapping[str, Any]) -> Iterator[Iterator[str]]:
    yield _head(report)
    yield _gates(report)
    yield _scores(report)
    if report["baseline"] is not None:
        yield _comparison(report)
    if report.get("confusion") is not None:
        yield _confusion(report)
    if report.get("curves"):
        yield _curves(report)
    if report.get("table"):
        yield _table_of_values(report)
    if report["slices"]:
        yield _slices(report)
    if report["attributions"]:
        yield _attributions(report["attributions"])
    yield _method(report)


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    what = "groups" if report.get("group") else "rows"
    yield f"<h1>{html.escape(report['model'].partition('://')[2])}</h1>"
    against = f", compared with {report['baseline'].partition('://')[2]}" if report["baseline"] else ""
    skipped = f"; {report['unlabelled']:,} rows without a target left out" if report["unlabelled"] else ""
    about = f"{report['task']} of {report['target']}, {report['rows']:,} {what} of {report['data']} ({report['side']})"
    yield f'<p class="about">{html.escape(about + against + skipped)}</p>'
    if report["compare_to"] and not report["baseline"]:
        called = html.escape(report["compare_to"])
        yield f'<p class="about">No version is called {called} yet: nothing to compare with.</p>'


def _gates(report: Mapping[str, Any]) -> Iterator[str]:
    if not report["gates"]:
        return
    n, n_missed = len(report["gates"]), len(report["missed"])
    promoted = f" The alias {report['promote']} goes to it." if report["promote"] and not n_missed else ""
    kept = f" The alias {report['promote']} does not move." if report["promote"] and n_missed else ""
    what = f"{n_missed} of {n} gates missed.{kept}" if n_missed else f"All {n} gates held.{promoted}"
    yield f'<div class="verdict{" bad" if n_missed else ""}">{html.escape(what)}</div>'
    yield '<table class="left"><tr><th>gate</th><th>on</th><th>asks</th><th></th><th>because</th></tr>'
    for one in report["gates"]:
        mark = '<span class="held">held</span>' if one["held"] else '<span class="missed">missed</span>'
        cells = [html.escape(one[key] or "all rows") for key in ("metric", "slice", "asks")]
        cells += [mark, html.escape(one["why"])]
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table>"


def _scores(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Metrics</h2>"
    level = f"{report['intervals']['confidence']:.0%} interval"
    yield f"<table><tr><th>metric</th><th>value</th><th>{level}</th><th></th></tr>"
    for name in report["shown"]:
        if name in report["scores"]:
            way = "more is better" if better(name) > 0 else "less is better"
            yield f"<tr><td>{html.escape(name)}</td>{_cells(report['scores'][name])}<td class='about'>{way}</td></tr>"
    yield "</table>"
    classes = report["classes"] or []
    by_class = (
        [name for name, one in METRICS.items() if one.by_class and f"{name}[{classes[0]}]" in report["scores"]]
        if classes
        else []
    )
    if by_class:
        yield f"<h3>By class</h3><table><tr><th>class</th>{''.join(f'<th>{name}</th>' for name in by_class)}</tr>"
        for one in classes[:MOST_IN_TABLE]:
            values = "".join(f"<td>{_short(report['scores'].get(f'{name}[{one}]'))}</td>" for name in by_class)
            mark = " (positive)" if one == report.get("positive") else ""
            yield f"<tr><td>{html.escape(one)}{mark}</td>{values}</tr>"
        yield "</table>"


def _comparison(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>Against {html.escape(report['baseline'].partition('://')[2])}</h2>"
    rows = [(name, _better_in(one), one) for name in report["shown"] if (one := report["differences"].get(name))]
    yield "<p class='about'>The model less the baseline, on the same rows. The dashed line is no difference.</p>"
    for way, title in ((1, "more is better"), (-1, "less is better")):
        chosen = [row for row in rows if better(row[0]) == way]
        if chosen:
            yield f"<h3>{title}</h3>{intervals(chosen, None, zero=True)}"


def _confusion(report: Mapping[str, Any]) -> Iterator[str]:
    classes, matrix = report["confusion"]["classes"], report["confusion"]["matrix"]
    yield "<h2>Confusion matrix</h2>"
    if len(classes) > MOST_IN_TABLE:
        yield f"<p>{len(classes)} classes: the first {MOST_IN_TABLE} here, all in report.json.</p>"
        classes, matrix = classes[:MOST_IN_TABLE], [row[:MOST_IN_TABLE] for row in matrix[:MOST_IN_TABLE]]
    yield f'<div class="scroll">{heat(matrix, classes)}</div>'


def _curves(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Curves and calibration</h2><div class='plots'>"
    binary = report.get("positive") is not None
    curves = {
        (role if binary else name): points
        for role, by_class in report["curves"].items()
        if binary or role == "model"
        for name, points in by_class.items()
    }
    for title, key, x, y in (
        ("ROC", "roc", "false positive rate", "true positive rate"),
        ("Precision and recall", "pr", "recall", "precision"),
    ):
        drawn = lines({name: points[key] for name, points in curves.items()}, x, y, diagonal=key == "roc")
        yield f"<div><h3>{title}</h3>{drawn}</div>"
    found = report["calibration"]
    points = [[a, b] for n, a, b in zip(found["rows"], found["confidence"], found["right"], strict=True) if n]
    of = f"probability of {report['positive']}" if binary else "confidence of the answer"
    right = f"share that is {report['positive']}" if binary else "share that is right"
    yield f"<div><h3>Calibration</h3>{lines({'model': points}, of, right, diagonal=True, dots=True)}</div></div>"


def _table_of_values(report: Mapping[str, Any]) -> Iterator[str]:
    table = report["table"]
    yield "<h2>Expected and predicted</h2><div class='plots'><div>"
    yield f"{density(table['rows'], table['low'], table['high'])}</div></div>"


def _slices(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Slices</h2>"
    for name in [one for one in report["shown"] if one in report["scores"]][:MOST_SHOWN]:
        rows = [
            (one["slice"], f"{one['scores'][name]['value']:.4f} · {one['rows']:,} rows", one["scores"][name])
            for one in report["slices"]
            if name in one["scores"]
        ]
        if rows:
            yield f"<h3>{html.escape(name)}</h3>{intervals(rows, report['scores'][name]['value'])}"
    empty = [one["slice"] for one in report["slices"] if not one["rows"]]
    if empty:
        yield f"<p class='about'>Without rows: {html.escape(', '.join(empty))}.</p>"


def _attributions(found: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>What it goes by</h2>"
    yield f"<p class='about'>{html.escape(found['about'])}</p>"
    yield bars({one["feature"]: one["mean_absolute"] for one in found["features"][:20]})


def _method(report: Mapping[str, Any]) -> Iterator[str]:
    found = report["intervals"]
    yield "<h2>How</h2>"
    if found["replicates"]:
        how = f"{found['confidence']:.0%} intervals from {found['replicates']} replicates: {found['method']}."
        yield f"<p class='about'>{html.escape(how)}</p>"
    if report["task"] == "classification":
        yield (
            "<p class='about'>Areas under curves come from counts in 4,096 steps of the score, calibration from 15 "
            "ranges of confidence. Precision, recall and F1 without a class are means over classes.</p>"
        )


def _cells(one: Mapping[str, float]) -> str:
    ends = f"{one['low']:.4f} to {one['high']:.4f}" if "low" in one else ""
    return f"<td>{one['value']:.4f}</td><td>{ends}</td>"


def _short(one: Mapping[str, float] | None) -> str:
    return "" if one is None else f"{one['value']:.4f}"


def _better_in(one: Mapping[str, float]) -> str:
    share = f"   better in {one['better_in']:.0%}" if "better_in" in one else ""
    return f"{one['value']:+.4f}{share}"
