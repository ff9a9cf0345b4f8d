"""Which variants are worth having: none other is both better and faster, and which of those is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def front(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names on the front of score (high) and latency (low), the fastest first."""
    found: list[str] = []
    best = float("-inf")
    for row in sorted(rows, key=lambda one: (one["latency_us"], -one["score"])):
        if row["score"] > best:
            best = row["score"]
            found.append(str(row["name"]))
    return found


def chosen(rows: Sequence[Mapping[str, Any]], prefer: str) -> str:
    """Return the variant to take of those that keep their gates: the fastest one on the front, or the smallest of all.

    Where two are alike within 2 %, the one with the better score is taken, and then the smaller one.
    """
    on_front = set(front(rows)) if prefer == "latency" else {row["name"] for row in rows}
    key = "latency_us" if prefer == "latency" else "size_bytes"
    able = [row for row in rows if row["name"] in on_front]
    least = min(row[key] for row in able)
    near = [row for row in able if row[key] <= least * 1.02]
    return str(max(near, key=lambda row: (row["score"], -row["size_bytes"]))["name"])
