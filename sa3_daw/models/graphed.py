"""The DiT's steps replayed as CUDA graphs, one for each shape that came up twice. Knows no sampler and no job.

A step of a small DiT is hundreds of kernels, each shorter than the time Python takes to start it; a graph starts them
all at once. A graph is bound to addresses: inputs are copied into its own tensors, its answer is copied out. The
first call of a shape runs plainly and so warms up the kernels, the second one records.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor

from sa3_daw.models.dit import DiT, Prepared

log = logging.getLogger(__name__)

KEPT_GRAPHS = 8
"""Shapes whose graphs stay; together they share one pool of memory, as large as the largest one's activations."""

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Recorded:
    """One graph with the tensors it reads and the one it writes."""

    graph: torch.cuda.CUDAGraph
    x_BDT: Tensor
    t_B: Tensor
    prepared: Prepared
    velocity_BDT: Tensor


class GraphedDiT:
    """Answers as its DiT does, on a GPU sooner. Not for a DiT with adapters on: a graph keeps the weights it saw."""

    def __init__(self, dit: DiT) -> None:
        self.dit = dit
        self._works = dit.device.type == "cuda"
        self._seen: set[Shapes] = set()
        self._recorded: OrderedDict[Shapes, Recorded] = OrderedDict()
        self._pool = torch.cuda.graph_pool_handle() if self._works else None
        self._copied: Prepared | None = None

    @property
    def num_recorded(self) -> int:
        """How many graphs are kept now."""
        return len(self._recorded)

    def __call__(self, x_BDT: Tensor, t_B: Tensor, prepared: Prepared) -> Tensor:
        """Return the velocity as ``DiT.forward`` does; ``x_BDT`` and ``t_B`` lie on the DiT's device."""
        if self._works:
            recorded = self._find(x_BDT, t_B, prepared)
            if recorded is not None:
                recorded.x_BDT.copy_(x_BDT)
                recorded.t_B.copy_(t_B)
                recorded.graph.replay()
                return recorded.velocity_BDT.clone()
        velocity_BDT: Tensor = self.dit(x_BDT, t_B, prepared)
        return velocity_BDT

    def _find(self, x_BDT: Tensor, t_B: Tensor, prepared: Prepared) -> Recorded | None:
        """Return the graph of these shapes with the conditioning in place, recorded if this is their second call."""
        inputs = tensors_of(prepared)
        shapes = tuple(tuple(tensor.shape) for tensor in (x_BDT, *inputs))
        if shapes not in self._seen:
            self._seen.add(shapes)
            return None
        recorded = self._recorded.get(shapes) or self._record(shapes, x_BDT, t_B, prepared)
        if recorded is None:
            return None
        self._recorded.move_to_end(shapes)
        if self._copied is not prepared:
            for own, given in zip(tensors_of(recorded.prepared), inputs, strict=True):
                own.copy_(given)
            self._copied = prepared
        return recorded

    def _record(self, shapes: Shapes, x_BDT: Tensor, t_B: Tensor, prepared: Prepared) -> Recorded | None:
        """Record one step; where that fails, this DiT runs plainly from now on."""
        if len(self._recorded) >= KEPT_GRAPHS:
            dropped, _ = self._recorded.popitem(last=False)
            self._seen.discard(dropped)
        own = (x_BDT.clone(), t_B.clone(), deepcopy(prepared))
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                velocity_BDT = self.dit(*own)
        except RuntimeError as error:
            log.warning("the DiT runs without CUDA graphs, recording failed: %.300s", error)
            self._works = False
            self._recorded.clear()
            return None
        self._copied = prepared
        self._recorded[shapes] = Recorded(graph, *own, velocity_BDT)
        return self._recorded[shapes]


def tensors_of(value: object) -> list[Tensor]:
    """Return the tensors in nested dataclasses and tuples, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple):
        return [tensor for part in value for tensor in tensors_of(part)]
    if is_dataclass(value):
        return [tensor for field in fields(value) for tensor in tensors_of(getattr(value, field.name))]
    return []
