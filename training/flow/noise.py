"""Gaussian noise from a part's generator, on any device. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Return noise that the generator, which is the CPU's, decides.

    A GPU draws by a generator of its own, seeded by this one: four million numbers, a large batch, take the CPU 40 ms,
    as long as the step itself.
    """
    if device.type == "cpu":
        return torch.randn(tuple(shape), generator=generator)
    own = torch.Generator(device)
    own.manual_seed(int(torch.randint(1 << 62, (), generator=generator)))
    return torch.randn(tuple(shape), generator=own, device=device)
