"""Small plots as SVG text: lines in a square, values with intervals, a table as a map of heat, bars with a sign."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#0b7285", "#5f3dc4", "#a61e4d", "#5c940d", "#495057")
SIDE, EDGE = 300, 44
Points = Sequence[Sequence[float]]


def lines(curves: Mapping[str, Points], x: str, y: str, diagonal: bool = False, dots: bool = False) -> str:
    """Return curves over the unit square, with a legend where there are several."""
    size = SIDE + 2 * EDGE
    parts = [_frame(x, y)]
    if diagonal:
        parts.append(f'<path d="{_path([[0, 0], [1, 1]])}" class="guide"/>')
    for i, points in enumerate(curves.values()):
        colour = COLOURS[i % len(COLOURS)]
        parts.append(f'<path d="{_path(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if dots:
            parts += [f'<circle cx="{_x(a):.1f}" cy="{_y(b):.1f}" r="3.5" fill="{colour}"/>' for a, b in points]
    legend = ""
    if len(curves) > 1:
        legend = "".join(
            f'<span class="key"><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{html.escape(name)}</span>'
            for i, name in enumerate(curves)
        )
        legend = f'<div class="legend">{legend}</div>'
    return f'<svg viewBox="0 0 {size} {size}" class="square">{"".join(parts)}</svg>{legend}'


def intervals(rows: Sequence[tuple[str, str, Mapping[str, float]]], mark: float | None, zero: bool = False) -> str:
    """Return one line for each row (name, note, value with ends); ``mark`` is a line at the value of all rows."""
    found = [value for _, _, one in rows for value in one.values() if math.isfinite(value)]
    if mark is not None:
        found.append(mark)
    if zero:
        found.append(0.0)
    low, high = min(found), max(found)
    pad = (high - low) * 0.05 or max(abs(high) * 0.05, 1e-9)
    low, high = low - pad, high + pad
    left, width, step = 250, 360, 24
    height = step * len(rows) + 34

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * width

    guides = [value for value in (mark, 0.0 if zero else None) if value is not None]
    parts = [f'<path d="M{at(value):.1f} 4V{height - 26}" class="guide"/>' for value in guides]
    for i, (name, note, one) in enumerate(rows):
        y = 16 + i * step
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{html.escape(_short(name))}</text>')
        if "low" in one:
            parts.append(f'<path d="M{at(one["low"]):.1f} {y}H{at(one["high"]):.1f}" class="range"/>')
        parts.append(f'<circle cx="{at(one["value"]):.1f}" cy="{y}" r="4.5" fill="{COLOURS[0]}"/>')
        parts.append(f'<text x="{left + width + 10}" y="{y + 4}">{html.escape(note)}</text>')
    parts += [
        f'<text x="{at(value):.1f}" y="{height - 8}" text-anchor="middle" class="tick">{value:.3g}</text>'
        for value in (low + pad, high - pad)
    ]
    return f'<svg viewBox="0 0 820 {height}" class="wide">{"".join(parts)}</svg>'


def heat(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Return a table of counts, each cell as dark as its share of the row."""
    head = "".join(f"<th>{html.escape(_short(name, 14))}</th>" for name in names)
    body = []
    for name, row in zip(names, matrix, strict=True):
        total = max(sum(row), 1)
        cells = "".join(
            f'<td style="background:rgba(31,111,235,{0.85 * n / total:.3f});'
            f'color:{"#fff" if n / total > 0.55 else "inherit"}" title="{n / total:.1%}">{n:,}</td>'
            for n in row
        )
        body.append(f"<tr><th>{html.escape(_short(name, 20))}</th>{cells}</tr>")
    return f'<table class="heat"><tr><th>expected ↓ predicted →</th>{head}</tr>{"".join(body)}</table>'


def density(matrix: Sequence[Sequence[int]], low: float, high: float) -> str:
    """Return how many rows have which expected (x) and predicted (y) value, in a square from ``low`` to ``high``."""
    n = len(matrix)
    most = math.log1p(max((value for row in matrix for value in row), default=0)) or 1.0
    cell = SIDE / n
    parts = [_frame("expected", "predicted", (low, high)), f'<path d="{_path([[0, 0], [1, 1]])}" class="guide"/>']
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            if value:
                parts.append(
                    f'<rect x="{EDGE + i * cell:.1f}" y="{EDGE + SIDE - (j + 1) * cell:.1f}" width="{cell:.1f}" '
                    f'height="{cell:.1f}" fill="{COLOURS[0]}" opacity="{0.12 + 0.88 * math.log1p(value) / most:.2f}"/>'
                )
    size = SIDE + 2 * EDGE
    return f'<svg viewBox="0 0 {size} {size}" class="square">{"".join(parts)}</svg>'


def bars(values: Mapping[str, float], signed: bool = False) -> str:
    """Return one bar for each name; those below zero go to the left where values are signed."""
    most = max((abs(value) for value in values.values()), default=0.0) or 1.0
    left, width, step = 250, 360, 22
    zero = left + width / 2 if signed else left
    scale = (width / 2 if signed else width) / most
    parts = []
    for i, (name, value) in enumerate(values.items()):
        y, length = 6 + i * step, abs(value) * scale
        start = zero if value >= 0 else zero - length
        colour = COLOURS[0] if value >= 0 else COLOURS[1]
        parts.append(f'<text x="{left - 10}" y="{y + 12}" text-anchor="end">{html.escape(_short(name))}</text>')
        parts.append(f'<rect x="{start:.1f}" y="{y}" width="{max(length, 1):.1f}" height="15" fill="{colour}"/>')
        parts.append(f'<text x="{left + width + 10}" y="{y + 12}">{value:{"+" if signed else ""}.4g}</text>')
    return f'<svg viewBox="0 0 820 {step * len(values) + 12}" class="wide">{"".join(parts)}</svg>'


def _frame(x: str, y: str, ends: tuple[float, float] = (0.0, 1.0)) -> str:
    low, high = ends
    ticks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        text = f"{low + share * (high - low):.3g}"
        ticks.append(
            f'<text x="{_x(share):.1f}" y="{EDGE + SIDE + 16}" text-anchor="middle" class="tick">{text}</text>'
        )
        ticks.append(f'<text x="{EDGE - 6}" y="{_y(share) + 4:.1f}" text-anchor="end" class="tick">{text}</text>')
        ticks.append(
            f'<path d="M{_x(share):.1f} {EDGE}V{EDGE + SIDE}M{EDGE} {_y(share):.1f}H{EDGE + SIDE}" class="grid"/>'
        )
    middle = EDGE + SIDE / 2
    return (
        f'<rect x="{EDGE}" y="{EDGE}" width="{SIDE}" height="{SIDE}" class="frame"/>{"".join(ticks)}'
        f'<text x="{middle}" y="{EDGE + SIDE + 36}" text-anchor="middle">{html.escape(x)}</text>'
        f'<text x="{EDGE}" y="{EDGE - 14}">{html.escape(y)}</text>'
    )


def _path(points: Points) -> str:
    return "M" + "L".join(f"{_x(a):.1f} {_y(b):.1f}" for a, b in points)


def _x(share: float) -> float:
    return EDGE + share * SIDE


def _y(share: float) -> float:
    return EDGE + (1 - share) * SIDE


def _short(text: Any, most: int = 34) -> str:
    text = str(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
