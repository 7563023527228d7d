"""Latents of sources that were heard before, so that an edit made again encodes nothing. Knows no sampler.

Encoding is deterministic, so what is remembered is what would be encoded: results never depend on it. It lives in the
engine's memory, the least recently used goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

from sa3_daw.generation.edit_plan import EditPlan

MAX_BYTES = 64 << 20


class Heard:
    """Encoded stretches of sources, by what decides them."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._latents: OrderedDict[Hashable, Tensor] = OrderedDict()

    def latents(self, plan: EditPlan, start: int, end: int, encode: Callable[[], Tensor]) -> Tensor:
        """Return the latents of frames [start, end) of the plan's source; ``encode`` makes them when need be."""
        job = plan.job
        if job.source is None or not job.source.audio:
            return encode()
        where = (plan.num_samples, plan.rotation, plan.grid, job.loop, start, end)
        key = (plan.spec.name, job.sample_rate, job.source, where)
        found = self._latents.pop(key, None)
        if found is None:
            found = encode()
        self._latents[key] = found
        while self.num_bytes > self._max_bytes:
            self._latents.popitem(last=False)
        return found

    @property
    def num_bytes(self) -> int:
        """Memory that is held."""
        return sum(latents.numel() * latents.element_size() for latents in self._latents.values())
