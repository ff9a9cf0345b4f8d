"""One network on many ranks: replicated (DDP) or sharded (FSDP2), and its whole state wherever it stands."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(network: nn.Module, device: torch.device, n_ranks: int) -> nn.Module:
    """Shard a network's parameters over all ranks, in place, layer by layer (FSDP2)."""
    mesh = init_device_mesh(device.type, (n_ranks,))
    for layer in network.children():
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
    return network


def replicate(network: nn.Module, device: torch.device) -> nn.Module:
    return DistributedDataParallel(
        network, device_ids=[device.index] if device.type == "cuda" else None, broadcast_buffers=False
    )


def state_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return copies of the whole states on rank 0's CPU, by parameters' names; all ranks call it together."""
    model = model_state(network)
    if is_sharded(network):
        return model, _copied(get_optimizer_state_dict(network, optimizer, options=WHOLE))
    own, names = optimizer.state_dict(), [name for name, _ in network.named_parameters()]
    groups = [{**group, "params": [names[i] for i in group["params"]]} for group in own["param_groups"]]
    return model, _copied({"state": {names[i]: value for i, value in own["state"].items()}, "param_groups": groups})


def model_state(network: nn.Module) -> dict[str, Any]:
    """Return a copy of the whole network on rank 0's CPU; all ranks call it together."""
    copied: dict[str, Any] = _copied(get_model_state_dict(network, options=WHOLE))
    return copied


def put_state(network: nn.Module, optimizer: torch.optim.Optimizer, model: dict[str, Any], opt: dict[str, Any]) -> None:
    """Put whole states into a network and its optimizer, however many ranks they were of.

    Raises RuntimeError or KeyError where they are of another network.
    """
    if not is_sharded(network):
        network.load_state_dict(model)
        optimizer.load_state_dict(_by_index(network, opt))
        return
    set_model_state_dict(network, model, options=WHOLE)
    if opt["state"]:
        set_optimizer_state_dict(network, optimizer, _by_name(network, opt), options=WHOLE)


def is_sharded(network: nn.Module) -> bool:
    return hasattr(network, "set_requires_gradient_sync")


def _by_index(network: nn.Module, opt: dict[str, Any]) -> dict[str, Any]:
    """Return an optimizer's state as one that is not sharded takes it, in whatever form it was written."""
    idx = {name: i for i, (name, _) in enumerate(network.named_parameters())}
    groups = [{**group, "params": [idx.get(one, one) for one in group["params"]]} for group in opt["param_groups"]]
    return {"state": {idx.get(key, key): value for key, value in opt["state"].items()}, "param_groups": groups}


def _by_name(network: nn.Module, opt: dict[str, Any]) -> dict[str, Any]:
    names = dict(enumerate(name for name, _ in network.named_parameters()))
    groups = [{**group, "params": [names.get(one, one) for one in group["params"]]} for group in opt["param_groups"]]
    return {"state": {names.get(key, key): value for key, value in opt["state"].items()}, "param_groups": groups}


def _copied(value: Any) -> Any:
    """Return a copy that training does not change any more."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(inner) for inner in value)
    return value
