"""``dataclasses.replace`` for what the fold copies at each event: slots are copied as they are, without ``__init__``.

A copy of the state costs a quarter of what ``dataclasses.replace`` takes. Its function is written out once for each
class, as ``dataclasses`` writes ``__init__``. A class that checks its fields (``__post_init__``) is checked as ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import replace as replace  # so that names and types of the changes are checked
else:

    def replace(old: Any, /, **changes: Any) -> Any:
        """Return a copy of a frozen dataclass with some fields changed."""
        made = _made(type(old))
        if made is None:
            return dataclasses.replace(old, **changes)
        copied, setters = made
        new = copied(old)
        for name, value in changes.items():
            if name not in setters:
                raise TypeError(f"{type(old).__name__} has no field {name!r}")
            setters[name](new, value)
        return new


Setter = Callable[[object, object], None]


@cache
def _made(kind: type) -> tuple[Callable[[Any], Any], Mapping[str, Setter]] | None:
    """Return how an object of a class is copied, and how its fields are set; None where its fields are checked."""
    names = [field.name for field in dataclasses.fields(kind)]
    if hasattr(kind, "__post_init__") or not set(names) <= set(kind.__dict__.get("__slots__", ())):
        return None
    setters = {name: kind.__dict__[name].__set__ for name in names}
    scope: dict[str, Any] = {"new_of": object.__new__, "kind": kind}
    scope.update({f"set_{name}": setter for name, setter in setters.items()})
    lines = [f"    set_{name}(new, old.{name})" for name in names]
    exec("\n".join(["def copied(old):", "    new = new_of(kind)", *lines, "    return new"]), scope)
    return scope["copied"], setters
