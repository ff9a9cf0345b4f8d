"""Two model versions side by side: scores, parameters, data and signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aios.cli.options import Options
from aios.cli.output import table

if TYPE_CHECKING:
    from aios.views import ArtefactView


def compared(before: ArtefactView, after: ArtefactView) -> dict[str, Any]:
    """Return what both versions say of themselves where they differ, and their scores in any case."""
    one, two = before.meta, after.meta
    first, second = ({**(meta.get("model") or {}), **(meta.get("trained") or {})} for meta in (one, two))
    old, new = ({key: (meta.get("dataset") or {}).get(key) for key in ("reference", "digest")} for meta in (one, two))
    return {
        "before": before.reference,
        "after": after.reference,
        "same_files": bool(before.digest) and before.digest == after.digest,
        "scores": _pairs(one.get("scores") or {}, two.get("scores") or {}, differing=False),
        "parameters": _pairs(first, second),
        "data": _pairs(old, new),
        "signature": signature_changes(one.get("signature") or {}, two.get("signature") or {}),
    }


def signature_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return each change of what goes in and what comes out, as a sentence part."""
    ins, outs = (_inputs(one) for one in (before, after))
    found = []
    if isinstance(ins, int) or isinstance(outs, int):
        n_before, n_after = (one if isinstance(one, int) else len(one) for one in (ins, outs))
        found += [f"{n_before} inputs -> {n_after}"] if n_before != n_after else []
    else:
        found += [f"input {name} added" for name in outs if name not in ins]
        found += [f"input {name} removed" for name in ins if name not in outs]
        found += [
            f"input {name}: {ins[name]} -> {outs[name]}" for name in ins if name in outs and ins[name] != outs[name]
        ]
        common = [name for name in ins if name in outs], [name for name in outs if name in ins]
        found += ["inputs in another order"] if common[0] != common[1] else []
    old, new = before.get("outputs") or {}, after.get("outputs") or {}
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            found.append(f"output {key}: {_told(old.get(key))} -> {_told(new.get(key))}")
    return found


def difference_text(options: Options, found: Mapping[str, Any]) -> str:
    """Return the comparison as text."""
    if found["before"] == found["after"]:
        return f"{found['before']} is one and the same version"
    lines = [f"{found['before']} -> {found['after']}"]
    if found["same_files"]:
        lines.append("the files are the same, byte for byte")
    scores = found["scores"]
    if scores:
        rows = [[name, one, two, _change(one, two)] for name, (one, two) in scores.items()]
        lines += ["", table(options, ["SCORE", "BEFORE", "AFTER", "CHANGE"], rows)]
    for title in ("parameters", "data"):
        if found[title]:
            rows = [[name, _told(one), _told(two)] for name, (one, two) in found[title].items()]
            lines += ["", table(options, [title.upper(), "BEFORE", "AFTER"], rows)]
        else:
            lines += ["", f"{title}: the same"]
    signature = found["signature"]
    lines += ["", f"signature: {'; '.join(signature) if signature else 'the same'}"]
    return "\n".join(lines)


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any], differing: bool = True) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*before, *after])
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if not differing or pair[0] != pair[1]}


def _inputs(signature: Mapping[str, Any]) -> dict[str, str] | int:
    inputs = signature.get("inputs") or ()
    return inputs if isinstance(inputs, int) else {one["name"]: one.get("dtype", one["type"]) for one in inputs}


def _change(before: Any, after: Any) -> str | None:
    if not isinstance(before, (int, float)) or not isinstance(after, (int, float)):
        return None
    return f"{after - before:+.4g}"


def _told(value: Any) -> str:
    return "-" if value is None else str(value)
