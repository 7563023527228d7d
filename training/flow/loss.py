"""The flow-matching loss: x_t = (1 - t) data + t noise, the model predicts noise - data. Knows no data source.

Shapes: B batch, D latent channels, T frames. Source: SPEC 8.1 to 8.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sa3_training.flow.coupling import couple
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.flow.masks import MASK_SHARES, extend_into_silence, keep_masks, masked_mean, valid_mask
from sa3_training.flow.noise import gaussian
from sa3_training.flow.timesteps import draw_levels, raise_some, shift_for_length


@dataclass(frozen=True)
class FlowRecipe:
    """How noise, levels and masks are drawn; the defaults are the published ones.

    ``high_share`` of the levels are drawn between ``high_from`` and 1 instead, after the shift by length.
    """

    levels: str = "trunc_logit_normal"
    shift_by_length: bool = True
    high_share: float = 0.0
    high_from: float = 0.75
    couple: bool = True
    context_dropout: float = 0.1
    mask_shares: tuple[float, float, float] = MASK_SHARES
    silence_seconds: float = 4.0
    kept_weight: float = 1.0
    """Weight of the error on the kept context, which the model should copy."""


@dataclass(frozen=True)
class Noised:
    """A batch with everything one training part draws at random."""

    x_BDT: Tensor
    t_B: Tensor
    noise_BDT: Tensor
    keep_BT: Tensor
    valid_BT: Tensor
    dropped_B: Tensor


def draw_noise(batch: Batch, recipe: FlowRecipe, frames_per_second: float, generator: torch.Generator) -> Noised:
    """Draw everything from one generator, then move it to the batch's device. Source: SPEC 8.1 to 8.6."""
    data = batch.latents_BDT
    size, _, num_frames = data.shape
    device = data.device
    noise = gaussian(data.shape, generator, device)
    if recipe.couple:
        noise = couple(data, noise)
    t = draw_levels(recipe.levels, size, generator)
    if recipe.shift_by_length:
        t = shift_for_length(t, batch.source_frames_B.cpu())
    t = raise_some(t, recipe.high_share, recipe.high_from, generator)
    valid = batch.valid_B.cpu()
    if bool((valid < num_frames).any()):
        valid = extend_into_silence(valid, num_frames, recipe.silence_seconds * frames_per_second, generator)
    keep = keep_masks(valid, num_frames, generator, recipe.mask_shares)
    dropped = torch.rand(size, generator=generator) < recipe.context_dropout
    t = t.to(device)
    x = torch.lerp(data, noise, t[:, None, None])
    return Noised(x, t, noise, keep.to(device), valid_mask(valid, num_frames).to(device), dropped.to(device))


def flow_loss(
    model: Denoiser, batch: Batch, recipe: FlowRecipe, frames_per_second: float, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Return the squared velocity error of the frames to generate, plus that of the kept ones. Source: SPEC 8.1."""
    drawn = draw_noise(batch, recipe, frames_per_second, generator)
    all_valid = bool(drawn.valid_BT.all())
    velocity = model(
        drawn.x_BDT, drawn.t_B, batch, drawn.keep_BT, drawn.dropped_B, None if all_valid else drawn.valid_BT
    )
    error = (velocity - (drawn.noise_BDT - batch.latents_BDT)).square()
    made = masked_mean(error, drawn.valid_BT * (1 - drawn.keep_BT))
    kept = masked_mean(error, drawn.keep_BT)
    loss = made + recipe.kept_weight * kept
    return loss, {"made": float(made.detach()), "kept": float(kept.detach())}
