"""Semantic regressors: chroma and stereo level difference read from the latents by one linear layer. Knows no decoder.

They keep what music is made of near the surface of the latents. Source: arXiv 2605.17991 (SAME). Shapes: B batch,
C channels, S samples, D latent channels, T frames, R samples in a frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PITCH_CLASSES = 12
LOWEST_HERTZ, HIGHEST_HERTZ = 55.0, 5000.0
CHROMA_WINDOW = 8192
LEVEL_FLOOR = 1e-4
MOST_DB = 24.0
"""Level differences are cut here and divided by it, so that both targets are of order one."""


def chroma(audio_BCS: Tensor, frame_samples: int, sample_rate: int) -> Tensor:
    """Return the share of each pitch class (0 is C) in every frame's energy, [B, 12, T]; A at 440 Hz is class 9."""
    mono = audio_BCS.mean(1)
    num_frames = mono.shape[-1] // frame_samples
    reach = max(0, CHROMA_WINDOW - frame_samples)
    padded = F.pad(mono, (reach // 2, reach - reach // 2))
    frames = padded.unfold(-1, frame_samples + reach, frame_samples)[:, :num_frames]
    power = torch.fft.rfft(frames * torch.hann_window(frames.shape[-1], device=mono.device)).abs().square()
    energy = power @ _classes(frames.shape[-1], sample_rate).to(mono.device).T
    return (energy / energy.sum(-1, keepdim=True).clamp(min=1e-9)).transpose(1, 2)


def level_difference(audio_BCS: Tensor, frame_samples: int) -> Tensor:
    """Return by how many dB left is louder than right in every frame, over MOST_DB, [B, 1, T] in -1 to 1."""
    num_frames = audio_BCS.shape[-1] // frame_samples
    frames = audio_BCS[..., : num_frames * frame_samples].unfold(-1, frame_samples, frame_samples)
    level = frames.square().mean(-1).sqrt() + LEVEL_FLOOR
    decibels = 20 * torch.log10(level[:, 0] / level[:, 1])
    return (decibels / MOST_DB).clamp(-1, 1)[:, None]


class Regressors(nn.Module):
    """Latents -> logits of the pitch classes and the level difference, linear."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.chroma = nn.Conv1d(latent_dim, PITCH_CLASSES, 1)
        self.level = nn.Conv1d(latent_dim, 1, 1)

    def forward(self, latents_BDT: Tensor) -> tuple[Tensor, Tensor]:
        return self.chroma(latents_BDT), self.level(latents_BDT)


def regressor_loss(regressors: Regressors, latents_BDT: Tensor, audio_BCS: Tensor, sample_rate: int) -> Tensor:
    """Return cross-entropy of the chroma, over its value for an even guess, plus squared level error."""
    num_frames = latents_BDT.shape[-1]
    frame = audio_BCS.shape[-1] // num_frames
    logits, level = regressors(latents_BDT)
    classes = F.cross_entropy(logits, chroma(audio_BCS, frame, sample_rate)) / math.log(PITCH_CLASSES)
    return classes + (level - level_difference(audio_BCS, frame)).square().mean()


def _classes(window_samples: int, sample_rate: int) -> Tensor:
    """Return [12, F]: 1 where a bin belongs to a pitch class."""
    hertz = torch.linspace(0, sample_rate / 2, window_samples // 2 + 1)
    inside = (hertz >= LOWEST_HERTZ) & (hertz <= HIGHEST_HERTZ)
    note = (69 + 12 * torch.log2(hertz.clamp(min=1.0) / 440)).round().long() % PITCH_CLASSES
    return torch.stack([(note == index) & inside for index in range(PITCH_CLASSES)]).float()
