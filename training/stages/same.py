"""SAME training: an autoencoder that sounds right and whose latents a DiT can learn. Knows no files and no arguments.

Every loss is its own file under ``losses/``; here they are weighed and added. Source: arXiv 2605.17991; bottleneck and
noises: SPEC 1.6. The weights are ours. Shapes: B batch, C channels, S samples, D latent channels, T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sa3_daw.models.resampling import Noise
from sa3_daw.models.same import Same
from sa3_training.data.audio import AudioBatch
from sa3_training.flow.noise import gaussian
from sa3_training.loop import Draw, Learner, LoopRecipe, Numbers, Stage
from sa3_training.losses import adversarial
from sa3_training.losses.adversarial import Discriminators, mean_over
from sa3_training.losses.bottleneck import add_latent_noise, encode_in_training
from sa3_training.losses.contrastive import Critic
from sa3_training.losses.flow_probe import FlowProbe, probe_loss
from sa3_training.losses.phase import phase_loss
from sa3_training.losses.regressors import Regressors, regressor_loss
from sa3_training.losses.spectral import relative_l2, spectral_loss
from sa3_training.optim import Ema
from sa3_training.spectra import magnitudes, mel_filters
from sa3_training.world import World

FEATURE_BANDS = 64
FEATURE_WINDOW = 2048


@dataclass(frozen=True)
class SameRecipe:
    """Weights of the losses and sizes of the helpers. Until ``warm_up_steps`` there is no adversary and the probe only
    follows; afterwards its gradient reaches the encoder."""

    spectral: float = 1.0
    phase: float = 0.1
    waveform: float = 1.0
    adversarial: float = 0.1
    feature: float = 0.5
    probe: float = 0.1
    regressor: float = 0.1
    critic: float = 0.05
    normal: float = 1e-3
    warm_up_steps: int = 5000
    learning_rate: float = 2e-4
    discriminator_rate: float = 2e-4
    discriminator_width: int = 32
    probe_width: int = 768
    probe_depth: int = 4
    ema: float = 0.999


class Helpers(nn.Module):
    """What looks at the latents while the autoencoder learns and is thrown away afterwards."""

    def __init__(self, latent_dim: int, text_dim: int, recipe: SameRecipe) -> None:
        super().__init__()
        self.probe = FlowProbe(latent_dim, recipe.probe_width, recipe.probe_depth)
        self.regressors = Regressors(latent_dim)
        self.critic = Critic(latent_dim, FEATURE_BANDS, text_dim)


Batches = Callable[[Draw], AudioBatch]
TextStates = Callable[[tuple[str, ...]], Tensor]
"""Captions -> states [B, L, D]."""


def same_stage(
    same: Same,
    batches: Batches,
    text_states: TextStates,
    text_dim: int,
    sample_rate: int,
    recipe: SameRecipe,
    loop: LoopRecipe,
    world: World,
) -> Stage:
    """Return the stage of an autoencoder: its learner ``same`` (with helpers) and its adversary ``discriminators``."""
    torch.manual_seed(loop.seed)
    helpers = Helpers(same.spec.latent_dim, text_dim, recipe).to(world.device)
    judges = Discriminators(same.spec.audio_channels, recipe.discriminator_width).to(world.device)
    together = nn.ModuleDict({"same": same, "helpers": helpers})
    learner = Learner(together, [_adam(together, recipe.learning_rate)], Ema(together, recipe.ema))
    judge = Learner(judges, [_adam(judges, recipe.discriminator_rate)])

    def generator_part(draw: Draw, share_of_parts: float) -> tuple[Numbers, Tensor, Tensor]:
        batch = batches(draw)
        audio = batch.audio_BCS.to(world.device)
        generator = draw.generator()
        made = reconstruct(same, audio, generator)
        text = text_states(batch.captions).to(world.device)
        follows = draw.step < recipe.warm_up_steps
        numbers = _latent_losses(helpers, made, audio, text, follows, generator, sample_rate)
        numbers |= {
            "spectral": spectral_loss(made.audio_BCS, audio, sample_rate),
            "phase": phase_loss(made.audio_BCS, audio),
            "waveform": relative_l2(made.audio_BCS, audio),
            "normal": made.penalty,
        }
        if not follows:
            (real, real_inner), (ours, our_inner) = judges(audio), judges(made.audio_BCS)
            numbers["adversarial"] = mean_over(adversarial.generator_loss, real, ours)
            numbers["feature"] = adversarial.feature_loss(real_inner, our_inner)
        total = torch.stack([getattr(recipe, name) * value for name, value in numbers.items()]).sum()
        torch.autograd.backward(total * share_of_parts)
        seen = {name: float(value.detach()) * share_of_parts for name, value in (numbers | {"loss": total}).items()}
        return seen, audio, made.audio_BCS.detach()

    def advance(step: int, share: float) -> Numbers:
        numbers: Numbers = {}
        pairs = []
        before = same.bottleneck.running_std.clone()
        after = torch.zeros_like(before)
        for part in world.parts(loop.num_parts):
            same.bottleneck.running_std.copy_(before)
            seen, audio, estimate = generator_part(Draw(loop.seed, step, part), 1 / loop.num_parts)
            numbers = {name: numbers.get(name, 0.0) + value for name, value in seen.items()}
            pairs.append((audio, estimate))
            after += same.bottleneck.running_std / loop.num_parts
        world.sum_tensor(after)
        same.bottleneck.running_std.copy_(after)
        learner.descend(world, share)
        if step >= recipe.warm_up_steps:
            judge.module.zero_grad()
            numbers["discriminator"] = sum(_judge(judges, *pair, 1 / loop.num_parts) for pair in pairs)
            judge.descend(world, share)
        return world.sum_numbers(numbers)

    return Stage({"same": learner, "discriminators": judge}, advance)


@dataclass(frozen=True)
class Reconstruction:
    """An autoencoder's way there and back while it learns."""

    latents_BDT: Tensor
    audio_BCS: Tensor
    penalty: Tensor


def reconstruct(same: Same, audio_BCS: Tensor, generator: torch.Generator) -> Reconstruction:
    """Encode and decode with the training noises, cropped to the audio's length."""

    def noise(shape: tuple[int, ...]) -> Tensor:
        return gaussian(shape, generator, audio_BCS.device)

    token_noise: Noise = noise
    latents, penalty = encode_in_training(same.bottleneck, same.encoder(audio_BCS, token_noise))
    noisy = add_latent_noise(latents, generator) * same.bottleneck.running_std
    decoded = same.decoder(noisy, token_noise)
    return Reconstruction(latents, decoded[..., : audio_BCS.shape[-1]], penalty)


def log_mel(audio_BCS: Tensor, sample_rate: int) -> Tensor:
    """Return the log-mel spectrogram of the mid channel, [B, bands, T], for the critic."""
    filters = mel_filters(FEATURE_BANDS, FEATURE_WINDOW, sample_rate).to(audio_BCS.device)
    return torch.log10(filters @ magnitudes(audio_BCS.mean(1, keepdim=True), FEATURE_WINDOW) + 1e-3)


def _latent_losses(
    helpers: Helpers, made: Reconstruction, audio_BCS: Tensor, text_BLD: Tensor, follows: bool,
    generator: torch.Generator, sample_rate: int,
) -> dict[str, Tensor]:  # fmt: skip
    latents = made.latents_BDT
    whole = latents[..., : audio_BCS.shape[-1] // (audio_BCS.shape[-1] // latents.shape[-1])]
    return {
        "probe": probe_loss(helpers.probe, latents, detach=follows, generator=generator),
        "regressor": regressor_loss(helpers.regressors, whole, audio_BCS, sample_rate),
        "critic": helpers.critic(latents, log_mel(audio_BCS, sample_rate), text_BLD.transpose(1, 2)),
    }


def _judge(judges: Discriminators, audio_BCS: Tensor, estimate_BCS: Tensor, share: float) -> float:
    real, ours = judges(audio_BCS)[0], judges(estimate_BCS)[0]
    loss = mean_over(adversarial.discriminator_loss, real, ours) * share
    torch.autograd.backward(loss)
    return float(loss.detach())


def _adam(module: nn.Module, rate: float) -> torch.optim.Optimizer:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, betas=(0.8, 0.99), weight_decay=0.01)
