"""AIOS: the operating layer of a shared Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aios.builder import Pipeline
    from aios.client import Client

__version__ = "0.1.0"
__all__ = ["Client", "Pipeline", "__version__"]

_LAZY = {"Client": "aios.client", "Pipeline": "aios.builder"}


def __getattr__(name: str) -> Any:
    """Import the SDK when it is asked for, so that ``import aios`` stays cheap."""
    if name not in _LAZY:
        raise AttributeError(f"module 'aios' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
