"""Flow-matching training of nano's DiT on a corpus of latents. Knows no audio and no decoder.

x_t = (1 - t) data + t noise, target v = noise - data. Shapes: B batch, D latent channels, T frames.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor, nn

from sa3_daw.models.conditioner import Conditioner, Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.specs import ConditioningSpec, DiTSpec
from sa3_training import loop
from sa3_training.data import Batch, Clips, draw_batch
from sa3_training.loop import LoopRecipe, step_generator

CONTEXT_DROPOUT = 0.1
MASK_KINDS = (0.8, 0.1, 0.1)
"""Shares of everything generated, random segments kept out, causal prefix kept (SPEC 8.5)."""


Lengths = tuple[tuple[int, int], ...]
"""Pairs of a crop length in frames and a batch size."""

ZEROED = (
    "attn.to_out.weight", "ff.ff.2.weight", "ff.ff.2.bias", "to_scale_shift_gate", "project_out.weight",
    "preprocess_conv.weight", "postprocess_conv.weight", "global_cond_embedder.2.weight", "global_cond_embedder.2.bias",
)  # fmt: skip


class Denoiser(nn.Module):
    """DiT and conditioner together: what is trained."""

    def __init__(self, dit: DiTSpec, conditioning: ConditioningSpec) -> None:
        super().__init__()
        self.dit = DiT(dit)
        self.conditioner = Conditioner(conditioning)
        initialise(self.dit)

    def forward(self, x_BDT: Tensor, t_B: Tensor, batch: Batch, keep_BT: Tensor, dropped_B: Tensor) -> Tensor:
        """Return the velocity. ``keep_BT`` 1 keeps a frame as context, ``dropped_B`` True hides the text."""
        context, global_ = self.conditioner(batch.states_BLD, batch.mask_BL, batch.seconds_B)
        context = torch.where(dropped_B[:, None, None], torch.zeros_like(context), context)
        keep = keep_BT[:, None]
        local = torch.cat((keep, batch.latents_BDT * keep, batch.grid_BGT), dim=1)
        velocity: Tensor = self.dit(x_BDT, t_B, self.dit.prepare(Conditioning(context, global_, local)))
        return velocity


def initialise(dit: DiT) -> None:
    """Zero what ends a residual branch or the network, so that training starts from v = 0."""
    nn.init.normal_(dit.transformer.memory_tokens, std=0.02)
    for key, parameter in dit.named_parameters():
        if key.endswith(ZEROED):
            nn.init.zeros_(parameter)


def keep_masks(size: int, num_frames: int, generator: torch.Generator) -> Tensor:
    """Draw inpaint keep-masks [B, T]: 1 keeps, 0 is generated."""
    keep = torch.zeros(size, num_frames)
    kinds = torch.multinomial(torch.tensor(MASK_KINDS), size, replacement=True, generator=generator)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    for row, kind in enumerate(kinds.tolist()):
        if kind == 1:
            keep[row] = 1
            count = draw(1, 10)
            for _ in range(count):
                length = draw(1, max(1, num_frames // count))
                start = draw(0, num_frames - length)
                keep[row, start : start + length] = 0
        elif kind == 2:
            keep[row, : draw(0, num_frames)] = 1
    return keep


def flow_loss(model: Denoiser, batch: Batch, generator: torch.Generator) -> Tensor:
    """Mean squared velocity error over the frames to generate."""
    data = batch.latents_BDT
    size, _, num_frames = data.shape
    t = torch.sigmoid(0.4 + 1.2 * torch.randn(size, generator=generator))
    noise = torch.randn(data.shape, generator=generator)
    keep = keep_masks(size, num_frames, generator)
    dropped = torch.rand(size, generator=generator) < CONTEXT_DROPOUT
    x = torch.lerp(data, noise, t[:, None, None])
    velocity = model(x, t, batch, keep, dropped)
    error = (velocity - (noise - data)).square().mean(dim=1)
    generate = 1 - keep
    loss: Tensor = ((error * generate).sum(1) / generate.sum(1).clamp(min=1)).mean()
    return loss


def train(model: Denoiser, pools: list[Clips], lengths: Lengths, recipe: LoopRecipe, out: Path) -> None:
    """Train DiT and conditioner on the pools, into ``out/dit.ckpt`` (see ``loop.train``)."""

    def loss_of_step(step: int) -> Tensor:
        batch = draw_batch(pools, lengths, random.Random(f"{recipe.seed} {step}"))
        return flow_loss(model, batch, step_generator(recipe.seed, step))

    loop.train(model, loss_of_step, recipe, out, "dit")
