"""Distillation of a small SAME from a large one, so that both speak the same latents. Knows no files and no arguments.

The large one is frozen. Cross-decoded paths bind the two: what the small encodes the large must decode (E_S -> D_L),
and what the large encodes the small must decode (E_L -> D_S). Source: arXiv 2605.17991; weights are ours.
Shapes: B batch, C channels, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sa3_daw.models.same import Same
from sa3_training.loop import Draw, Learner, LoopRecipe, Numbers, Stage, plain_stage
from sa3_training.losses.phase import phase_loss
from sa3_training.losses.spectral import relative_l2, spectral_loss
from sa3_training.optim import Ema
from sa3_training.stages.same import Batches
from sa3_training.world import World


@dataclass(frozen=True)
class PairRecipe:
    """Weights of the three paths and of the latents' own difference."""

    latents: float = 1.0
    small_to_small: float = 1.0
    small_to_large: float = 0.5
    large_to_small: float = 1.0
    phase: float = 0.1
    learning_rate: float = 2e-4
    ema: float = 0.999


def pair_stage(
    small: Same, large: Same, batches: Batches, sample_rate: int, recipe: PairRecipe, loop: LoopRecipe, world: World
) -> Stage:
    """Return the stage that trains ``small``; both must have the same latent channels and frame length."""
    assert small.spec.latent_dim == large.spec.latent_dim
    assert small.spec.samples_per_frame == large.spec.samples_per_frame
    large.requires_grad_(False).eval()

    def loss(draw: Draw) -> tuple[Tensor, Numbers]:
        audio = batches(draw).audio_BCS.to(world.device)
        with torch.no_grad():
            target = large.encode(audio)
        latents = small.encode(audio)
        frames = min(latents.shape[-1], target.shape[-1])
        latents, target = latents[..., :frames], target[..., :frames]
        paths = {
            "small_to_small": small.decode(latents),
            "small_to_large": large.decode(latents),
            "large_to_small": small.decode(target),
        }
        numbers = {"latents": (latents - target).square().mean() / target.square().mean().clamp(min=1e-6)}
        for name, decoded in paths.items():
            heard = decoded[..., : audio.shape[-1]]
            numbers[name] = (
                spectral_loss(heard, audio, sample_rate)
                + relative_l2(heard, audio)
                + recipe.phase * phase_loss(heard, audio)
            )
        total = torch.stack([getattr(recipe, name) * value for name, value in numbers.items()]).sum()
        return total, {name: float(value.detach()) for name, value in numbers.items()}

    trained = [parameter for parameter in small.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    return plain_stage(Learner(small, [optimiser], Ema(small, recipe.ema)), loss, loop, world, "same")
