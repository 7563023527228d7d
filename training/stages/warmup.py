"""Distillation warm-up: a student learns to reach in one step what its teacher reaches in fifteen with guidance.

Knows no audio and no files. Afterwards the student needs no guidance, and adversarial post-training can start from
it. Source: arXiv 2605.17991; solver and guidance: SPEC 4.2, 3.4. Shapes: B batch, D latent channels, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sa3_daw.models.conditioner import Conditioning
from sa3_daw.sampling.guidance import Guidance, guide
from sa3_daw.sampling.samplers import dpmpp
from sa3_daw.sampling.schedule import LogSNRShift, t_grid
from sa3_training.data.crops import on_device
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.flow.masks import keep_masks, masked_mean, valid_mask
from sa3_training.flow.noise import gaussian
from sa3_training.loop import Draw, Learner, LoopRecipe, Numbers, Stage, plain_stage
from sa3_training.optim import Ema
from sa3_training.stages.dit import Batches
from sa3_training.world import World


@dataclass(frozen=True)
class WarmUpRecipe:
    """The teacher's steps and guidance; the levels the student starts from are those of a ``student_steps`` schedule,
    pure noise (one step to the end) for half of the items."""

    teacher_steps: int = 15
    guidance_scale: float = 5.0
    student_steps: int = 8
    learning_rate: float = 1e-4
    ema: float = 0.99


def warm_up_stage(
    student: Denoiser, teacher: Denoiser, batches: Batches, recipe: WarmUpRecipe, loop: LoopRecipe, world: World
) -> Stage:
    """Return the stage of the learner ``dit``; ``teacher`` is frozen."""
    teacher.requires_grad_(False).eval()

    def loss(draw: Draw) -> tuple[Tensor, Numbers]:
        batch = on_device(batches(draw), world.device)
        generator = draw.generator()
        size, _, num_frames = batch.latents_BDT.shape
        keep = keep_masks(batch.valid_B.cpu(), num_frames, generator).to(world.device)
        noise = gaussian(batch.latents_BDT.shape, generator, world.device)
        target = teach(teacher, batch, keep, noise, recipe)
        t = draw_starts(recipe, size, num_frames, generator).to(world.device)
        fresh = gaussian(noise.shape, generator, world.device)
        x = torch.where(t[:, None, None] == 1, noise, torch.lerp(target, fresh, t[:, None, None]))
        nothing_dropped = torch.zeros(size, dtype=torch.bool, device=world.device)
        denoised = x - t[:, None, None] * student(x, t, batch, keep, nothing_dropped)
        error = masked_mean((denoised - target).square(), valid_mask(batch.valid_B.cpu(), num_frames).to(world.device))
        return error, {}

    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    return plain_stage(Learner(student, [optimiser], Ema(student, recipe.ema)), loss, loop, world, "dit")


def draw_starts(recipe: WarmUpRecipe, size: int, num_frames: int, generator: torch.Generator) -> Tensor:
    """Return the level each item starts from: 1 for half of them, else a level of the student's schedule."""
    levels = t_grid(recipe.student_steps, LogSNRShift(), torch.tensor(float(num_frames)))[:-1]
    later = levels[torch.randint(len(levels), (size,), generator=generator)]
    return torch.where(torch.rand(size, generator=generator) < 0.5, torch.ones(size), later)


@torch.no_grad()
def teach(teacher: Denoiser, batch: Batch, keep_BT: Tensor, noise_BDT: Tensor, recipe: WarmUpRecipe) -> Tensor:
    """Return what the teacher makes of the noise: DPM-Solver++ with guidance."""
    context, global_ = teacher.conditioner(batch.states_BLD, batch.mask_BL, batch.seconds_B)
    keep = keep_BT[:, None]
    local = torch.cat((keep, batch.latents_BDT * keep, batch.grid_BGT), dim=1)
    both = Conditioning(
        torch.cat((context, torch.zeros_like(context))), torch.cat((global_, global_)), torch.cat((local, local))
    )
    prepared = teacher.dit.prepare(both)
    guidance = Guidance(scale=recipe.guidance_scale)

    def velocity(x_BDT: Tensor, t_B: Tensor) -> Tensor:
        with_text, without = teacher.dit(torch.cat((x_BDT, x_BDT)), torch.cat((t_B, t_B)), prepared).chunk(2)
        return guide(guidance, x_BDT, t_B, with_text, without)

    grid = t_grid(recipe.teacher_steps, LogSNRShift(), torch.tensor(float(noise_BDT.shape[-1])))
    x = noise_BDT
    for step in dpmpp(velocity, noise_BDT, grid.to(noise_BDT.device)):
        x = step.x_BDT
    return x
