"""What a model takes and gives, from the dataset version it was trained on, and whether other data fits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NUMBERS = ("int", "uint", "float", "double", "halffloat", "bool", "decimal")


def signature_of(manifest: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Return the signature: each feature with its type in the data, and what comes out.

    Parameters
    ----------
    manifest : mapping
        What the dataset version says of itself: features, target, task, classes.
    types : mapping
        Arrow types of its columns by name, as text.
    """
    outputs: dict[str, Any] = {"name": manifest["target"], "task": manifest["task"]}
    if manifest["target"] in types:
        outputs["dtype"] = types[manifest["target"]]
    if manifest["classes"] is not None:
        outputs["classes"] = list(manifest["classes"])
    return {
        "inputs": [
            {"name": name, "type": "number", **({"dtype": types[name]} if name in types else {})}
            for name in manifest["features"]
        ],
        "outputs": outputs,
    }


def misfits(signature: Mapping[str, Any], types: Mapping[str, str]) -> list[str]:
    """Return why data with these columns does not fit a signature, one sentence part for each input; empty: it fits."""
    found = []
    for one in signature["inputs"]:
        name = one["name"]
        if name not in types:
            found.append(f"{name} is missing")
        elif not is_number(types[name]):
            found.append(f"{name} is {types[name]}, not {one.get('dtype', 'a number')}")
    return found


def told(problems: Sequence[str], most: int = 5) -> str:
    """Return the first problems as one text."""
    rest = f" and {len(problems) - most} more" if len(problems) > most else ""
    return f"{', '.join(problems[:most])}{rest}"


def is_number(type_: str) -> bool:
    return type_.startswith(NUMBERS)
