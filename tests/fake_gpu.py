"""A GPU that computes nothing: torch's fake tensors said to lie on one. Knows no model.

Fake tensors know shapes and devices only. So an operation that mixes devices raises, and so does one that needs a
value: that is what these stand-ins prove about the path to a GPU on a machine without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("cuda:0")


class Place:
    """Stands for an event in a GPU's queue."""

    def __init__(self) -> None:
        self.waited_for = False

    def synchronize(self) -> None:
        """Note that the host waited."""
        self.waited_for = True


class AsOnAMachineWithOne(TorchFunctionMode):
    """Does what a build of torch without CUDA cannot do with fake tensors: slice them, make them contiguous.

    What is asked of a tensor on the CPU is true: only those on the GPU have no value to read.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__bool__ and args[0].device.type == "cpu":
            return True
        if args and isinstance(args[0], FakeTensor) and args[0].device == DEVICE:
            if func is Tensor.__getitem__:
                return sliced(args[0], args[1] if isinstance(args[1], tuple) else (args[1],))
            if func is Tensor.contiguous:
                return on_gpu(args[0])
            if func in (torch.conv1d, torch.conv_transpose1d):
                args = (on_gpu(args[0]), *args[1:])
        return func(*args, **(kwargs or {}))


def sliced(tensor: Tensor, where: tuple[Any, ...]) -> Tensor:
    """Return ``tensor[where]`` for slices, whole numbers, None and an ellipsis."""
    dim = 0
    for number, index in enumerate(where):
        if index is None:
            tensor = tensor.unsqueeze(dim)
        elif index is ...:
            dim = tensor.dim() - sum(each is not None for each in where[number + 1 :]) - 1
        elif isinstance(index, slice):
            start, stop, step = index.indices(tensor.shape[dim])
            tensor = torch.ops.aten.slice(tensor, dim, start, max(start, stop), step)
        else:
            tensor, dim = tensor.select(dim, index), dim - 1
        dim += 1
    return tensor


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Place]]:
    """Make tensors fake for a ``with`` block; yields the places in the queue that were marked so far."""
    places: list[Place] = []

    def place_in_queue() -> Place:
        places.append(Place())
        return places[-1]

    monkeypatch.setattr("sa3_daw.models.gpu.place_in_queue", place_in_queue)
    monkeypatch.setattr("sa3_daw.models.gpu.sent", lambda tensor, device: tensor.to(device))
    monkeypatch.setattr("sa3_daw.generation.denoise.sent", lambda tensor, device: tensor.to(device))
    with FakeTensorMode(), AsOnAMachineWithOne():
        yield places


def to_gpu(module: nn.Module) -> nn.Module:
    """Replace a module's weights by fake ones on the GPU; inside ``fake_gpu``, where ``Module.to`` cannot."""
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(on_gpu(weight), requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, on_gpu(buffer))
    return module


def on_gpu(tensor: Tensor) -> Tensor:
    """Return a fake tensor of the same shape on the GPU."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)
