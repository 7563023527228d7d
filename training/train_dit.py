"""Flow-matching training of nano's DiT on a corpus of latents. Knows no audio and no decoder.

x_t = (1 - t) data + t noise, target v = noise - data. Shapes: B batch, D latent channels, T frames.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sa3_daw.models.conditioner import Conditioner, Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.specs import ConditioningSpec, DiTSpec
from sa3_training.data import Batch, Clips, batches
from sa3_training.optim import Ema, optimisers, set_share, trapezoid

CONTEXT_DROPOUT = 0.1
MASK_KINDS = (0.8, 0.1, 0.1)
"""Shares of everything generated, random segments kept out, causal prefix kept (SPEC 8.5)."""


@dataclass(frozen=True)
class DiTRecipe:
    """One run. ``minutes`` bounds the wall time; the learning rate decays towards its end."""

    minutes: float
    lengths: tuple[tuple[int, int], ...]
    muon_lr: float = 4e-3
    adam_lr: float = 1e-3
    ema: float = 0.999
    seed: int = 0
    save_every_seconds: float = 120.0


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
    for block in dit.transformer.layers:
        nn.init.zeros_(block.self_attn.to_out.weight)
        nn.init.zeros_(block.cross_attn.to_out.weight)
        nn.init.zeros_(block.ff.ff[2].weight)
        nn.init.zeros_(block.ff.ff[2].bias)
        nn.init.zeros_(block.to_scale_shift_gate)
    modulation = dit.transformer.global_cond_embedder[2]
    for parameter in (
        dit.transformer.project_out.weight, dit.preprocess_conv.weight, dit.postprocess_conv.weight,
        modulation.weight, modulation.bias,
    ):  # fmt: skip
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
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model(x, t, batch, keep, dropped)
    error = (velocity.float() - (noise - data)).square().mean(dim=1)
    generate = 1 - keep
    return ((error * generate).sum(1) / generate.sum(1).clamp(min=1)).mean()


def train(model: Denoiser, pools: list[Clips], recipe: DiTRecipe, out: Path) -> None:
    """Train and write ``dit.pt`` (the averaged weights) every few minutes and at the end, with a log beside it."""
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(recipe.seed)
    parts = optimisers(model, recipe.muon_lr, recipe.adam_lr)
    ema = Ema(model, recipe.ema)
    started = saved = time.monotonic()
    budget = recipe.minutes * 60
    running, count = 0.0, 0
    with (out / "dit.log").open("a", encoding="utf-8") as log:
        for step, batch in enumerate(batches(pools, list(recipe.lengths), recipe.seed)):
            progress = (time.monotonic() - started) / budget
            if progress >= 1:
                break
            loss = flow_loss(model, batch, generator)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for part in parts:
                set_share(part, trapezoid(progress))
                part.step()
                part.zero_grad()
            ema.update(model)
            running, count = running + float(loss.detach()), count + 1
            if step % 50 == 49:
                entry = {"step": step + 1, "loss": running / count, "progress": progress}
                print(json.dumps(entry), file=log, flush=True)
                running, count = 0.0, 0
            if time.monotonic() - saved > recipe.save_every_seconds:
                save(ema.state, out)
                saved = time.monotonic()
    save(ema.state, out)


def save(state: dict[str, Tensor], out: Path) -> None:
    """Write the averaged weights, whole or not at all."""
    torch.save(state, out / "dit.part")
    (out / "dit.part").rename(out / "dit.pt")
