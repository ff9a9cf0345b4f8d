"""The model card: what is known of a version, as markdown for people.

References
----------
Mitchell et al., Model Cards for Model Reporting, https://doi.org/10.1145/3287560.3287596
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = "README.md"
SHOWN = 30
"""Inputs that are listed; a model of images has thousands."""


def markdown(card: Mapping[str, Any]) -> str:
    """Return the card of ``model.json``; only what is known is in it."""
    model, trained, dataset = card["model"], card.get("trained", {}), card.get("dataset", {})
    parts = [f"# {card['name']}", _intro(card)]
    scores = card.get("scores") or {}
    if scores:
        rows = "\n".join(f"| {name} | {_number(value)} |" for name, value in scores.items())
        table = f"| score | value |\n|---|---|\n{rows}"
        if card.get("optimised"):
            parts.append(f"## Scores on the test part of {card['optimised']['data']}\n\n{table}")
        else:
            parts.append(f"## Scores at the end of training\n\n{table}")
            parts.append("They are of the rows it was trained on. Reports of evaluations are listed by `aios lineage`.")
    if card.get("optimised"):
        parts.append(_variants(card["optimised"]))
    parts.append(f"## Signature\n\n{_signature(card)}")
    facts = {"architecture": _plain(model), **{key: value for key, value in trained.items() if value is not None}}
    parts.append(f"## Training\n\n{_listed(facts)}")
    origin = {"data": dataset.get("reference"), "data digest": dataset.get("digest"), **(card.get("lineage") or {})}
    parts.append(f"## Where it came from\n\n{_listed(origin)}")
    preparation = "It takes raw rows, which go through the recipe of its training data." if card.get("recipe") else ""
    files = card.get("files") or {}
    parts.append("## Files\n\n" + _listed({f"`{name}`": what for name, what in files.items()}))
    if preparation:
        parts.append(preparation)
    licence, notes = card.get("licence"), card.get("notes")
    if licence or notes:
        parts.append("## Terms\n\n" + _listed({"licence": licence, "notes": notes}))
    return "\n\n".join(parts) + "\n"


def _variants(optimised: Mapping[str, Any]) -> str:
    """Return the table of an optimisation's variants; ratios are against the original."""
    head = f"| variant | {optimised['metric']} | p50, 1 row | p50, 32 rows | size | faster | smaller | |"
    rows = [
        f"| {row['name']} | {row['score']:.4f} | {row['p50_1']:.0f} µs | {row['p50_32']:.0f} µs | "
        f"{row['size_bytes'] / 1024:.0f} KiB | {row['faster']:.2f} | {row['smaller']:.2f} | {row['rejected']} |"
        for row in optimised["variants"]
    ]
    table = "\n".join([head, "|---|---|---|---|---|---|---|---|", *rows])
    return f"## Variants\n\nOn {optimised['data']}, one thread. Taken: {optimised['taken']}.\n\n{table}"


def _intro(card: Mapping[str, Any]) -> str:
    classes = card.get("classes")
    if card["model"].get("type") == "custom":
        return (
            f"Made by a training loop of its author's own (`{card['model']['train_loop']}`); only their code loads it."
        )
    if classes:
        return f"Predicts `{card['target']}`: one of {len(classes)} classes ({_some(classes)})."
    return f"Predicts the quantity `{card['target']}`."


def _signature(card: Mapping[str, Any]) -> str:
    inputs, outputs = card["signature"]["inputs"], card["signature"]["outputs"]
    rows = "\n".join(f"| {one['name']} | {one.get('dtype', one['type'])} |" for one in inputs[:SHOWN])
    rest = f"\n\nand {len(inputs) - SHOWN} more inputs." if len(inputs) > SHOWN else ""
    return f"| input | type |\n|---|---|\n{rows}{rest}\n\nOutput: `{outputs['name']}` ({outputs['task']})."


def _listed(facts: Mapping[str, Any]) -> str:
    return "\n".join(
        f"- {name}: {_plain(value)}" for name, value in facts.items() if value not in (None, "", (), [], {})
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return _number(value)


def _some(values: Any, most: int = 10) -> str:
    return ", ".join(map(str, values[:most])) + (", …" if len(values) > most else "")


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
