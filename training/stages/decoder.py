"""Nano's decoder, trained on the latents that its DiT makes. Knows no files and no DiT.

The transformer learns the log gains that bring the lapped path's spectra to those of the clip: from the clip's own
latents, and from rougher ones that the sampler left, so that it takes the sampler's hiss for hiss. Ours alone.
Shapes: B batch, C channels, S samples, D latent channels, T frames.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.models.same import Decoder, Same
from sa3_daw.models.specs import SameSpec
from sa3_training.data.pairs import Pairs
from sa3_training.lapped import LappedTransform
from sa3_training.loop import Draw, Learner, LoopRecipe, Numbers, Stage, plain_stage
from sa3_training.losses.spectral import LOG_FLOOR, relative_l2
from sa3_training.optim import Ema, optimisers
from sa3_training.spectra import magnitudes, mid_side
from sa3_training.world import World

WINDOWS = (2048, 1024, 512, 256, 128)
WINDOWS_AT_ONCE = 3


@dataclass(frozen=True)
class DecoderRecipe:
    """Crops of ``crop_frames``, of which ``edge_frames`` at both ends do not count; weights and rates.

    ``levels`` are where the sampler starts on rough latents, ``clean_share`` of the crops are the clip's own.
    ``silence`` is how much more a log error counts where the clip is silent.
    """

    levels: tuple[float, ...] = (0.2, 0.4, 0.6)
    clean_share: float = 0.4
    crop_frames: int = 20
    edge_frames: int = 2
    batch_size: int = 8
    waveform: float = 3.0
    silence: float = 1.5
    muon_rate: float = 8e-3
    adam_rate: float = 2e-3
    ema: float = 0.99


class PlainMapping(nn.Module):
    """The mapping while it learns, from zero: a convolution as it is, since a gain near zero teaches no direction."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim_out, dim_in, kernel))
        self.bias = nn.Parameter(torch.zeros(dim_out))

    def forward(self, x_BDL: Tensor) -> Tensor:
        return F.conv1d(x_BDL, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


def closed_form(spec: SameSpec, transform: LappedTransform) -> Same:
    """Return an autoencoder whose lapped paths are the transform, frozen."""
    same = Same(spec)
    same.encoder.lapped.weight.data.copy_(transform.analysis)
    same.decoder.lapped.weight.data.copy_(transform.synthesis)
    return same.requires_grad_(False)


def start_decoder(same: Same, spread_D: Tensor) -> Decoder:
    """Make a closed form's transformer ready to learn; it changes nothing yet. ``spread_D`` is the latents' own."""
    decoder = same.decoder
    block = decoder.block
    block.mapping = PlainMapping(block.spec.width, decoder.spec.patch_dim, block.spec.mapping_kernel)  # type: ignore[assignment]
    project = decoder.layers[1]
    assert isinstance(project, nn.Linear)
    with torch.no_grad():
        # Channels differ in size a hundredfold; the quiet ones tell as much.
        project.weight.normal_().div_(spread_D.clamp(min=1e-4))
        project.weight.div_(project.weight.norm(dim=1, keepdim=True)).mul_((spread_D.numel() / 3) ** 0.5)
        block.new_tokens.normal_()
        for key, parameter in block.named_parameters():
            if key.endswith("alpha"):
                # The published 4 saturates the norms of a random network; 1 trains from the first step.
                parameter.fill_(1.0)
    decoder.requires_grad_(True)
    decoder.lapped.requires_grad_(False)
    return decoder


def decoder_stage(decoder: Decoder, pairs: list[Pairs], recipe: DecoderRecipe, loop: LoopRecipe, world: World) -> Stage:
    """Return the stage of the learner ``decoder``, which ``start_decoder`` has made ready."""

    def loss(draw: Draw) -> tuple[Tensor, Numbers]:
        rng = draw.random()
        latents_BDT, audio_BCS = (part.to(world.device) for part in draw_crops(pairs, recipe, rng))
        made_BCS = decoder(latents_BDT)
        edge = recipe.edge_frames * decoder.spec.samples_per_frame
        inner = slice(edge, audio_BCS.shape[-1] - edge)
        windows = rng.sample(WINDOWS, WINDOWS_AT_ONCE)
        return decoder_loss(made_BCS[..., inner], audio_BCS[..., inner], windows, recipe), {}

    learner = Learner(decoder, optimisers(decoder, recipe.muon_rate, recipe.adam_rate), Ema(decoder, recipe.ema))
    return plain_stage(learner, loss, loop, world, "decoder")


def draw_crops(pairs: list[Pairs], recipe: DecoderRecipe, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Return crops of latents [B, D, T] and their audio [B, C, S]; half of them are turned upside down."""
    latents, audio = [], []
    for _ in range(recipe.batch_size):
        pool = rng.choice(pairs)
        row = rng.randrange(len(pool.audio))
        start = rng.randint(0, pool.clean.shape[-1] - recipe.crop_frames)
        stop = start + recipe.crop_frames
        frame = pool.audio.shape[-1] // pool.clean.shape[-1]
        sign = rng.choice((-1, 1))
        source = pool.clean if rng.random() < recipe.clean_share else pool.rough
        latents.append(sign * source[row, :, start:stop].float())
        audio.append(sign * pool.audio[row, :, start * frame : stop * frame].float() / 32767)
    return torch.stack(latents), torch.stack(audio)


def decoder_loss(made_BCS: Tensor, audio_BCS: Tensor, windows: list[int], recipe: DecoderRecipe) -> Tensor:
    """Return the spectral error of mid and side, mean over windows, plus the weighted error of the waveform."""
    made, wanted = mid_side(made_BCS), mid_side(audio_BCS)
    errors = []
    for window in windows:
        a, b = magnitudes(made, window), magnitudes(wanted, window)
        floor = LOG_FLOOR * window**0.5
        weight = torch.where(b < floor, recipe.silence, 1.0)
        log_error = (torch.log(a + floor) - torch.log(b + floor)).abs()
        errors.append((a - b).norm() / b.norm().clamp(min=1e-3) + (weight * log_error).mean())
    return torch.stack(errors).mean() + recipe.waveform * relative_l2(made_BCS, audio_BCS)


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a trained decoder's state with the mapping in the published form, gain and direction."""
    key = next(key for key in state if key.endswith("mapping.weight"))
    weight = state[key]
    gain = weight.flatten(1).norm(dim=1)[:, None, None]
    published = {f"{key}_g": gain, f"{key}_v": torch.where(gain > 0, weight, torch.ones_like(weight))}
    return {name: tensor for name, tensor in state.items() if name != key} | published
