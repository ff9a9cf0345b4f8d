"""The report as one HTML page that needs nothing else: the front plotted, and the table behind it."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 380, 70, 50, 20, 150
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.35rem .6rem;text-align:right;
border-bottom:1px solid #d8dee4}th:first-child,td:first-child,td.text{text-align:left}
td{white-space:nowrap}td.text{white-space:normal;min-width:12rem}tr.rejected{color:#8a4b08}
tr.taken{background:#eaf5ea;font-weight:600}.wide{overflow-x:auto}svg{max-width:100%;height:auto}h1{font-size:1.5rem}
@media(prefers-color-scheme:dark){body{background:#15181c;color:#e6e8ea}th,td{border-color:#363c43}
tr.taken{background:#1d3323}tr.rejected{color:#e0a860}svg text{fill:#e6e8ea}}
"""


def page(report: Mapping[str, Any]) -> str:
    rows = report["variants"]
    what = html.escape(report["metric"])
    facts = (
        f"<p>{html.escape(report['model'])} on the test part of {html.escape(report['data'])} "
        f"({report['rows']} rows), one thread of a CPU. All latencies are of one run in which the variants took turns. "
        f"Taken: <b>{html.escape(report['taken'])}</b>.</p>"
    )
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(report['name'])}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head><body>"
        f"<h1>{html.escape(report['name'])}: variants of {html.escape(report['model'])}</h1>{facts}"
        f"{plot(rows, report['front'], report['taken'], what)}{_table(rows, report['taken'], what)}</body></html>\n"
    )


def plot(rows: Sequence[Mapping[str, Any]], front: Sequence[str], taken: str, what: str) -> str:
    """Return the variants as an SVG: latency of one row (logarithmic) against the score, and the front as a line."""
    xs = [math.log10(row["latency_us"]) for row in rows]
    ys = [row["score"] for row in rows]
    (x0, x1), (y0, y1) = _room(xs, 0.1), _room(ys, 0.002)

    def at(row: Mapping[str, Any]) -> tuple[float, float]:
        x = LEFT + (math.log10(row["latency_us"]) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - (row["score"] - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP)

    by_name = {row["name"]: row for row in rows}
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(by_name[name]) for name in front))
    parts = [f"<polyline points='{line}' fill='none' stroke='#2f7d4f' stroke-width='2' stroke-dasharray='5 4'/>"]
    labels: list[tuple[float, float]] = []
    for row in rows:
        x, y = at(row)
        color = "#b35900" if row["rejected"] else "#2f7d4f" if row["name"] in front else "#57606a"
        mark = f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{8 if row['name'] == taken else 5}' fill='{color}'/>"
        down = y + 4
        while any(abs(down - other) < 13 and abs(x - left) < 110 for left, other in labels):
            down += 13
        labels.append((x, down))
        parts.append(f"{mark}<text x='{x + 10:.1f}' y='{down:.1f}'>{html.escape(row['name'])}</text>")
    for i in range(5):
        y_value, x_value = y0 + (y1 - y0) * i / 4, 10 ** (x0 + (x1 - x0) * i / 4)
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * i / 4
        x = LEFT + (WIDTH - LEFT - RIGHT) * i / 4
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#8884'/>")
        parts.append(f"<text x='{LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{y_value:.3f}</text>")
        parts.append(f"<text x='{x:.1f}' y='{HEIGHT - BOTTOM + 20}' text-anchor='middle'>{x_value:.0f}</text>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f"<text x='{middle}' y='{HEIGHT - 8}' text-anchor='middle'>µs for one row (p50)</text>")
    parts.append(f"<text x='14' y='{HEIGHT / 2}' transform='rotate(-90 14 {HEIGHT / 2})'>{what}</text>")
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' font-size='12' aria-label='{what} against latency'>"
        f"{''.join(parts)}</svg>"
    )


def _room(values: Sequence[float], least: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    more = max((high - low) * 0.1, least)
    return low - more, high + more


def _table(rows: Sequence[Mapping[str, Any]], taken: str, what: str) -> str:
    head = [
        "variant",
        what,
        "1 row, p50",
        "p99",
        "32 rows, p50",
        "p99",
        "rows/s",
        "size",
        "memory",
        "faster",
        "smaller",
    ]
    lines = []
    for row in rows:
        one, many = row["latency"]["1"], row["latency"]["32"]
        cells = [
            f"{row['score']:.4f}", f"{one['p50_us']:.0f} µs", f"{one['p99_us']:.0f} µs", f"{many['p50_us']:.0f} µs",
            f"{many['p99_us']:.0f} µs", f"{row['rows_per_s']:,.0f}", f"{row['size_bytes'] / 1024:,.0f} KiB",
            f"{row['memory_bytes'] / 2**20:.1f} MiB", f"{row['faster']:.2f}×", f"{row['smaller']:.2f}×",
        ]  # fmt: skip
        style = "taken" if row["name"] == taken else "rejected" if row["rejected"] else ""
        said = html.escape(row["rejected"] or row.get("note") or "")
        tds = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f"<tr class='{style}'><td>{html.escape(row['name'])}</td>{tds}<td class='text'>{said}</td></tr>")
    ths = "".join(f"<th>{name}</th>" for name in [*head, ""])
    return f"<div class='wide'><table><thead><tr>{ths}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
