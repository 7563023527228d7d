"""The DiT's steps replayed as CUDA graphs, one for each shape that came up twice. Knows no sampler and no job.

A step of a small DiT is hundreds of kernels, each shorter than the time Python takes to start it; a graph starts them
all at once. A graph is bound to addresses: inputs are copied into its own tensors, its answer is copied out. The
first call of a shape runs plainly and so warms up the kernels, the second one records.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from typing import Protocol
from weakref import ref

import torch
from torch import Tensor

from sa3_daw.errors import is_out_of_memory
from sa3_daw.models.dit import DiT, Prepared

log = logging.getLogger(__name__)

KEPT_SHAPES = 8
KEPT_BYTES = 1 << 30
"""Of inputs that graphs hold, nearly all of it conditioning. A longer clip's step keeps a GPU busy without a graph."""

Shapes = tuple[tuple[int, ...], ...]
Replay = Callable[[], object]


class Recorder(Protocol):
    """Records what a device is told to do."""

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
        """Record a call that ran before; return its answer's tensor and what fills it again. Raises RuntimeError."""
        ...

    def forget(self) -> None:
        """Take note that nothing recorded so far will be replayed."""
        ...


class CudaRecorder:
    """Records CUDA graphs that share one pool of memory, about as large as the largest one's activations."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
        """Record a call. Other threads may use the GPU meanwhile."""
        graph = torch.cuda.CUDAGraph()
        # The outer stream is the current one: a recording that fails would leave torch's own current. That one serves
        # all models, because for each new stream torch's libraries take memory that they never give back.
        with (
            torch.cuda.stream(torch.cuda.current_stream(self._device)),
            torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"),
        ):
            answer = call()
        return answer, graph.replay

    def forget(self) -> None:
        """Begin a new pool: one whose graphs are all gone cannot be recorded into."""
        self._pool = torch.cuda.graph_pool_handle()


@dataclass(frozen=True)
class Recorded:
    """One graph with the tensors it reads and the one it writes."""

    x_BDT: Tensor
    t_B: Tensor
    prepared: Prepared
    velocity_BDT: Tensor
    replay: Replay
    num_bytes: int


class GraphedDiT:
    """Answers as its DiT does, on a GPU sooner. Not for a DiT with adapters on: a graph keeps the weights it saw."""

    def __init__(self, dit: DiT, recorder: Recorder | None = None) -> None:
        """``recorder`` is the GPU's by default; on other devices nothing is recorded."""
        self.dit = dit
        self._recorder = CudaRecorder(dit.device) if recorder is None and dit.device.type == "cuda" else recorder
        self._shapes: OrderedDict[Shapes, Recorded | None] = OrderedDict()  # None: runs plainly the next time as well
        self._came_once: Shapes | None = None
        self._latest: tuple[Recorded, ref[Prepared]] | None = None

    @property
    def num_recorded(self) -> int:
        """How many graphs are kept now."""
        return sum(recorded is not None for recorded in self._shapes.values())

    def __call__(self, x_BDT: Tensor, t_B: Tensor, prepared: Prepared) -> Tensor:
        """Return the velocity as ``DiT.forward`` does; ``x_BDT`` and ``t_B`` lie on the DiT's device."""
        recorded = self._find(x_BDT, t_B, prepared) if self._recorder else None
        if recorded is None:
            velocity_BDT: Tensor = self.dit(x_BDT, t_B, prepared)
            return velocity_BDT
        recorded.x_BDT.copy_(x_BDT)
        recorded.t_B.copy_(t_B)
        recorded.replay()
        return recorded.velocity_BDT.clone()

    def forget(self) -> None:
        """Drop all graphs, so that their memory can be given back; shapes are recorded anew when they come again."""
        self._shapes.clear()
        self._came_once = self._latest = None
        if self._recorder:
            self._recorder.forget()

    def _find(self, x_BDT: Tensor, t_B: Tensor, prepared: Prepared) -> Recorded | None:
        """Return the graph of these shapes with the conditioning in place, recorded if this is their second call."""
        if self._latest is not None:
            recorded, copied = self._latest
            if copied() is prepared and recorded.x_BDT.shape == x_BDT.shape:
                return recorded
        inputs = tensors_of(prepared)
        shapes = tuple(tuple(tensor.shape) for tensor in (x_BDT, *inputs))
        if shapes not in self._shapes:
            if self._came_once != shapes:
                self._came_once = shapes
                return None
            self._keep(shapes, self._record(x_BDT, t_B, prepared))
        self._shapes.move_to_end(shapes)
        found = self._shapes[shapes]
        if found is not None:
            for own, given in zip(tensors_of(found.prepared), inputs, strict=True):
                own.copy_(given)
            self._latest = found, ref(prepared)
        return found

    def _record(self, x_BDT: Tensor, t_B: Tensor, prepared: Prepared) -> Recorded | None:
        """Record one step; None where it is too large. Where that fails, this DiT runs plainly from now on."""
        assert self._recorder is not None
        num_bytes = sum(tensor.untyped_storage().nbytes() for tensor in tensors_of(prepared))
        if num_bytes > KEPT_BYTES:
            return None
        try:
            own = x_BDT.clone(), t_B.clone(), deepcopy(prepared)
            velocity_BDT, replay = self._recorder.record(lambda: self.dit(*own))
        except RuntimeError as error:
            self.forget()
            if is_out_of_memory(error):
                log.warning("%d frames run without a CUDA graph: not enough memory for one", x_BDT.shape[-1])
            else:
                log.warning("the DiT runs without CUDA graphs from now on, recording failed: %.300s", error)
                self._recorder = None
            return None
        return Recorded(*own, velocity_BDT, replay, num_bytes)

    def _keep(self, shapes: Shapes, recorded: Recorded | None) -> None:
        """Keep a graph, and of the others those used last that fit beside it."""
        self._latest = None
        self._shapes[shapes] = recorded
        while len(self._shapes) > KEPT_SHAPES or self._num_bytes() > KEPT_BYTES:
            self._shapes.popitem(last=False)
        if self._recorder and not self.num_recorded:
            self._recorder.forget()

    def _num_bytes(self) -> int:
        return sum(recorded.num_bytes for recorded in self._shapes.values() if recorded is not None)


def tensors_of(value: object) -> list[Tensor]:
    """Return the tensors in nested dataclasses and tuples, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple):
        return [tensor for part in value for tensor in tensors_of(part)]
    if is_dataclass(value):
        return [tensor for field in fields(value) for tensor in tensors_of(getattr(value, field.name))]
    return []
