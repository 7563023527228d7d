"""Noise that depends on a seed alone: one CPU generator per item of a batch. Knows no job and no model.

So an item draws the same numbers alone and in any batch, on any machine, whatever other jobs do meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SeededNoise:
    """Unit normal noise for a batch, each item's drawn in order from its own seed."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(self, dim: int, num_frames: int) -> Tensor:
        """Return the next noise of every item, [B, dim, num_frames] float32."""
        return torch.cat([torch.randn(1, dim, num_frames, generator=generator) for generator in self._generators])

    def of_item(self, index: int) -> SeededNoise:
        """Return one item's noise, which goes on where the batch stands."""
        alone = SeededNoise(())
        alone._generators = [self._generators[index]]
        return alone
