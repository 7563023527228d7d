"""Adversarial post-training: few-step samples that a discriminator made of the base model cannot tell from real ones.

The discriminator is relativistic (real against the sample of the same prompt and noise) and contrastive (the real
with its own text against the real with another's), so that quality and obedience both count. The result is sampled
by ping-pong and needs no guidance. Source: arXiv 2605.17991 and ARC, arXiv 2505.08175. Knows no audio and no files.
Shapes: B batch, D latent channels, T frames, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sa3_training.data.crops import on_device
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.flow.masks import keep_masks, valid_mask
from sa3_training.flow.noise import gaussian
from sa3_training.flow.timesteps import draw_levels
from sa3_training.loop import Draw, Learner, LoopRecipe, Numbers, Stage
from sa3_training.losses.adversarial import discriminator_loss, generator_loss
from sa3_training.losses.alignment import Alignment
from sa3_training.optim import Ema
from sa3_training.stages.dit import Batches
from sa3_training.stages.warmup import WarmUpRecipe, draw_starts
from sa3_training.world import World


@dataclass(frozen=True)
class PostRecipe:
    """Learning rates, the contrastive weight, and how many of the base model's blocks the discriminator keeps."""

    generator_rate: float = 5e-5
    discriminator_rate: float = 1e-4
    contrastive: float = 1.0
    num_blocks: int = 4
    student_steps: int = 8
    ema: float = 0.99


class Discriminator(nn.Module):
    """The base model up to some block, and a small head on the tokens there: one score per frame."""

    def __init__(self, base: Denoiser, num_blocks: int) -> None:
        super().__init__()
        self.base = base
        stack = base.dit.transformer
        del stack.layers[min(num_blocks, len(stack.layers)) :]
        width = base.dit.spec.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.num_memory_tokens = base.dit.spec.num_memory_tokens
        self._tokens: list[Tensor] = []
        list(stack.blocks())[-1].register_forward_hook(self._remember)

    def forward(self, x_BDT: Tensor, t_B: Tensor, batch: Batch, keep_BT: Tensor) -> Tensor:
        """Return how real noisy latents are, [B, T]."""
        nothing_dropped = torch.zeros(len(x_BDT), dtype=torch.bool, device=x_BDT.device)
        self.base(x_BDT, t_B, batch, keep_BT, nothing_dropped)
        tokens = self._tokens.pop()[:, self.num_memory_tokens :]
        return self.head(tokens)[..., 0]

    def _remember(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._tokens = [output]


def post_stage(
    student: Denoiser,
    discriminator: Discriminator,
    batches: Batches,
    recipe: PostRecipe,
    loop: LoopRecipe,
    world: World,
    alignment: Alignment | None = None,
) -> Stage:
    """Return the stage of the learners ``dit``, which ``alignment`` judges too where it is given, and
    ``discriminator``."""
    learner = Learner(student, [_adam(student, recipe.generator_rate)], Ema(student, recipe.ema))
    judge = Learner(discriminator, [_adam(discriminator, recipe.discriminator_rate)])

    def advance(step: int, share: float) -> Numbers:
        numbers = {"generator": 0.0, "discriminator": 0.0, "contrastive": 0.0}
        if alignment:
            numbers["alignment"] = 0.0
        kept = []
        for part in world.parts(loop.num_parts):
            pair = draw_pair(student, on_device(batches(Draw(loop.seed, step, part)), world.device), recipe,
                             Draw(loop.seed, step, part).generator())  # fmt: skip
            real, fake = (scores(discriminator, x, pair.batch, pair) for x in (pair.real_BDT, pair.fake_BDT))
            loss = generator_loss(real.detach(), fake) / loop.num_parts
            numbers["generator"] += float(loss.detach())
            if alignment:
                unlike = alignment.loss(pair.made_BDT, pair.batch.states_BLD, pair.batch.mask_BL) / loop.num_parts
                numbers["alignment"] += float(unlike.detach())
                loss = loss + alignment.weight * unlike
            torch.autograd.backward(loss)
            kept.append(pair.detached())
        learner.descend(world, share)
        discriminator.zero_grad()
        for pair in kept:
            real, fake = (scores(discriminator, x, pair.batch, pair) for x in (pair.real_BDT, pair.fake_BDT))
            apart = discriminator_loss(real, fake) / loop.num_parts
            mismatched = scores(discriminator, pair.real_BDT, other_text(pair.batch), pair)
            matched = discriminator_loss(real, mismatched) / loop.num_parts
            torch.autograd.backward(apart + recipe.contrastive * matched)
            numbers["discriminator"] += float(apart.detach())
            numbers["contrastive"] += float(matched.detach())
        judge.descend(world, share)
        return world.sum_numbers(numbers)

    return Stage({"dit": learner, "discriminator": judge}, advance)


@dataclass(frozen=True)
class Pair:
    """Real and generated latents, both noised to the same level with the same noise; ``made_BDT`` is the student's
    answer without noise. Only ``valid_BT`` frames are judged: real padding would be told apart by its exactness."""

    real_BDT: Tensor
    fake_BDT: Tensor
    made_BDT: Tensor
    level_B: Tensor
    batch: Batch
    keep_BT: Tensor
    valid_BT: Tensor

    def detached(self) -> Pair:
        """Return the pair without the way back into the generator."""
        return replace(self, fake_BDT=self.fake_BDT.detach(), made_BDT=self.made_BDT.detach())


def draw_pair(student: Denoiser, batch: Batch, recipe: PostRecipe, generator: torch.Generator) -> Pair:
    """Let the student denoise real latents from a level of its schedule in one step, then noise both anew."""
    data = batch.latents_BDT
    size, _, num_frames = data.shape
    device = data.device
    keep = keep_masks(batch.valid_B.cpu(), num_frames, generator).to(device)
    noises = gaussian((2, *data.shape), generator, device)
    t = draw_starts(WarmUpRecipe(student_steps=recipe.student_steps), size, num_frames, generator).to(device)
    x = torch.lerp(data, noises[0], t[:, None, None])
    nothing_dropped = torch.zeros(size, dtype=torch.bool, device=device)
    made = x - t[:, None, None] * student(x, t, batch, keep, nothing_dropped)
    level = draw_levels("uniform", size, generator).to(device)
    real, fake = (torch.lerp(clean, noises[1], level[:, None, None]) for clean in (data, made))
    valid = valid_mask(batch.valid_B.cpu(), num_frames).to(device)
    return Pair(real, fake, made, level, batch, keep, valid)


def scores(discriminator: nn.Module, x_BDT: Tensor, batch: Batch, pair: Pair) -> Tensor:
    """Return how real each valid frame is, [valid frames of the batch]."""
    judged_BT: Tensor = discriminator(x_BDT, pair.level_B, batch, pair.keep_BT)
    return judged_BT[pair.valid_BT]


def other_text(batch: Batch) -> Batch:
    """Return the batch with every item's text handed to the next one."""
    return replace(batch, states_BLD=batch.states_BLD.roll(1, 0), mask_BL=batch.mask_BL.roll(1, 0))


def _adam(module: nn.Module, rate: float) -> torch.optim.Optimizer:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, betas=(0.5, 0.95), weight_decay=0.01)
