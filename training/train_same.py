"""Training of nano's decoder around the frozen lapped path. Knows no diffusion model and no caption.

The lapped path alone reconstructs what its few numbers can hold; the transformer path learns what else the
corpus makes likely. As it starts here that path only falls silent, so nano's recipe leaves it out
(``NANO_DECODER_DEPTH`` 0); docs/experiments.md has the cause and the start that does learn.
Shapes: B batch, C audio channels, S samples, D latent channels, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameSpec
from sa3_training import loop
from sa3_training.lapped import LappedTransform
from sa3_training.loop import LoopRecipe, step_generator
from sa3_training.losses import mr_stft, relative_l2


@dataclass(frozen=True)
class CropRecipe:
    """What one step sees. Losses are taken in the middle of each crop, where the decoder has its context."""

    crop_frames: int = 16
    context_frames: int = 2
    batch_size: int = 5
    latent_noise: float = 0.08


def new_same(spec: SameSpec, transform: LappedTransform) -> Same:
    """Return an autoencoder whose lapped path is the closed form, frozen, and whose transformer path is silent."""
    same = Same(spec)
    same.encoder.lapped.weight.data.copy_(transform.analysis)
    same.decoder.lapped.weight.data.copy_(transform.synthesis)
    for frozen in (same.encoder, same.bottleneck, same.decoder.lapped):
        frozen.requires_grad_(False)
    for key, parameter in same.decoder.named_parameters():
        if key.endswith("new_tokens"):
            nn.init.normal_(parameter, std=0.02)
        elif key.endswith(("to_out.weight", "ff.ff.2.weight", "ff.ff.2.bias")):
            nn.init.zeros_(parameter)
        elif key.endswith("alpha"):
            # The published 4 saturates the norms of a random network; 1 trains from the first step.
            nn.init.constant_(parameter, 1.0)
        elif key.endswith("mapping.weight_g"):
            nn.init.constant_(parameter, 1e-3)
    return same


def draw_crops(audio: Tensor, crop: CropRecipe, frame_samples: int, generator: torch.Generator) -> Tensor:
    """Draw a batch [B, 2, S] of float audio from int16 clips [N, 2, S]."""
    length = crop.crop_frames * frame_samples
    rows = torch.randint(len(audio), (crop.batch_size,), generator=generator).tolist()
    starts = torch.randint(audio.shape[-1] - length, (crop.batch_size,), generator=generator).tolist()
    batch = [audio[row, :, start : start + length] for row, start in zip(rows, starts, strict=True)]
    return torch.stack(batch).float() / 32767


def decoder_loss(same: Same, audio_BCS: Tensor, crop: CropRecipe, generator: torch.Generator) -> Tensor:
    """Multi-resolution spectral error and relative waveform error of a decode from noisy latents."""
    with torch.no_grad():
        latents = same.encode(audio_BCS)
        latents = latents + crop.latent_noise * torch.randn(latents.shape, generator=generator)
    context = crop.context_frames * same.spec.samples_per_frame
    estimate, target = same.decode(latents)[..., context:-context], audio_BCS[..., context:-context]
    return mr_stft(estimate, target) + relative_l2(estimate, target)


def train(same: Same, audio: Tensor, crop: CropRecipe, recipe: LoopRecipe, out: Path) -> None:
    """Train the decoder's transformer path on int16 clips, into ``out/same.ckpt`` (see ``loop.train``)."""

    def loss_of_step(step: int) -> Tensor:
        generator = step_generator(recipe.seed, step)
        return decoder_loss(same, draw_crops(audio, crop, same.spec.samples_per_frame, generator), crop, generator)

    loop.train(same, loss_of_step, recipe, out, "same")
