"""Soft-norm bottleneck while it learns: running statistic, KL-like penalty, latent noise. Source: SPEC 1.6.

Knows no audio. Shapes: B batch, D latent channels, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sa3_daw.models.same import SoftNorm
from sa3_training.flow.noise import gaussian

MOMENTUM = 0.999
SMALLEST_STD = 1e-4
CHANNEL_SHARE = 0.4
LATENT_NOISE = 5e-2
"""Published noise on the decoder's input while training."""


def encode_in_training(bottleneck: SoftNorm, x_BDT: Tensor) -> tuple[Tensor, Tensor]:
    """Return latents and their penalty, moving the running statistic towards this batch's spread."""
    mapped = x_BDT * bottleneck.scaling_factor + bottleneck.bias
    with torch.no_grad():
        moved = MOMENTUM * bottleneck.running_std + (1 - MOMENTUM) * mapped.std()
        moved = torch.where(moved.isfinite(), moved, bottleneck.running_std)
        bottleneck.running_std.copy_(moved.clamp(min=SMALLEST_STD))
    latents = mapped / bottleneck.running_std
    return latents, normal_penalty(latents)


def normal_penalty(latents_BDT: Tensor) -> Tensor:
    """Return how far the latents are from unit normal: along time per channel, and 0.4 of it across channels."""
    return divergence(latents_BDT, dim=2) + CHANNEL_SHARE * divergence(latents_BDT, dim=1)


def divergence(x: Tensor, dim: int) -> Tensor:
    """Return the Kullback-Leibler divergence of N(mean, var) from N(0, 1), statistics taken along ``dim``."""
    mean, variance = x.mean(dim), x.var(dim, unbiased=False).clamp(min=1e-6)
    return (0.5 * (mean.square() + variance - 1 - torch.log(variance))).mean()


def add_latent_noise(latents_BDT: Tensor, generator: torch.Generator) -> Tensor:
    """Return latents with the published training noise, so that the decoder forgives what a DiT gets wrong."""
    return latents_BDT + LATENT_NOISE * gaussian(latents_BDT.shape, generator, latents_BDT.device)
