"""Training of nano's decoder around the frozen lapped path. Knows no diffusion model and no caption.

The lapped path alone reconstructs what its few numbers can hold; the transformer path learns what else the
corpus makes likely. Shapes: B batch, C audio channels, S samples, D latent channels, T frames.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameSpec
from sa3_training.lapped import LappedTransform
from sa3_training.losses import mr_stft, relative_l2
from sa3_training.optim import Ema, optimisers, set_share, trapezoid


@dataclass(frozen=True)
class SameRecipe:
    """One run. Losses see the middle of each crop, where the decoder has its context."""

    minutes: float
    crop_frames: int = 16
    context_frames: int = 2
    batch_size: int = 5
    latent_noise: float = 0.08
    muon_lr: float = 4e-3
    adam_lr: float = 1e-3
    ema: float = 0.998
    seed: int = 0
    save_every_seconds: float = 120.0


def new_same(spec: SameSpec, transform: LappedTransform) -> Same:
    """Return an autoencoder whose lapped path is the closed form, frozen, and whose transformer path is silent."""
    same = Same(spec)
    same.encoder.lapped.weight.data.copy_(transform.analysis)
    same.decoder.lapped.weight.data.copy_(transform.synthesis)
    for frozen in (same.encoder, same.bottleneck, same.decoder.lapped):
        frozen.requires_grad_(False)
    block = same.decoder.layers[3]
    nn.init.normal_(block.new_tokens, std=0.02)
    for layer in block.transformers:
        nn.init.zeros_(layer.self_attn.to_out.weight)
        nn.init.zeros_(layer.ff.ff[2].weight)
        nn.init.zeros_(layer.ff.ff[2].bias)
        # The published alpha of 4 saturates a random network; 1 trains from the first step.
        for norm in (layer.pre_norm, layer.ff_norm, layer.self_attn.q_norm, layer.self_attn.k_norm):
            nn.init.constant_(norm.alpha, 1.0)
    nn.init.constant_(block.mapping.weight_g, 1e-3)
    return same


def crops(audio: Tensor, recipe: SameRecipe, frame_samples: int) -> Iterator[Tensor]:
    """Yield batches [B, 2, S] of float audio from int16 clips [N, 2, S], in an order set by the seed alone."""
    generator = torch.Generator().manual_seed(recipe.seed)
    length = recipe.crop_frames * frame_samples
    while True:
        rows = torch.randint(len(audio), (recipe.batch_size,), generator=generator).tolist()
        starts = torch.randint(audio.shape[-1] - length, (recipe.batch_size,), generator=generator).tolist()
        batch = [audio[row, :, start : start + length] for row, start in zip(rows, starts, strict=True)]
        yield torch.stack(batch).float() / 32767


def train(same: Same, audio: Tensor, recipe: SameRecipe, out: Path) -> None:
    """Train the decoder's transformer path; write ``same.pt`` (averaged weights) and a log as it goes."""
    out.mkdir(parents=True, exist_ok=True)
    frame = same.spec.samples_per_frame
    generator = torch.Generator().manual_seed(recipe.seed)
    parts = optimisers(same, recipe.muon_lr, recipe.adam_lr)
    ema = Ema(same, recipe.ema)
    inner = slice(recipe.context_frames * frame, -recipe.context_frames * frame)
    started = saved = time.monotonic()
    running, count = 0.0, 0
    with (out / "same.log").open("a", encoding="utf-8") as log:
        for step, batch in enumerate(crops(audio, recipe, frame)):
            progress = (time.monotonic() - started) / (recipe.minutes * 60)
            if progress >= 1:
                break
            with torch.no_grad():
                latents = same.encode(batch)
                latents = latents + recipe.latent_noise * torch.randn(latents.shape, generator=generator)
            with torch.autocast("cpu", torch.bfloat16):
                estimate = same.decode(latents)
            estimate, target = estimate.float()[..., inner], batch[..., inner]
            loss = mr_stft(estimate, target) + relative_l2(estimate, target)
            loss.backward()
            nn.utils.clip_grad_norm_(same.parameters(), 1.0)
            for part in parts:
                set_share(part, trapezoid(progress))
                part.step()
                part.zero_grad()
            ema.update(same)
            running, count = running + float(loss.detach()), count + 1
            if step % 25 == 24:
                entry = {"step": step + 1, "loss": running / count, "progress": progress}
                print(json.dumps(entry), file=log, flush=True)
                running, count = 0.0, 0
            if time.monotonic() - saved > recipe.save_every_seconds:
                save(ema.state, out)
                saved = time.monotonic()
    save(ema.state, out)


def save(state: dict[str, Tensor], out: Path) -> None:
    """Write the averaged weights, whole or not at all."""
    torch.save(state, out / "same.part")
    (out / "same.part").rename(out / "same.pt")
