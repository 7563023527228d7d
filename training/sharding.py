"""Weights spread over the processes that train (FSDP2) instead of held whole by each. Knows no loop and no loss.

What is spread are the matrices of attention and feed-forward layers, nearly all of a large model, with their gradients,
averages and optimiser states; the small rest stays whole. Checkpoints hold whole tensors, so that a run can go on with
any number of processes, spread or not. Every function here that makes something whole must be called by all processes.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate

from sa3_daw.models.dit import CrossAttention, SelfAttention
from sa3_daw.models.layers import FeedForward
from sa3_daw.models.resampling import DifferentialAttention

SPREAD = (SelfAttention, CrossAttention, FeedForward, DifferentialAttention)


def spread(module: nn.Module, num_processes: int, device: torch.device) -> None:
    """Spread the module's large layers over all processes, in place; their gradients are summed, not averaged."""
    # It warns of in-place changes of a layer's answer; the models make none.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (num_processes,))
    for layer in [child for child in module.modules() if isinstance(child, SPREAD)]:
        sharded = fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        sharded.set_gradient_divide_factor(1.0)
        # Gloo knows no other reduction than the plain sum.
        sharded.set_force_sum_reduction_for_comms(True)
        if isinstance(layer, CrossAttention):
            register_fsdp_forward_method(layer, "keys_values")


def whole(value: Any) -> Any:
    """Return a state with every spread tensor made whole, in dicts and lists of any depth."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {key: whole(part) for key, part in value.items()}
    if isinstance(value, list):
        return [whole(part) for part in value]
    return value


def spread_like(tensor: Tensor, own: Tensor) -> Tensor:
    """Return a whole tensor spread as ``own`` is, or as it is when ``own`` is whole."""
    if not isinstance(own, DTensor) or isinstance(tensor, DTensor):
        return tensor
    replicas = [Replicate()] * own.device_mesh.ndim
    copies = DTensor.from_local(tensor.to(own.device), own.device_mesh, replicas, run_check=False)
    return copies.redistribute(placements=own.placements)


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's whole state, its tensors spread as the parameters are that they belong to."""
    optimiser.load_state_dict(state)
    for parameter, values in optimiser.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = spread_like(value, parameter)


def clip_gradients(parameters: list[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients together to a norm of at most ``max_norm``; return the norm they had."""
    groups = [
        [p.grad for p in parameters if p.grad is not None and isinstance(p, DTensor) is is_spread]
        for is_spread in (False, True)
    ]
    norms = torch.stack([whole(nn.utils.get_total_norm(group)) for group in groups if group])
    norm = norms.norm() if len(norms) > 1 else norms[0]
    for is_spread in (False, True):
        group = [p for p in parameters if isinstance(p, DTensor) is is_spread]
        if group:
            nn.utils.clip_grads_with_norm_(group, max_norm, norm)
    return float(norm)
