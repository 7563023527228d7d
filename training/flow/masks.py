"""Masks over frames: what is real, what is kept as context, what counts in the loss. Knows no model.

Shapes: B batch, T latent frames. Source: SPEC 8.4, 8.5.
"""

from __future__ import annotations

import torch
from torch import Tensor

FULL, SEGMENTS, PREFIX = range(3)
MASK_SHARES = (0.8, 0.1, 0.1)
"""How often everything is generated, random segments are, or all after a kept prefix."""

MOST_SEGMENTS = 10


def extend_into_silence(valid_B: Tensor, num_frames: int, mean_frames: float, generator: torch.Generator) -> Tensor:
    """Return valid lengths grown by exponential draws: the model learns that silence follows a clip's end.

    Source: SPEC 8.4.
    """
    extra = torch.empty(len(valid_B)).exponential_(1 / max(mean_frames, 1e-9), generator=generator).long()
    return (valid_B + extra).clamp(max=num_frames)


def valid_mask(valid_B: Tensor, num_frames: int) -> Tensor:
    """Return [B, T], True in the first ``valid_B`` frames."""
    return torch.arange(num_frames) < valid_B[:, None]


def keep_masks(
    valid_B: Tensor, num_frames: int, generator: torch.Generator, shares: tuple[float, float, float] = MASK_SHARES
) -> Tensor:
    """Draw inpaint keep-masks [B, T]: 1 keeps a frame as context, 0 generates it; padding is always 0. SPEC 8.5."""
    keep = torch.zeros(len(valid_B), num_frames)
    kinds = torch.multinomial(torch.tensor(shares), len(valid_B), replacement=True, generator=generator)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    for row, (kind, length) in enumerate(zip(kinds.tolist(), valid_B.tolist(), strict=True)):
        if kind == SEGMENTS:
            keep[row, :length] = 1
            count = draw(1, MOST_SEGMENTS)
            for _ in range(count):
                size = draw(1, max(1, length // count))
                start = draw(0, max(0, length - size))
                keep[row, start : start + size] = 0
        elif kind == PREFIX:
            keep[row, : draw(0, length)] = 1
    return keep


def masked_mean(error_BDT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the mean of an error over the masked frames of each item, averaged over the items. SPEC 8.1."""
    per_frame = error_BDT.mean(dim=1)
    per_item = (per_frame * mask_BT).sum(1) / mask_BT.sum(1).clamp(min=1)
    return per_item.mean()
