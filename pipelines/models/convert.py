"""Turns the pickles in a model folder into safetensors and JSON, or refuses the folder."""

from __future__ import annotations

import pickle
from pathlib import Path

from safetensors.torch import save_file

from aios.engines import WorkloadFailed
from aios.models.pickles import is_pickle, pickles
from pipelines.files import write_json
from pipelines.models.weights import unpickled


def without_pickles(folder: Path) -> tuple[str, ...]:
    """Replace what ``torch.save`` wrote by ``NAME.safetensors`` (tensors) and ``NAME.values.json`` (the rest).

    Names of nested dicts are joined by dots, which ``load_state_dict`` takes where the dict was a network's. Returns
    the files that were replaced. Raises WorkloadFailed where a file holds more: objects, code.
    """
    replaced = []
    for name in list(pickles(folder)):
        path = folder / name
        try:
            tensors, plain = unpickled(path)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            raise WorkloadFailed(
                f"checkpoint file {name} is a pickle of more than tensors and plain values, so it is no model that "
                "could be trusted: save a state_dict with torch.save, or safetensors",
                detail=reason,
            ) from None
        if tensors:
            save_file(tensors, _free(path.with_suffix(".safetensors")), metadata={"format": "pt"})
        if plain:
            write_json(_free(path.with_suffix(".values.json")), plain)
        path.unlink()
        replaced.append(name)
    return tuple(replaced)


def _free(path: Path) -> Path:
    """Return a path where nothing is yet: one file is not written over by another."""
    if path.exists() and not is_pickle(path):
        raise WorkloadFailed(
            f"the checkpoint holds {path.name} beside a pickle of that name: name one of them otherwise"
        )
    return path
