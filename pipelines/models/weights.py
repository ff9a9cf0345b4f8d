"""Weights as safetensors: tensors by name and nothing that could run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from aios.engines import WorkloadFailed

WEIGHTS = "model.safetensors"


def save(network: nn.Module, folder: Path) -> Path:
    """Write a network's parameters and buffers; tensors that share memory are written once each."""
    return save_tensors(network.state_dict(), folder)


def save_tensors(state: Mapping[str, torch.Tensor], folder: Path) -> Path:
    path = folder / WEIGHTS
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def restore(network: nn.Module, folder: Path, name: str) -> None:
    """Read weights into a network; raises WorkloadFailed where they are gone, pickled, broken or of another network."""
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = sorted(one.name for one in folder.glob("*.p*t*") if one.suffix in (".pt", ".pth", ".pkl"))
        if pickled:
            raise WorkloadFailed(
                f"model {name!r} has its weights in {pickled[0]}, a pickle, which could hold code: train it again"
            )
        raise WorkloadFailed(f"model {name!r}: {path} is missing: restore it from a backup, or train it again")
    try:
        network.load_state_dict(load_file(path, device="cpu"))
    except SafetensorError as error:
        raise WorkloadFailed(f"model {name!r}: {path} cannot be read: {error}") from None
    except RuntimeError as error:
        raise WorkloadFailed(f"model {name!r}: its weights do not fit its architecture: {error}") from None


def unpickled(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return tensors and plain values of what ``torch.save`` wrote, by dotted names; no code of the file runs.

    Raises ``pickle.UnpicklingError`` where it holds more than tensors and plain values.
    """
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    _collect("", loaded, tensors, plain)
    return tensors, plain


def _collect(name: str, value: Any, tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> None:
    if isinstance(value, torch.Tensor):
        tensors[name or "value"] = value.detach().contiguous().clone()
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _collect(f"{name}.{key}" if name else str(key), inner, tensors, plain)
    elif isinstance(value, (list, tuple)) and any(isinstance(one, (torch.Tensor, Mapping)) for one in value):
        for idx, inner in enumerate(value):
            _collect(f"{name}.{idx}" if name else str(idx), inner, tensors, plain)
    else:
        plain[name or "value"] = value if isinstance(value, (str, int, float, bool, list, type(None))) else str(value)
