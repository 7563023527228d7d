"""Whether a flat spectrum was meant: rain and hiss are noise too. Knows no audio format and no threshold of the gate.

A failed sampler leaves latents that are noise themselves, without a mean or any likeness of neighbours; a failed
decoder makes audio that does not encode back to its latents. Sound that a model means passes both.
Shapes: D latent channels, T frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sa3_daw.models.same import Same

LEAST_LIKENESS = 0.1
"""Likeness of neighbouring frames. Noise measures 0 within 1 / sqrt(D T). So does everything of nano, whose codec's
signs are random: a flat spectrum from nano, which knows no such sound, is never taken as meant."""

LEAST_AGREEMENT = 0.3
"""Correlation of latents with those of their own decode: unrelated ones measure 0, nano's music above 0.99."""

HEARD_FRAMES = 64


def is_meant(same: Same, latents_DT: Tensor) -> bool:
    """Say whether latents that decode to a flat spectrum look like sound rather than like a failure."""
    return likeness(latents_DT) > chance(latents_DT) + LEAST_LIKENESS and agreement(same, latents_DT) > LEAST_AGREEMENT


def likeness(latents_DT: Tensor) -> float:
    """Return the mean product of neighbouring frames over their mean square; a steady sound gives 1, noise 0."""
    neighbours = float((latents_DT[:, 1:] * latents_DT[:, :-1]).mean()) if latents_DT.shape[1] > 1 else 0.0
    return neighbours / max(float(latents_DT.square().mean()), 1e-12)


def chance(latents_DT: Tensor) -> float:
    """Return the likeness that noise of this size may show."""
    return 3 / math.sqrt(latents_DT.numel())


@torch.inference_mode()
def agreement(same: Same, latents_DT: Tensor) -> float:
    """Return how well the first latents correlate with those of their own decode."""
    first = latents_DT[:, :HEARD_FRAMES]
    again = same.encode(same.decode(first[None]))[0, :, : first.shape[1]]
    both = torch.stack((first.flatten(), again.flatten()))
    return float(torch.corrcoef(both)[0, 1])
