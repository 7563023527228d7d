"""Guidance distillation: a student learns to say in one call what its teacher says in two. Knows no audio, no files.

Where noise is strong the student's velocity becomes the teacher's guided one, at the levels the sampler asks for; where
little noise is left it learns from the data themselves, so that what should be silent becomes silent. It halves the
calls of every step, and few-step distillation starts from a model that already obeys. Source: Meng et al., arXiv
2210.03142; learning from the data at low levels is ours. Shapes: B batch, D latent channels, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sa3_daw.sampling.guidance import Guidance, guide
from sa3_daw.sampling.schedule import LogSNRShift
from sa3_training.data.crops import on_device
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.flow.masks import keep_masks, masked_mean, valid_mask
from sa3_training.flow.noise import gaussian
from sa3_training.loop import Draw, Learner, LoopRecipe, Numbers, Stage, plain_stage
from sa3_training.optim import Ema, optimisers
from sa3_training.stages.dit import Batches
from sa3_training.world import World


@dataclass(frozen=True)
class GuidanceRecipe:
    """The scale, learned above the level ``guided_above``; the share of draws below it; rates as in flow matching."""

    scale: float = 3.0
    guided_above: float = 0.35
    late_share: float = 0.3
    muon_rate: float = 3e-3
    adam_rate: float = 5e-4
    ema: float = 0.98


def guidance_stage(
    student: Denoiser, teacher: Denoiser, batches: Batches, recipe: GuidanceRecipe, loop: LoopRecipe, world: World
) -> Stage:
    """Return the stage of the learner ``dit``; ``teacher`` is frozen."""
    teacher.requires_grad_(False).eval()

    def loss(draw: Draw) -> tuple[Tensor, Numbers]:
        batch = on_device(batches(draw), world.device)
        generator = draw.generator()
        data = batch.latents_BDT
        size, _, num_frames = data.shape
        valid = batch.valid_B.cpu()
        keep = keep_masks(valid, num_frames, generator).to(world.device)
        noise = gaussian(data.shape, generator, world.device)
        t = draw_sampled_levels(recipe, size, num_frames, generator).to(world.device)[:, None, None]
        x = torch.lerp(data, noise, t)
        guided = guided_velocity(teacher, batch, keep, x, t.flatten(), recipe.scale)
        target = torch.where(t > recipe.guided_above, guided, noise - data)
        nothing_dropped = torch.zeros(size, dtype=torch.bool, device=world.device)
        error = (student(x, t.flatten(), batch, keep, nothing_dropped) - target).square()
        return masked_mean(error, valid_mask(valid, num_frames).to(world.device) * (1 - keep)), {}

    learner = Learner(student, optimisers(student, recipe.muon_rate, recipe.adam_rate), Ema(student, recipe.ema))
    return plain_stage(learner, loss, loop, world, "dit")


def draw_sampled_levels(recipe: GuidanceRecipe, size: int, num_frames: int, generator: torch.Generator) -> Tensor:
    """Return levels [B] spread as the sampler's schedule spreads its steps, but ``late_share`` of them late."""
    shift, frames = LogSNRShift(), torch.tensor(float(num_frames))
    lowest = shift(torch.tensor(1e-6), frames)
    late = torch.rand(size, generator=generator) < recipe.late_share
    share = torch.rand(size, generator=generator)
    return torch.where(late, torch.lerp(lowest, torch.tensor(recipe.guided_above), share), shift(1 - share, frames))


@torch.no_grad()
def guided_velocity(
    teacher: Denoiser, batch: Batch, keep_BT: Tensor, x_BDT: Tensor, t_B: Tensor, scale: float
) -> Tensor:
    """Return the teacher's guided velocity; both of its calls go as one batch, the one with text first."""
    size = len(x_BDT)
    twice = replace(batch, **{name: torch.cat((tensor, tensor)) for name, tensor in vars(batch).items()})
    dropped = torch.arange(2 * size, device=x_BDT.device) >= size
    velocity = teacher(x_BDT.repeat(2, 1, 1), t_B.repeat(2), twice, keep_BT.repeat(2, 1), dropped)
    return guide(Guidance(scale), x_BDT, t_B, *velocity.chunk(2))
