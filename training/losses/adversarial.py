"""Adversarial losses and the discriminators that hear spectra. Knows no autoencoder and no DiT.

The scores are relativistic: a discriminator says how much more real the real is than its own estimate, and stops
caring once the two cannot be told apart. Source: arXiv 2605.17991; relativistic scores: Jolicoeur-Martineau, arXiv
1807.00734; discriminators of complex spectra: Défossez et al., arXiv 2210.13438.
Shapes: B batch, C channels, S samples, F frequencies, T windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_training.spectra import stft

WINDOWS = (2048, 1024, 512, 256, 128)
SLOPE = 0.1


def discriminator_loss(real: Tensor, estimate: Tensor) -> Tensor:
    """Return log(1 + exp(estimate - real)): log 2 when both score alike, 0 when the real scores far higher."""
    return F.softplus(estimate - real).mean()


def generator_loss(real: Tensor, estimate: Tensor) -> Tensor:
    """Return log(1 + exp(real - estimate)), what the generator brings down."""
    return F.softplus(real - estimate).mean()


def feature_loss(real: Sequence[Tensor], estimate: Sequence[Tensor]) -> Tensor:
    """Return the mean relative difference of the discriminator's inner features (arXiv 2210.13438)."""
    parts = [
        (a - b.detach()).abs().mean() / b.detach().abs().mean().clamp(min=1e-6)
        for a, b in zip(estimate, real, strict=True)
    ]
    return torch.stack(parts).mean()


class SpectrumDiscriminator(nn.Module):
    """Convolutions over the complex spectrogram of one window size."""

    def __init__(self, window_samples: int, channels: int, width: int) -> None:
        super().__init__()
        self.window_samples = window_samples
        sizes = [2 * channels, width, width, width, width]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, (5, 3), stride=(2, 1), padding=(2, 1)) for before, after in pairwise(sizes)
        )
        self.score = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, audio_BCS: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return a score per place and the inner features."""
        batch, channels, _ = audio_BCS.shape
        spectrum = stft(audio_BCS, self.window_samples) / self.window_samples**0.5
        x = torch.view_as_real(spectrum.view(batch, channels, *spectrum.shape[1:]))
        x = x.permute(0, 1, 4, 2, 3).flatten(1, 2)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.score(x), features


class Discriminators(nn.Module):
    """One discriminator per window size; scores and features side by side."""

    def __init__(self, channels: int = 2, width: int = 32, windows: tuple[int, ...] = WINDOWS) -> None:
        super().__init__()
        self.parts = nn.ModuleList(SpectrumDiscriminator(window, channels, width) for window in windows)

    def forward(self, audio_BCS: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return every part's scores, and all features in one list."""
        scores, features = [], []
        for part in self.parts:
            score, inner = part(audio_BCS)
            scores.append(score)
            features += inner
        return scores, features


def mean_over(loss: object, real: Sequence[Tensor], estimate: Sequence[Tensor]) -> Tensor:
    """Return a pairwise loss averaged over several discriminators."""
    assert callable(loss)
    return torch.stack([loss(a, b) for a, b in zip(real, estimate, strict=True)]).mean()
