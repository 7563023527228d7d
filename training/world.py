"""The processes that train together: torchrun's ranks, their share of a step and their averages. Knows no model.

One process is a world of size 1. A step is made of numbered parts (micro-batches); each rank computes those whose
number leaves its rank, so the result does not depend on how many processes share them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from sa3_daw.errors import invalid
from sa3_training.sharding import spread

CPU = torch.device("cpu")

PATIENCE = timedelta(hours=3)
"""How long processes wait for the first one, which may be encoding a library of music."""


@dataclass(frozen=True)
class World:
    """``rank`` of ``size`` processes, computing on ``device``; ``spreads_weights`` divides large models among them."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    spreads_weights: bool = False

    @property
    def is_first(self) -> bool:
        """Say whether this process writes the files."""
        return self.rank == 0

    def parts(self, num_parts: int) -> range:
        """Return the parts of a step that this process computes. Raises InvalidField when they do not divide."""
        if num_parts % self.size:
            raise invalid("num_parts", num_parts, f"a multiple of the {self.size} processes")
        return range(self.rank, num_parts, self.size)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add every process's gradients, in one message; a parameter without a gradient counts as zero.

        Those of spread weights are added by the layers that spread them.
        """
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in trained])
        dist.all_reduce(flat)
        for parameter, piece in zip(trained, torch.split(flat, [p.numel() for p in trained]), strict=True):
            parameter.grad = piece.view_as(parameter).clone()

    def sum_numbers(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Add every process's numbers; all processes must have the same keys."""
        if self.size == 1:
            return dict(numbers)
        keys = sorted(numbers)
        total = torch.tensor([numbers[key] for key in keys], dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return dict(zip(keys, total.tolist(), strict=True))

    def sum_tensor(self, tensor: Tensor) -> None:
        """Add every process's tensor to this one, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def spread(self, module: nn.Module) -> None:
        """Spread a module's large layers over the processes, when that was asked for; before optimisers are made."""
        if self.spreads_weights and self.size > 1:
            spread(module, self.size, self.device)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


def join_world(device: str = "auto", *, spreads_weights: bool = False) -> World:
    """Join the processes torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), or be alone.

    ``device``: cpu, cuda or auto, which takes a GPU where there is one.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise invalid("device", device, "auto, cpu, cuda")
    use_cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if use_cuda and not torch.cuda.is_available():
        raise invalid("device", device, "auto or cpu: this machine has no GPU that torch can use")
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}") if use_cuda else torch.device("cpu")
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if use_cuda else "gloo", timeout=PATIENCE)
    if use_cuda:
        torch.cuda.set_device(local)
        torch.set_float32_matmul_precision("high")
    return World(rank, size, local, spreads_weights)


def leave_world(world: World) -> None:
    """End the process group, if there is one."""
    if world.size > 1:
        dist.destroy_process_group()
