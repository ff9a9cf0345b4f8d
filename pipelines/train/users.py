"""Functions of the user's own code, by ``module:function``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aios.engines import WorkloadFailed

FUNCTION = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


def load_function(name: str, working_dir: Path, what: str) -> Callable[..., Any]:
    """Return the function ``module:function``; raises WorkloadFailed that says what is missing.

    Parameters
    ----------
    what : str
        The key that names it, for messages.
    """
    if str(working_dir) not in sys.path:
        sys.path.insert(0, str(working_dir))
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name not in (module_name, module_name.partition(".")[0]):
            raise
        raise WorkloadFailed(f"{what} {name}: no module {module_name!r}: give its folder as working_dir") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise WorkloadFailed(f"{what} {name}: module {module_name!r} has no function {function!r}")
    return found  # type: ignore[no-any-return]  # callable() does not tell what it returns
